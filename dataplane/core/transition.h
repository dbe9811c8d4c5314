/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A slot in transition (DESIGN section 6): which backend its packets go to while some of its connections belong to another
 * than its owner. Settled slots never come here; nothing is written for them. */
#ifndef FL_TRANSITION_H
#define FL_TRANSITION_H

#include "dataplane/core/pins.h"

/* A pin was followed: it is young again, and in `state`. If it is not what it was, somebody else touched it, or it is gone
 * and must not come back: it had expired; or it was of a handshake that took too long, and a SYN took its place; or a SYN
 * or the clean-up had no use for it, and the same addresses and ports may be another connection's by now. */
FL_INLINE void fl_touch_pin(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 place, __u64 word,
                            __u32 state) {
    const __u64 touched = FL_PIN_WORD(hash >> 32, FL_PIN_BACKEND(word), state, fl_pin_now(e));
    __u64 *at;
    if (touched == word) return;
    at = fl_pin_at(e, meta, hash, place);
    if (at && fl_exchange_in_turn(at, word, touched) && state != FL_PIN_STATE(word))
        fl_mark_dirty(e, fl_pin_bucket_at(meta, hash, place));
}

FL_INLINE void fl_free_pin(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 place, __u64 word) {
    __u64 *at = fl_pin_at(e, meta, hash, place);
    if (at) fl_compare_exchange(at, word, 0);
}

FL_INLINE void fl_stamp_once(struct fl_engine *e, __u32 *stamp) {
    const __u32 now = (__u32)(fl_now_coarse_ns(e) >> FL_STAMP_SHIFT);
    if (fl_read_once(stamp) != now) fl_write_once(stamp, now);
}

/* Somebody went to the previous owner for want of a pin: it may not be forgotten yet. */
FL_INLINE __u32 fl_to_previous(struct fl_engine *e, struct fl_move *m) {
    struct fl_stamp *stamp = fl_at_stamps(e, m->slot);
    m->pinned = FL_PINNED_PREVIOUS;
    if (m->looks) return m->previous;
    if (stamp) fl_stamp_once(e, &stamp->previous_used);
    fl_count_event(e, FL_EVENT_PREVIOUS);
    return m->previous;
}

/* Follows the pin, which becomes young and, by anything but a SYN, confirmed. */
FL_INLINE __u32 fl_follow(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m) {
    struct fl_stamp *stamp = fl_at_stamps(e, m->slot);
    __u32 state = FL_PIN_STATE(m->pin);
    m->pinned = FL_PINNED_FOLLOWED;
    if (m->looks) return FL_PIN_BACKEND(m->pin);
    if (m->leaves)
        state = FL_PIN_CLOSING;
    else if (!m->syn && state == FL_PIN_PROBATION)
        state = FL_PIN_CONFIRMED;
    fl_touch_pin(e, meta, m->hash, m->place, m->pin, state);
    if (stamp && FL_PIN_BACKEND(m->pin) != m->owner) fl_stamp_once(e, &stamp->pin_used);
    return FL_PIN_BACKEND(m->pin);
}

/* To a backend, with a pin of it. False: no place. */
FL_INLINE int fl_pin_to(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m, __u32 backend) {
    m->pinned = FL_PINNED_NEW;
    if (m->looks || fl_insert_pin(e, meta, m->hash, backend, FL_PIN_PROBATION)) return 1;
    fl_count_event(e, FL_EVENT_PIN_FULL);
    return 0;
}

/* A SYN that follows no pin: the owner's, unless its later packets could not be told from the previous one's. */
FL_INLINE __u32 fl_move_syn(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m) {
    if (m->owner == FL_NO_INDEX) return FL_NO_INDEX;
    if (fl_pin_to(e, meta, m, m->owner) || m->previous == FL_NO_INDEX) return m->owner;
    return fl_to_previous(e, m);
}

/* A datagram without a pin: an old flow's while the slot is learning, else a new one's. Where nobody takes new ones it is
 * refused at once, rather than sent to who has failed. */
FL_INLINE __u32 fl_move_datagram(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m) {
    if (m->owner == FL_NO_INDEX) return FL_NO_INDEX;
    if (m->learning && m->previous != FL_NO_INDEX) {
        fl_pin_to(e, meta, m, m->previous);
        return fl_to_previous(e, m);
    }
    fl_pin_to(e, meta, m, m->owner);
    return m->owner;
}

