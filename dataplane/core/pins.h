/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pins: which backend one connection belongs to, for as long as its slot's history does not say so (DESIGN section 6).
 *
 * A pin is one word: {signature 32 (high), time 10, state 2, backend 20}. The backend is a global index, the time counts
 * units of 2^32 ns, the signature and two buckets of eight words come from a second mix of the flow's hash. All CPUs share
 * the table, and so does the controller, which expires.
 *
 * Ordering. Every change of a word is one compare-and-exchange against the word that was read, so nobody overwrites what
 * he did not see: an expiry that lost against a touch leaves the pin, a touch that lost against an expiry or an eviction
 * does not bring it back (transition.h). A word is the whole truth about its pin, and what it names, a backend's record,
 * was published before any slot could name it and is not used again while a pin can (DESIGN section 4, "Reuse"); so no word
 * needs to be ordered against another, and relaxed operations suffice on x86-64 and arm64 alike. Equal words mean the same
 * thing, so a word that went away and came back (ABA) does no harm. Two CPUs may insert one flow into two places at a time:
 * every reader looks at
 * places in the same order and believes the first; the other ages.
 *
 * Dirty bytes are the exception (state sync, DESIGN section 8). An engine changes a pin's state, then reads the byte of the
 * pin's buckets, and sets it if it is 0; the controller changes a byte that is not 0 back to it by an exchange, then reads
 * the words. No change is missed: who finds the byte 0 stores 1 after the word (release), so the exchange that takes the 1
 * (acquire) is followed by reads that see the word. Who finds it 1 leaves it, and then it is the order of a store before
 * a load that counts, on both sides: were his word not seen by the reads that follow the exchange, each would have read
 * before the other's store. So the word's exchange, the read of the byte, the exchange of the byte and the reads of the
 * words are sequentially consistent, of which one order has the engine's read of a 1 before the exchange that takes it,
 * and so the word before the reads. On x86-64 that is the same instructions as relaxed, on arm64 CASAL and LDAR; and only
 * when a pin is touched, once in a unit of its time. */
#ifndef FL_PINS_H
#define FL_PINS_H

#include "dataplane/core/count.h"
#include "dataplane/core/parse.h"

enum fl_pin_state {
    FL_PIN_FREE,
    FL_PIN_PROBATION, /* a SYN, or a datagram, and nothing after it yet */
    FL_PIN_CONFIRMED, /* a later packet: never evicted for a SYN */
    FL_PIN_CLOSING    /* FIN or RST was seen */
};

#define FL_PIN_TIME_SHIFT 32     /* ns to units: 4.29 s */
#define FL_PIN_TIME_MASK 0x3ffu  /* wraps at 4,398 s: idle_timeout is at most 3,600 */
#define FL_PIN_TIME_AHEAD 32u    /* 137 s: how far a touch may be ahead of the clock of who looks at it */
#define FL_PIN_CLOSING_UNITS 15u /* 64 s: RFC 9293's TIME-WAIT, as Linux keeps it, and a little */
/* A handshake younger than this is not evicted, for a slow SYN-ACK is on its way: 4.3 s at the least. One unit would be
 * none at all for a SYN that comes just before the unit changes. */
#define FL_PIN_PROBATION_UNITS 2u
#define FL_PIN_PLACES (2 * FL_BUCKET_WORDS)
#define FL_PIN_NOWHERE FL_PIN_PLACES
#define FL_PIN_TRIES 3 /* when others change the same words meanwhile */

#define FL_PIN_WORD(signature, backend, state, time)                                                           \
    (((__u64)(__u32)(signature) << 32) | ((__u64)((time) & FL_PIN_TIME_MASK) << 22) | ((__u64)(state) << 20) | \
     ((__u64)(backend) & 0xfffff))
#define FL_PIN_SIGNATURE(word) ((__u32)((word) >> 32))
#define FL_PIN_TIME(word) ((__u32)((word) >> 22) & FL_PIN_TIME_MASK)
#define FL_PIN_STATE(word) ((__u32)((word) >> 20) & 3)
#define FL_PIN_BACKEND(word) ((__u32)(word) & 0xfffff)

/* From the flow's hash H: the high half is the signature, the low half names the buckets. Slots are chosen by the low bits
 * of H itself, and a transition selects slots: sharing bits would crowd its pins into few buckets. */
