/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP engine: every frame of a balancer's interface goes through here. All decisions are the core's. */
#include "xdp/access.h"

#include "dataplane/core/steer.h"

SEC("xdp")
int fl_steer_xdp(struct xdp_md *ctx) {
    struct fl_engine e = {.ctx = ctx};
    struct fl_packet p = {.data = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
    __u32 port = 0;

    switch (fl_steer(&e, &p, &port)) {
        case FL_VERDICT_TRANSMIT:
            if (fl_likely(port == fl_config_port)) return XDP_TX;
            return (int)bpf_redirect_map(&fl_devices, port, XDP_DROP);
        case FL_VERDICT_DROP:
            return XDP_DROP;
        default:
            return XDP_PASS;
    }
}

char fl_license[] SEC("license") = "Dual BSD/GPL";
