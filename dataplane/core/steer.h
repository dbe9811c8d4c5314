/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The whole way of a packet: decide, act, count. An engine that works on bursts calls the three steps itself, the
 * first for a whole burst; one that has a packet at a time calls fl_steer().
 *
 * Include an engine's access header first (dataplane/core/access.h says what it supplies). */
#ifndef FL_STEER_H
#define FL_STEER_H

#include "dataplane/core/answer.h"
#include "dataplane/core/capture.h"
#include "dataplane/core/classify.h"
#include "dataplane/core/plain.h"

/* Fills *d by the long way (classify.h says what that may write). */
FL_INLINE void fl_decide_long(struct fl_engine *e, const struct fl_packet *p, struct fl_decision *d) {
    const struct fl_meta *meta = fl_at_meta(e, 0);
    struct fl_scratch *s = fl_scratch(e);
    fl_begin(d, fl_frame_length(e, p));
    if (meta && s) fl_decide_any(e, meta, p, s, d);
}

/* The steady path first, and whatever it does not take by the long one. */
FL_INLINE void fl_decide(struct fl_engine *e, const struct fl_packet *p, struct fl_decision *d) {
    const struct fl_meta *meta = fl_at_meta(e, 0);
    const struct fl_backend *backend;
    fl_begin(d, fl_frame_length(e, p));
    if (meta && !fl_decide_plain(e, meta, p, d, &backend)) fl_decide_long(e, p, d);
}

/* A front-end node's decision: what its balancers send it is unwrapped, everything else is the host's. */
FL_INLINE void fl_decide_unwrap(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                                struct fl_scratch *s, struct fl_decision *d) {
    const __u8 family = fl_take_frame(e, p, s, d);
    if (!family) return;
    fl_parse_ip(e, p, s, FL_PLACE_IP, family, s->frame.l3, s->frame.length);
    fl_decide_tunnel(e, meta, p, s, d);
}

/* What could not be made room for is dropped, in *d too. */
FL_INLINE enum fl_verdict fl_acted(int failed, enum fl_verdict verdict, struct fl_decision *d) {
    if (fl_likely(!failed)) return verdict;
    fl_drop(d, FL_REASON_NO_HEADROOM);
    return FL_VERDICT_DROP;
}

/* Rewrites what is decided to be forwarded to `backend`; *port is where to transmit. */
FL_INLINE enum fl_verdict fl_act_forward(struct fl_engine *e, const struct fl_meta *meta,
                                         const struct fl_backend *backend, struct fl_packet *p, struct fl_decision *d,
                                         __u32 *port) {
    *port = d->port;
    return fl_acted(fl_apply_forward(e, meta, backend, p, d), FL_VERDICT_TRANSMIT, d);
}

/* Acts on *d: rewrites the packet and says what the engine shall do with it; *port is where to transmit. */
FL_INLINE enum fl_verdict fl_act(struct fl_engine *e, struct fl_packet *p, struct fl_decision *d, __u32 *port) {
    const struct fl_meta *meta = fl_at_meta(e, 0);
    const struct fl_backend *backend = fl_at_backends(e, d->backend_index);
    if (!meta || !backend) return FL_VERDICT_PASS; /* without tables every packet is the host's */
    if (fl_likely(d->action == FL_ACTION_FORWARD)) return fl_act_forward(e, meta, backend, p, d, port);
    if (fl_unlikely(d->exception) && fl_hands_over(e, meta)) {
        d->action = FL_ACTION_HAND;
        d->reason = FL_REASON_EXCEPTION;
        return FL_VERDICT_EXCEPTION;
    }
    if (d->action == FL_ACTION_DROP) return FL_VERDICT_DROP;
    if (d->action == FL_ACTION_ANSWER) {
        *port = fl_ingress_port(e);
        return fl_acted(fl_apply_answer(e, p, d), FL_VERDICT_TRANSMIT, d);
    }
    return d->unwrap ? fl_acted(fl_apply_unwrap(e, p, d), FL_VERDICT_PASS, d) : FL_VERDICT_PASS;
}

/* Every packet ends in exactly one place: its service and backend, or one reason. */
FL_INLINE void fl_count_decision(struct fl_engine *e, const struct fl_decision *d) {
    if (fl_likely(d->action == FL_ACTION_FORWARD || d->action == FL_ACTION_LOCAL)) {
        struct fl_counter *service = fl_counter_at(e, fl_counter_index_service(e, d->service));
        struct fl_counter *backend = fl_counter_at(e, fl_counter_index_backend(e, d->backend_index));
        fl_count_at(service, d->frame, d->syn);
        fl_count_at(backend, d->frame, d->syn);
    } else {
        fl_count(e, d->reason, d->frame, 0);
    }
}

/* Keeps the packet for `lbctl capture`, if that is what it wants to see; once more when it is done with. */
FL_INLINE void fl_capture_before(struct fl_engine *e, const struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_meta *meta = fl_at_meta(e, 0);
    const struct fl_capture_moment moment = {FL_CAPTURE_BEFORE, 0, 0};
    struct fl_scratch *s = fl_scratch(e);
    if (fl_unlikely(s && meta && fl_captures(meta))) fl_capture(e, p, d, s, moment);
}

FL_INLINE void fl_capture_after(struct fl_engine *e, const struct fl_packet *p, const struct fl_decision *d,
                                enum fl_verdict verdict, __u32 port) {
    const struct fl_capture_moment moment = {FL_CAPTURE_AFTER, (__u8)verdict,
                                             (__u16)(verdict == FL_VERDICT_TRANSMIT ? port : 0)};
    struct fl_scratch *s = fl_scratch(e);
    if (fl_unlikely(s && s->captured)) fl_capture(e, p, d, s, moment);
}

/* Acts, counts, and remembers a first fragment that went its way. */
FL_INLINE enum fl_verdict fl_end(struct fl_engine *e, struct fl_packet *p, struct fl_decision *d, __u32 *port) {
    const enum fl_verdict verdict = fl_act(e, p, d, port);
    const struct fl_meta *meta = fl_at_meta(e, 0);
    fl_count_decision(e, d);
    if (fl_unlikely(d->remember) && meta && (d->action == FL_ACTION_FORWARD || d->action == FL_ACTION_LOCAL))
        fl_remember_fragment(e, meta, d);
    return verdict;
}

/* The same, seen by who captures. */
FL_INLINE enum fl_verdict fl_finish(struct fl_engine *e, struct fl_packet *p, struct fl_decision *d, __u32 *port) {
    enum fl_verdict verdict;
    fl_capture_before(e, p, d);
    verdict = fl_end(e, p, d, port);
    fl_capture_after(e, p, d, verdict, *port);
    return verdict;
}

FL_INLINE enum fl_verdict fl_steer(struct fl_engine *e, struct fl_packet *p, __u32 *port) {
    struct fl_decision d;
    fl_decide(e, p, &d);
    return fl_finish(e, p, &d, port);
}

/* A front-end node's whole program. Nobody captures there. */
FL_INLINE enum fl_verdict fl_unwrap(struct fl_engine *e, struct fl_packet *p) {
    const struct fl_meta *meta = fl_at_meta(e, 0);
    struct fl_scratch *s = fl_scratch(e);
    struct fl_decision d;
    __u32 port = 0;
    fl_begin(&d, fl_frame_length(e, p));
    if (meta && s) fl_decide_unwrap(e, meta, p, s, &d);
    return fl_end(e, p, &d, &port);
}

#endif