FL_INLINE __u64 fl_pin_hash(const struct fl_meta *meta, __u64 flow_hash) {
    const __u64 h = (flow_hash ^ (flow_hash >> 32)) * (meta->hash_multipliers[0] ^ 0x9e3779b97f4a7c14ULL);
    return h ^ (h >> 32);
}

/* The bucket of a place: 0 to 7 lie in the flow's first, 8 to 15 in its second. */
FL_INLINE __u32 fl_pin_bucket_at(const struct fl_meta *meta, __u64 hash, __u32 place) {
    const __u32 mask = meta->limits.pins / FL_BUCKET_WORDS - 1;
    const __u32 other = (((__u32)(hash >> 32) * 0x9e3779b1u) >> 5) | 1;
    const __u32 first = (__u32)hash;
    return (place & FL_BUCKET_WORDS ? first ^ other : first) & mask;
}

/* The word of a place. NULL: there is no table. */
FL_INLINE __u64 *fl_pin_at(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 place) {
    struct fl_pin_bucket *bucket = fl_at_pins(e, fl_pin_bucket_at(meta, hash, place));
    if (!bucket) return 0;
    return &bucket->words[place & (FL_BUCKET_WORDS - 1)];
}

/* After a pin of this bucket became what a standby is to know of. */
FL_INLINE void fl_mark_dirty(struct fl_engine *e, __u32 bucket) {
    const __u32 group = bucket / FL_DIRTY_BUCKETS;
    struct fl_dirty_line *line = fl_at_dirty(e, group / FL_DIRTY_BYTES);
    __u8 *byte;
    if (!line) return;
    byte = &line->groups[group & (FL_DIRTY_BYTES - 1)];
    if (!fl_read_in_turn(byte)) fl_write_in_turn(byte, 1);
}

FL_INLINE __u32 fl_pin_now(struct fl_engine *e) {
    return (__u32)(fl_now_coarse_ns(e) >> FL_PIN_TIME_SHIFT) & FL_PIN_TIME_MASK;
}

/* A pin that another CPU touched after `now` was read is not a whole turn of the field old. */
FL_INLINE __u32 fl_pin_age(__u32 now, __u64 word) {
    const __u32 age = (now - FL_PIN_TIME(word)) & FL_PIN_TIME_MASK;
    return age > FL_PIN_TIME_MASK - FL_PIN_TIME_AHEAD ? 0 : age;
}

/* Seconds as units, rounded up, and one more, because a pin's own unit had begun before it. */
FL_INLINE __u32 fl_pin_units(__u32 seconds) { return (__u32)((__u64)seconds * 1000000000ULL >> FL_PIN_TIME_SHIFT) + 2; }

/* What is not there is dead. */
FL_INLINE __u32 fl_state_of(const struct fl_backend *backend) {
    return backend ? FL_BACKEND_STATE(fl_read_once(&backend->state)) : (__u32)FL_BACKEND_DEAD;
}

/* True when the pin says nothing any more: its backend is gone, or it was idle for longer than its pool allows. */
FL_INLINE int fl_pin_expired(struct fl_engine *e, __u64 word, __u32 now) {
    const struct fl_backend *backend = fl_at_backends(e, FL_PIN_BACKEND(word));
    const struct fl_pool *pool = backend ? fl_at_pools(e, fl_read_once(&backend->pool)) : 0;
    __u32 units;
    if (!pool || !backend->pool || fl_state_of(backend) == FL_BACKEND_DEAD) return 1;
    units = fl_pin_units(pool->idle_timeout_s);
    if (FL_PIN_STATE(word) == FL_PIN_CLOSING && units > FL_PIN_CLOSING_UNITS) units = FL_PIN_CLOSING_UNITS;
    return fl_pin_age(now, word) > units;
}

/* How readily a pin gives way to a new one: not at all (0), by its age on probation, or at once. */
FL_INLINE __u32 fl_pin_rank(struct fl_engine *e, __u64 word, __u32 now) {
    const __u32 age = fl_pin_age(now, word);
    if (fl_pin_expired(e, word, now)) return FL_PIN_TIME_MASK + 1;
    return FL_PIN_STATE(word) == FL_PIN_PROBATION && age >= FL_PIN_PROBATION_UNITS ? age : 0;
}

/* One of the flow's two buckets. NULL: there is no table. */
FL_INLINE struct fl_pin_bucket *fl_pin_bucket_of(struct fl_engine *e, const struct fl_meta *meta, __u64 hash,
                                                 __u32 second) {
    return (struct fl_pin_bucket *)fl_pin_at(e, meta, hash, second ? FL_BUCKET_WORDS : 0);
}

