/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the benchmark and its BPF programs share. */
#ifndef FL_BENCH_DRIVER_H
#define FL_BENCH_DRIVER_H

#include <linux/types.h>

struct bench_config {
    __u32 length;    /* of the pristine frame */
    __u32 flow_mask; /* flows - 1 */
    __u8 header[64]; /* of the pristine frame: Ethernet, IP and the ports */
    __u64 sequence;
    __u32 header_sum;       /* of the IPv4 header's 16-bit words, checksum and low half of the source taken as zero */
    __u32 exceptions_every; /* of generate4_mixed: one frame in so many; 0 = none */
};

/* packets by the last byte of the tunnel's far end */
struct sink_counts {
    __u64 packets, bytes, faults, by_backend[256];
};

#endif
