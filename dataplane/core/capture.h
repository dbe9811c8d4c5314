/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets that somebody wants to see, before and after they are steered (`lbctl capture`): what the XDP program
 * transmits passes no other place of the kernel. One word of meta says whether a capture runs, and until when; whoever
 * captures renews it, and so a capture ends with him. What is wanted stands in the first line of the rings; what is kept
 * goes to the ring of the stride that the packet is dealt with by, which nobody else writes. */
#ifndef FL_CAPTURE_H
#define FL_CAPTURE_H

#include "dataplane/core/count.h"
#include "dataplane/core/decision.h"
#include "dataplane/core/parse.h"

/* Words of a ring: nothing of before is seen after, and nothing of after before. */
#ifdef __bpf__
#define fl_store_ordered(p, v) ((void)__sync_lock_test_and_set((p), (v))) /* ordered both ways, as the kernel has it */
#else
#define fl_store_ordered(p, v) ((void)__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#endif

#define FL_CAPTURE_WORDS (FL_CAPTURE_BYTES / 8)
#define FL_LINE_WORDS (sizeof(struct fl_ring_line) / 8)

FL_INLINE int fl_captures(const struct fl_meta *meta) { return fl_read_once(&meta->capture_until_ns) != 0; }

/* Whether its sender is wanted; that of what a tunnel carries. ARP has none. */
FL_INLINE int fl_capture_from(const struct fl_packet *p, const struct fl_decision *d,
                              const struct fl_capture_filter *want) {
    union fl_address client;
    if (!want->client_mask.halves[0]) return 1; /* whoever */
    if (!fl_read_address(p, (__u32)d->l3 + d->unwrap, 0, &client)) return 0;
    return (client.halves[0] & want->client_mask.halves[0]) == want->client.halves[0] &&
           (client.halves[1] & want->client_mask.halves[1]) == want->client.halves[1];
}

/* By what is decided about a packet that is for a VIP. */
FL_INLINE int fl_capture_matches(const struct fl_packet *p, const struct fl_decision *d,
                                 const struct fl_capture_filter *want) {
    const int steered = d->action == FL_ACTION_FORWARD || d->action == FL_ACTION_LOCAL;
    if (want->vip && want->vip != d->vip) return 0;
    if (want->pool && want->pool != d->pool) return 0;
    if (want->port && want->port != (__be16)(d->ports >> 16)) return 0;
    if (want->protocol && want->protocol != d->protocol) return 0;
    if ((want->by & FL_CAPTURE_BY_BACKEND) && (!d->chosen || want->backend != d->backend_index)) return 0;
    if ((want->by & FL_CAPTURE_BY_ACTION) && want->action != d->action) return 0;
    if ((want->by & FL_CAPTURE_BY_REASON) && (steered || want->reason != d->reason)) return 0;
    return fl_capture_from(p, d, want);
}

/* Whether a capture runs still. One whose owner has died is ended, for looking at the clock costs time too. */
FL_INLINE int fl_capture_runs(struct fl_engine *e) {
    struct fl_meta *meta = fl_at_meta(e, 0);
    __u64 until = meta ? fl_read_once(&meta->capture_until_ns) : 0;
    if (!until) return 0;
    if (fl_now_coarse_ns(e) < until) return 1;
    (void)fl_compare_exchange(&meta->capture_until_ns, until, 0);
    return 0;
}

/* Whether this packet is to be kept: wanted, of those one in so many, and not beyond the rate. */
FL_INLINE int fl_capture_takes(struct fl_engine *e, const struct fl_packet *p, const struct fl_decision *d,
                               const struct fl_capture_filter *want, struct fl_ring *ring) {
    struct fl_throttle *t = fl_at_throttles(e, fl_stride(e));
    __u64 matched;
    if (!t || !d->vip || !fl_capture_matches(p, d, want)) return 0;
    matched = ring->matched + 1;
    fl_write_once(&ring->matched, matched);
    if (want->one_in > 1 && matched % want->one_in) return 0;
    if (fl_take_token(e, &t->captures, want->per_second)) return 1;
    fl_write_once(&ring->limited, ring->limited + 1);
    return 0;
}

/* The beginning of the frame into the lines from `line` on; returns how many bytes. What lies in further buffers of the
 * frame is not looked at. */