/* Global index of the backend, or FL_NO_INDEX: nobody. */
FL_INLINE __u32 fl_move_on(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m) {
    const __u32 pinned = FL_PIN_BACKEND(m->pin);
    const struct fl_backend *backend = m->pin ? fl_at_backends(e, pinned) : 0;
    const __u32 state = fl_state_of(backend);
    /* Valid: of this pool, and not dead. */
    int follows = backend && backend->pool == m->pool && state != FL_BACKEND_DEAD;
    if (m->syn)
        follows = follows && FL_PIN_STATE(m->pin) != FL_PIN_CLOSING &&
                  (state == FL_BACKEND_HEALTHY || state == FL_BACKEND_DRAINING);
    if (m->settling) {
        if (follows && (pinned != m->owner || m->learning)) return fl_follow(e, meta, m);
        /* What the slot itself says needs no pin, once every engine knows it (here `learning` says that one may not: with
         * the word before, it would take the flow to the previous owner for want of its pin). And one that is not
         * followed must not be found by what comes next: not a SYN's stale one, nor a dead backend's when that is back. */
        if (m->pin && !m->looks) fl_free_pin(e, meta, m->hash, m->place, m->pin);
        return m->owner;
    }
    if (follows) return fl_follow(e, meta, m);
    if (m->previous != FL_NO_INDEX && fl_state_of(fl_at_backends(e, m->previous)) == FL_BACKEND_DEAD)
        m->previous = FL_NO_INDEX;
    if (m->syn) return fl_move_syn(e, meta, m);
    if (m->udp) return fl_move_datagram(e, meta, m);
    /* As in the clean-up: a dead backend's, which may be back. */
    if (m->pin && !m->looks) fl_free_pin(e, meta, m->hash, m->place, m->pin);
    return m->previous != FL_NO_INDEX ? fl_to_previous(e, m) : m->owner;
}

/* Of a move whose flow, slot and segment are known. Engines run it as fl_run_move() (access.h). */
FL_INLINE __u32 fl_move_step(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m) {
    m->place = fl_find_pin(e, meta, m->hash, &m->pin);
    return fl_move_on(e, meta, m);
}

/* The packet begins anew: it has made its move, and makes it once. */
FL_INLINE void fl_keep_move(struct fl_engine *e) {
    struct fl_scratch *s = fl_scratch(e);
    if (s) s->move.made = 1;
}

/* Where the flow of d->hash goes in the slot d->slot_word, whose number in the whole table is `slot`. */
FL_INLINE __u32 fl_move(struct fl_engine *e, const struct fl_meta *meta, const struct fl_pool *pool,
                        const struct fl_ip *ip, __u32 slot, struct fl_decision *d) {
    const __u32 owner = FL_SLOT_OWNER(d->slot_word), previous = FL_SLOT_PREVIOUS(d->slot_word);
    const __u32 base = fl_read_id(&pool->backend_base);
    const int tcp = ip->protocol == FL_PROTO_TCP;
    struct fl_scratch *s = fl_scratch(e);
    struct fl_move *m;
    if (!s) return FL_NO_INDEX;
    m = &s->move;
    if (m->made) {
        d->pinned = m->pinned;
        return m->index;
    }
    m->slot = slot;
    m->pool = d->pool;
    m->settling = owner == previous;
    m->owner = owner == FL_NO_BACKEND ? FL_NO_INDEX : base + owner;
    m->previous = previous == FL_NO_BACKEND ? FL_NO_INDEX : base + previous;
    m->learning = !!(d->slot_word & FL_SLOT_LEARNING);
    m->looks = ip->silent || fl_only_looks(e);
    m->syn = (__u8)(tcp && !ip->silent && fl_is_syn(ip->tcp_flags));
    m->udp = !tcp && !ip->silent;
    m->leaves = (__u8)(tcp && ip->tcp_flags & (FL_TCP_FIN | FL_TCP_RST));
    m->pinned = FL_PINNED_NOT;
    m->hash = fl_pin_hash(meta, d->hash);
    m->index = fl_run_move(e, meta, m);
    d->pinned = m->pinned;
    return m->index;
}

#endif
