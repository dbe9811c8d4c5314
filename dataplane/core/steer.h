/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The whole way of a packet: decide, act, count. An engine that works on bursts calls the three steps itself, the
 * first for a whole burst; one that has a packet at a time calls fl_steer().
 *
 * Include an engine's access header first (dataplane/core/access.h says what it supplies). */
#ifndef FL_STEER_H
#define FL_STEER_H

#include "dataplane/core/answer.h"
#include "dataplane/core/classify.h"
#include "dataplane/core/rewrite.h"

/* Acts on *d: rewrites the packet and says what the engine shall do with it; *port is where to transmit. A packet that
 * cannot be made room for becomes a drop, in *d too. */
FL_INLINE enum fl_verdict fl_act(struct fl_engine *e, struct fl_packet *p, struct fl_decision *d, __u32 *port) {
    int failed = 0;
    enum fl_verdict verdict = FL_VERDICT_PASS;
    if (fl_likely(d->action == FL_ACTION_FORWARD)) {
        *port = d->port;
        failed = fl_apply_forward(e, p, d);
        verdict = FL_VERDICT_TRANSMIT;
    } else if (d->action == FL_ACTION_ANSWER) {
        *port = fl_ingress_port(e);
        failed = fl_apply_answer(e, p, d);
        verdict = FL_VERDICT_TRANSMIT;
    } else if (d->action == FL_ACTION_DROP) {
        verdict = FL_VERDICT_DROP;
    } else if (d->unwrap) {
        failed = fl_apply_unwrap(e, p, d);
    }
    if (fl_unlikely(failed)) {
        fl_drop(d, FL_REASON_NO_HEADROOM);
        verdict = FL_VERDICT_DROP;
    }
    return verdict;
}

/* Every packet ends in exactly one place: its service and backend, or one reason. */
FL_INLINE void fl_count_decision(struct fl_engine *e, const struct fl_decision *d) {
    if (fl_likely(d->action == FL_ACTION_FORWARD || d->action == FL_ACTION_LOCAL)) {
        fl_count(e, fl_counter_index_service(e, d->service), d->frame, d->syn);
        fl_count(e, fl_counter_index_backend(e, d->backend_index), d->frame, d->syn);
    } else {
        fl_count(e, d->reason, d->frame, 0);
    }
}

FL_INLINE enum fl_verdict fl_steer(struct fl_engine *e, struct fl_packet *p, __u32 *port) {
    struct fl_decision d;
    enum fl_verdict verdict;
    fl_decide(e, p, &d);
    verdict = fl_act(e, p, &d, port);
    fl_count_decision(e, &d);
    return verdict;
}

/* A front-end node's whole program: unwrap what its balancers send it, pass everything else. */
FL_INLINE enum fl_verdict fl_unwrap(struct fl_engine *e, struct fl_packet *p) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    struct fl_decision d;
    enum fl_verdict verdict;
    __u32 port = 0;

    __builtin_memset(&d, 0, sizeof(d));
    fl_pass(&d, FL_REASON_NOT_VIP);
    d.frame = (__u32)((const __u8 *)p->end - (const __u8 *)p->data);
    d.meta = fl_at_meta(e, 0);
    if (!d.meta || !fl_inside(p, eth, sizeof(*eth))) return FL_VERDICT_PASS;
    if (eth->type == fl_htons(FL_ETHERTYPE_IPV4))
        fl_decide_tunnel(e, p, 4, &d);
    else if (eth->type == fl_htons(FL_ETHERTYPE_IPV6))
        fl_decide_tunnel(e, p, 6, &d);
    verdict = fl_act(e, p, &d, &port);
    fl_count_decision(e, &d);
    return verdict;
}

#endif