FL_INLINE __u32 fl_capture_copy(struct fl_engine *e, const struct fl_packet *p, __u32 line) {
    const __u8 *from = (const __u8 *)p->data;
    __u32 word, kept = FL_CAPTURE_BYTES;
    struct fl_ring_line *to = (struct fl_ring_line *)0;
    for (word = 0; word < FL_CAPTURE_WORDS; word++, from += 8) {
        __u64 value = 0;
        if (word % FL_LINE_WORDS == 0) to = fl_at_rings(e, line + word / FL_LINE_WORDS);
        if (!to) return word * 8;
        if (fl_likely(fl_inside(p, from, 8))) {
            fl_write_once((__u64 *)to->bytes + word % FL_LINE_WORDS, fl_load64(from));
            continue;
        }
        for (kept = 0; kept < 7 && fl_inside(p, from + kept, 1); kept++) value |= (__u64)from[kept] << (8 * kept);
        fl_write_once((__u64 *)to->bytes + word % FL_LINE_WORDS, value);
        return word * 8 + kept;
    }
    return kept;
}

struct fl_capture_moment {
    __u8 stage;   /* enum fl_capture_stage */
    __u8 verdict; /* after: enum fl_verdict */
    __u16 port;   /* after, to be transmitted: by which port */
};

/* One more entry of the stride's ring, the oldest one's place. A reader finds its sequence to be 0, or another than he
 * knows it by, while it is written. */
FL_INLINE void fl_capture_write(struct fl_engine *e, const struct fl_packet *p, const struct fl_decision *d,
                                const struct fl_capture_filter *want, struct fl_ring *ring, __u32 line,
                                struct fl_capture_moment moment) {
    const __u64 number = ring->written;
    const __u32 at = line + 1 + ((__u32)number & (FL_RING_ENTRIES - 1)) * FL_ENTRY_LINES;
    struct fl_capture_entry *entry = (struct fl_capture_entry *)fl_at_rings(e, at);
    if (!entry) return;
    fl_store_ordered(&entry->sequence, 0);
    fl_write_once(&entry->time_ns, fl_now_ns(e));
    fl_write_once(&entry->packet, ring->taken);
    fl_write_once(&entry->capture, want->number);
    fl_write_once(&entry->frame, fl_frame_length(e, p));
    fl_write_once(&entry->ingress, (__u16)fl_ingress_port(e));
    fl_write_once(&entry->egress, moment.port);
    fl_write_once(&entry->stage, moment.stage);
    fl_write_once(&entry->verdict, moment.verdict);
    fl_write_once(&entry->action, d->action);
    fl_write_once(&entry->reason, d->reason);
    fl_write_once(&entry->forward, d->forward);
    fl_write_once(&entry->pinned, d->pinned);
    fl_write_once(&entry->chosen, d->chosen);
    fl_write_once(&entry->vip, d->vip);
    fl_write_once(&entry->pool, d->pool);
    fl_write_once(&entry->service, d->service);
    fl_write_once(&entry->backend, d->backend_index);
    fl_write_once(&entry->kept, (__u16)fl_capture_copy(e, p, at + 1));
    fl_store_ordered(&entry->sequence, number + 1);
    fl_store_ordered(&ring->written, number + 1);
}

/* Keeps the packet as it is now. Before, its decision stands, and says whether it is wanted; the scratch remembers that
 * for after. */
FL_INLINE void fl_capture_step(struct fl_engine *e, const struct fl_packet *p, const struct fl_decision *d,
                               struct fl_scratch *s, struct fl_capture_moment moment) {
    const struct fl_capture_filter *want = (const struct fl_capture_filter *)fl_at_rings(e, 0);
    const __u32 line = FL_RING_LINE(fl_stride(e));
    struct fl_ring *ring = (struct fl_ring *)fl_at_rings(e, line);
    s->captured = 0;
    if (!want || !ring || fl_only_looks(e)) return;
    if (moment.stage == FL_CAPTURE_BEFORE) {
        if (!fl_capture_runs(e) || !fl_capture_takes(e, p, d, want, ring)) return;
        fl_write_once(&ring->taken, ring->taken + 1);
        s->captured = d->action != FL_ACTION_DROP || d->exception; /* what is dropped is not there afterwards */
    }
    fl_capture_write(e, p, d, want, ring, line, moment);
}

#endif
