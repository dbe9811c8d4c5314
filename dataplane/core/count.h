/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counters and rate limits. A stride belongs to one CPU or worker, so its words need no atomics. */
#ifndef FL_COUNT_H
#define FL_COUNT_H

#include "dataplane/core/access.h"

/* This CPU's or worker's counter; NULL where there is none. */
FL_INLINE struct fl_counter *fl_counter_at(struct fl_engine *e, __u32 index) {
    return fl_at_counters(e, fl_stride(e) * fl_counter_stride(e) + index);
}

FL_INLINE void fl_add_counts(struct fl_counter *c, __u32 bytes, __u32 syn) {
    fl_write_once(&c->packets, c->packets + 1);
    fl_write_once(&c->bytes, c->bytes + bytes);
    if (fl_unlikely(syn)) fl_write_once(&c->syns, c->syns + 1);
}

FL_INLINE void fl_count_at(struct fl_counter *c, __u32 bytes, __u32 syn) {
    if (c) fl_add_counts(c, bytes, syn);
}

FL_INLINE void fl_count(struct fl_engine *e, __u32 index, __u32 bytes, __u32 syn) {
    fl_count_at(fl_counter_at(e, index), bytes, syn);
}

/* Counts what happens beside a packet's end. */
FL_INLINE void fl_count_event(struct fl_engine *e, enum fl_event event) {
    struct fl_counter *c = fl_counter_at(e, event);
    if (c) fl_write_once(&c->packets, c->packets + 1);
}

/* Takes one token of a bucket of this CPU's, which holds a quarter of a second's worth (DESIGN section 5 step 8). */
FL_INLINE int fl_take_token(struct fl_engine *e, struct fl_tokens *t, __u64 rate) {
    __u64 now = fl_now_coarse_ns(e), elapsed, earned, tokens;
    if (!rate) return 0;
    elapsed = now - t->refilled_ns;
    if (elapsed > 1000000000ULL) elapsed = 1000000000ULL;
    earned = elapsed * rate / 1000000000ULL;
    tokens = t->tokens + earned;
    if (tokens > rate / 4 + 1) tokens = rate / 4 + 1;
    /* Time that earned no whole token is kept for the next look. */
    if (earned) fl_write_once(&t->refilled_ns, now);
    fl_write_once(&t->tokens, tokens ? tokens - 1 : 0);
    return tokens != 0;
}

FL_INLINE int fl_answer_allowed(struct fl_engine *e, const struct fl_meta *meta) {
    struct fl_throttle *t = fl_at_throttles(e, fl_stride(e));
    return t && fl_take_token(e, &t->answers, fl_read_once(&meta->answers_per_second));
}

/* Whether lb-dpdk is to get this packet: it listens, and not too many have gone there of late, for they are dear. */
FL_INLINE int fl_hands_over(struct fl_engine *e, const struct fl_meta *meta) {
    struct fl_throttle *t = fl_at_throttles(e, fl_stride(e));
    if (!t || !fl_exceptions_taken(e)) return 0;
    if (fl_take_token(e, &t->exceptions, fl_read_once(&meta->exceptions_per_second))) return 1;
    fl_count_event(e, FL_EVENT_EXCEPTION_LIMITED);
    return 0;
}

/* A node is active for a role while the clock is below its word (DESIGN section 8). */
FL_INLINE int fl_role_active(struct fl_engine *e, __u32 role) {
    const struct fl_role *r = fl_at_roles(e, role);
    __u64 until;
    if (!r) return 0;
    until = fl_read_once(&r->active_until_ns);
    if (until == ~0ULL) return 1;
    return until && fl_now_ns(e) < until;
}

#endif
