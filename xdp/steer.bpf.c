/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP engine: every frame of a balancer's interface goes through here. All decisions are the core's. The steady path
 * is one function; the rare steps are functions of their own, which keeps its code small and lets the verifier look at
 * each once. */
#include "xdp/access.h"

#include "dataplane/core/steer.h"

const volatile __u32 fl_config_feed; /* not 0: lb-dpdk steers, where it listens */

/* To lb-dpdk, which listens; should it just have stopped, the frame is lost. */
FL_INLINE int fl_redirect_exception(struct xdp_md *ctx) {
    return (int)bpf_redirect_map(&fl_exceptions, ctx->rx_queue_index, XDP_DROP);
}

FL_INLINE int fl_leave(struct xdp_md *ctx, enum fl_verdict verdict, __u32 port) {
    switch (verdict) {
        case FL_VERDICT_TRANSMIT:
            if (fl_likely(port == fl_config_port)) return XDP_TX;
            return (int)bpf_redirect_map(&fl_devices, port, XDP_DROP);
        case FL_VERDICT_DROP:
            return XDP_DROP;
        case FL_VERDICT_EXCEPTION:
            return fl_redirect_exception(ctx);
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
    return fl_leave(ctx, verdict, port);
}

/* Decides into the scratch. */
__attribute__((noinline)) int fl_decide_apart(struct xdp_md *ctx) {
    struct fl_engine e;
    struct fl_packet p;
    const struct fl_meta *meta;
    struct fl_scratch *s = fl_scratch(&e);
    /* In this order: with one word more on the stack here, the longest chain of calls has more than the 512 bytes of it that
     * the verifier allows. (Debian's 6.1 counts so; later kernels count less.) */
    if (!s) return 0;
    meta = fl_at_meta(&e, 0);
    if (!meta) return 0;
    fl_open(&e, ctx, &p);
    fl_begin(&s->decision, fl_frame_length(&e, &p));
    fl_decide_any(&e, meta, &p, s, &s->decision);
    return 0;
}

/* True for what lb-dpdk steers while it listens: IP to a VIP. What asks for one (ARP, ND) and tunnels to this node are
 * dealt with here, and everything else is the host's. */
__attribute__((noinline)) int fl_feeds_apart(struct xdp_md *ctx) {
    union fl_address destination;
    const struct fl_meta *meta;
    const struct fl_vip *vip;
    struct fl_engine e;
    struct fl_packet p;
    struct fl_scratch *s = fl_scratch(&e);
    if (!s) return 0;
    fl_open(&e, ctx, &p);
    meta = fl_at_meta(&e, 0);
    if (!meta || !fl_exceptions_taken(&e)) return 0;
    fl_parse_frame(&e, &p, s);
    if (s->frame.type != fl_htons(FL_ETHERTYPE_IPV4) && s->frame.type != fl_htons(FL_ETHERTYPE_IPV6)) return 0;
    if (!fl_read_address(&p, s->frame.l3, 1, &destination)) return 0;
    return fl_find_vip(&e, meta, &destination, &vip) != 0;
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

    if (fl_config_feed && fl_feeds_apart(ctx)) return fl_redirect_exception(ctx);
    fl_open(&e, ctx, &p);
    meta = fl_at_meta(&e, 0);
    if (!meta) return XDP_PASS;
    fl_begin(&d, fl_frame_length(&e, &p));
    /* The steady path shows its packets to nobody; while a capture runs, none takes it. */
    if (fl_unlikely(fl_captures(meta)) || fl_unlikely(!fl_decide_plain(&e, meta, &p, &d, &backend))) {
        fl_decide_apart(ctx);
        return fl_finish_apart(ctx);
    }
    if (d.action == FL_ACTION_FORWARD && backend) verdict = fl_act_forward(&e, meta, backend, &p, &d, &port);
    fl_count_decision(&e, &d);
    return fl_leave(ctx, verdict, port);
}

char fl_license[] SEC("license") = "Dual BSD/GPL";
