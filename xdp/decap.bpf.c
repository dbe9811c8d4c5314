/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fl_decap: what a front-end node attaches where its kernel has no tunnel device. Unwraps what configured balancers
 * send for configured VIPs, and passes everything else untouched. */
#include "xdp/access.h"

#include "dataplane/core/steer.h"

SEC("xdp")
int fl_decap_xdp(struct xdp_md *ctx) {
    struct fl_engine e;
    struct fl_packet p;
    fl_open(&e, ctx, &p);
    return fl_unwrap(&e, &p) == FL_VERDICT_DROP ? XDP_DROP : XDP_PASS;
}

char fl_license[] SEC("license") = "Dual BSD/GPL";