/* The place in a bucket of the pin with this signature, or FL_BUCKET_WORDS. */
FL_INLINE __u32 fl_find_in(const struct fl_pin_bucket *bucket, __u64 hash, __u64 *found) {
    __u32 i;
    for (i = 0; i < FL_BUCKET_WORDS; i++) {
        const __u64 word = fl_read_once(&bucket->words[i]);
        if (FL_PIN_SIGNATURE(word) != (__u32)(hash >> 32) || FL_PIN_STATE(word) == FL_PIN_FREE) continue;
        *found = word;
        break;
    }
    return i;
}

/* The place of this flow's pin, and its word; FL_PIN_NOWHERE. */
FL_INLINE __u32 fl_find_pin(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u64 *found) {
    const struct fl_pin_bucket *bucket = fl_pin_bucket_of(e, meta, hash, 0);
    __u32 place;
    *found = 0;
    if (!bucket) return FL_PIN_NOWHERE;
    place = fl_find_in(bucket, hash, found);
    if (place == FL_BUCKET_WORDS) {
        bucket = fl_pin_bucket_of(e, meta, hash, 1);
        if (!bucket) return FL_PIN_NOWHERE;
        place += fl_find_in(bucket, hash, found);
    }
    fl_forget(place, hash);
    return place;
}

/* The first free place of the bucket that begins at place `from`, or FL_PIN_NOWHERE; *count is how many there are. */
FL_INLINE __u32 fl_free_place(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 from, __u32 *count) {
    const struct fl_pin_bucket *bucket = fl_pin_bucket_of(e, meta, hash, from);
    __u32 first = FL_PIN_NOWHERE, number = 0;
    *count = 0;
    if (!bucket) return first;
    for (__u32 i = FL_BUCKET_WORDS; i-- > 0;) {
        if (fl_read_once(&bucket->words[i])) continue;
        first = from + i;
        number++;
        fl_forget(first, hash);
        fl_forget(number, hash);
    }
    *count = number;
    return first;
}

/* Where a new pin goes: the emptier bucket's first free place; else an expired one; else the oldest on probation that is
 * not too young. *old is what stands there. FL_PIN_NOWHERE: none can go. */
FL_INLINE __u32 fl_pin_room(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 now, __u64 *old) {
    __u32 count, other_count, most = 0, place;
    __u32 best = fl_free_place(e, meta, hash, 0, &count);
    const __u32 other = fl_free_place(e, meta, hash, FL_BUCKET_WORDS, &other_count);
    if (other_count > count) best = other;
    *old = 0;
    if (best < FL_PIN_PLACES) return best;
    best = FL_PIN_NOWHERE;
    for (place = 0; place < FL_PIN_PLACES; place++) {
        const __u64 *at = fl_pin_at(e, meta, hash, place);
        const __u64 word = at ? fl_read_once(at) : 0;
        const __u32 rank = fl_pin_rank(e, word, now);
        if (at && rank > most) {
            best = place;
            *old = word;
            most = rank;
        }
        fl_forget(best, hash);
        fl_forget(most, hash);
    }
    return best;
}

/* Pins the flow to a backend, in the place that it has or in a new one. False: there is no place to be had. Engines run it
 * as fl_insert_pin() (access.h). */
FL_INLINE int fl_insert_pin_step(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 backend,
                                 __u32 state) {
    const __u32 now = fl_pin_now(e);
    for (__u32 i = 0; i < FL_PIN_TRIES; i++) {
        __u64 old, *at;
        __u32 place = fl_find_pin(e, meta, hash, &old);
        const int replaces = place < FL_PIN_PLACES;
        if (!replaces) place = fl_pin_room(e, meta, hash, now, &old);
        if (place >= FL_PIN_PLACES) return 0;
        at = fl_pin_at(e, meta, hash, place);
        if (!at) return 0;
        if (!fl_compare_exchange(at, old, FL_PIN_WORD(hash >> 32, backend, state, now))) continue;
        fl_count_event(e, FL_EVENT_PIN_INSERTED);
        if (old && !replaces)
            fl_count_event(e, FL_PIN_STATE(old) == FL_PIN_PROBATION && !fl_pin_expired(e, old, now)
                                  ? FL_EVENT_PIN_EVICTED
                                  : FL_EVENT_PIN_RECLAIMED);
        return 1;
    }
    return 0;
}

#endif
