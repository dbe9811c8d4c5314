// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Passes everything: what the far end of a veth pair needs for frames sent by XDP to arrive there.
#include <linux/bpf.h>

__attribute__((section("xdp"), used)) int pass_all(struct xdp_md *context) {
    (void)context;
    return XDP_PASS;
}
