/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP engine: every frame of a balancer's interface goes through here. All decisions are the core's. The steady path
 * is one function; the rare steps are functions of their own, which keeps its code small and lets the verifier look at
 * each once. */
#include "xdp/access.h"

#include "dataplane/core/steer.h"

FL_INLINE int fl_leave(enum fl_verdict verdict, __u32 port) {
    switch (verdict) {
        case FL_VERDICT_TRANSMIT:
            if (fl_likely(port == fl_config_port)) return XDP_TX;
            return (int)bpf_redirect_map(&fl_devices, port, XDP_DROP);
        case FL_VERDICT_DROP:
            return XDP_DROP;
        default:
            return XDP_PASS;
    }
}

/* What the scratch's decision says is done. */
__attribute__((noinline)) int fl_finish_apart(struct xdp_md *ctx) {
    struct fl_engine e;
    struct fl_packet p;
    struct fl_scratch *s = fl_scratch(&e);
    __u32 port = 0;
    enum fl_verdict verdict;
    if (!s) return XDP_PASS;
    fl_open(&e, ctx, &p);
    verdict = fl_finish(&e, &p, &s->decision, &port);
    return fl_leave(verdict, port);
}

/* Decides into the scratch. */
__attribute__((noinline)) int fl_decide_apart(struct xdp_md *ctx) {
    struct fl_engine e;
    struct fl_packet p;
    const struct fl_meta *meta;
    struct fl_scratch *s = fl_scratch(&e);
    if (!s) return 0;
    fl_open(&e, ctx, &p);
    fl_begin(&s->decision, fl_frame_length(&e, &p));
    meta = fl_at_meta(&e, 0);
    if (meta) fl_decide_any(&e, meta, &p, s, &s->decision);
    return 0;
}

SEC("xdp")
int fl_steer_xdp(struct xdp_md *ctx) {
    const struct fl_backend *backend = (void *)0;
    enum fl_verdict verdict = FL_VERDICT_PASS;
    const struct fl_meta *meta;
    struct fl_decision d;
    struct fl_engine e;
    struct fl_packet p;
    __u32 port = 0;

    fl_open(&e, ctx, &p);
    meta = fl_at_meta(&e, 0);
    if (!meta) return XDP_PASS;
    fl_begin(&d, fl_frame_length(&e, &p));
    if (fl_unlikely(!fl_decide_plain(&e, meta, &p, &d, &backend))) {
        fl_decide_apart(ctx);
        return fl_finish_apart(ctx);
    }
    if (d.action == FL_ACTION_FORWARD && backend) verdict = fl_act_forward(&e, meta, backend, &p, &d, &port);
    fl_count_decision(&e, &d);
    return fl_leave(verdict, port);
}

char fl_license[] SEC("license") = "Dual BSD/GPL";
