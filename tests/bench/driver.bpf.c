/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The benchmark's own programs. drive_* stand before the program that is measured: BPF_PROG_TEST_RUN does not put the
 * packet back between repeats, so they undo the growth of the head, restore what a forwarded packet changes (Ethernet
 * header, TTL, checksum), set the flow of this repeat, and tail-call. Floors are measured through the same driver. */
#include <linux/bpf.h>

#include "dataplane/core/wire.h"
#include "tests/bench/driver.h"

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bench_config);
} bench_config SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} bench_target SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sink_counts);
} bench_sink SEC(".maps");

FL_INLINE struct bench_config *config(void) {
    __u32 zero = 0;
    return bpf_map_lookup_elem(&bench_config, &zero);
}

/* A permutation of 32 bits: distinct flows, spread over address and port. */
FL_INLINE __u32 next_flow(struct bench_config *c) { return ((__u32)c->sequence++ & c->flow_mask) * 2654435761u; }

FL_INLINE int prepare4(struct xdp_md *ctx) {
    struct bench_config *c = config();
    __u8 *data, *end;
    __u32 flow;
    int grown;
    if (!c) return -1;
    grown = (int)(ctx->data_end - ctx->data) - (int)c->length;
    if (grown && bpf_xdp_adjust_head(ctx, grown)) return -1;
    data = (__u8 *)(long)ctx->data;
    end = (__u8 *)(long)ctx->data_end;
    if (data + 38 > end) return -1;
    __builtin_memcpy(data, c->header, 14);
    fl_store32(data + 22, *(__u32 *)(c->header + 22)); /* TTL, protocol, checksum */
    flow = next_flow(c);
    *(__u16 *)(data + 28) = flow >> 16; /* source address, low half */
    *(__u16 *)(data + 34) = flow;       /* source port */
    return 0;
}

FL_INLINE int prepare6(struct xdp_md *ctx) {
    struct bench_config *c = config();
    __u8 *data, *end;
    __u32 flow;
    int grown;
    if (!c) return -1;
    grown = (int)(ctx->data_end - ctx->data) - (int)c->length;
    if (grown && bpf_xdp_adjust_head(ctx, grown)) return -1;
    data = (__u8 *)(long)ctx->data;
    end = (__u8 *)(long)ctx->data_end;
    if (data + 58 > end) return -1;
    __builtin_memcpy(data, c->header, 14);
    data[21] = c->header[21]; /* hop limit */
    flow = next_flow(c);
    *(__u16 *)(data + 36) = flow >> 16;
    *(__u16 *)(data + 54) = flow;
    return 0;
}

SEC("xdp")
int drive4(struct xdp_md *ctx) {
    if (prepare4(ctx)) return XDP_ABORTED;
    bpf_tail_call(ctx, &bench_target, 0);
    return XDP_ABORTED;
}

SEC("xdp")
int drive6(struct xdp_md *ctx) {
    if (prepare6(ctx)) return XDP_ABORTED;
    bpf_tail_call(ctx, &bench_target, 0);
    return XDP_ABORTED;
}

SEC("xdp")
int drive_alone(struct xdp_md *ctx) { return prepare4(ctx) ? XDP_ABORTED : XDP_PASS; }

SEC("xdp")
int floor_pass(struct xdp_md *ctx) {
    (void)ctx;
    return XDP_PASS;
}

/* The least that any balancer does that encapsulates: room, a constant Ethernet and outer header, transmit. */
SEC("xdp")
int floor_encap(struct xdp_md *ctx) {
    struct fl_eth *eth;
    struct fl_ipv4 *ip;
    if (bpf_xdp_adjust_head(ctx, -20)) return XDP_DROP;
    eth = (struct fl_eth *)(long)ctx->data;
    ip = (struct fl_ipv4 *)(eth + 1);
    if ((void *)(ip + 1) > (void *)(long)ctx->data_end) return XDP_DROP;
    fl_store64(eth, 0x0002000000000002ULL);
    fl_store32(&eth->source[2], 0x01000000);
    eth->type = fl_htons(FL_ETHERTYPE_IPV4);
    fl_store32(ip, 0x3c000045);
    fl_store32(&ip->id, 0x40);
    fl_store32(&ip->ttl, 0xbeef0440);
    fl_store32(&ip->source, 0x020200c0);
    fl_store32(&ip->destination, 0x0b0200c0);
    return XDP_TX;
}

/* --- Real frames --- */

/* Under BPF_F_TEST_XDP_LIVE_FRAMES pages come round again as they are, so all of the header is written each time. */
FL_INLINE int write4(struct xdp_md *ctx) {
    struct bench_config *c = config();
    __u8 *data = (__u8 *)(long)ctx->data;
    __u32 flow, sum;
    if (!c || data + 58 > (__u8 *)(long)ctx->data_end) return XDP_ABORTED;
    __builtin_memcpy(data, c->header, 58);
    flow = next_flow(c);
    sum = c->header_sum + (flow >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    *(__u16 *)(data + 24) = ~(__u16)(sum + (sum >> 16));
    *(__u16 *)(data + 28) = flow >> 16;
    *(__u16 *)(data + 34) = flow;
    return XDP_TX;
}

SEC("xdp")
int generate4(struct xdp_md *ctx) { return write4(ctx); }

/* Some of them later fragments whose first nobody has seen. */
SEC("xdp")
int generate4_mixed(struct xdp_md *ctx) {
    struct bench_config *c = config();
    const int verdict = write4(ctx);
    __u8 *data = (__u8 *)(long)ctx->data;
    if (!c || verdict != XDP_TX || data + 58 > (__u8 *)(long)ctx->data_end) return XDP_ABORTED;
    if (!c->exceptions_every || c->sequence % c->exceptions_every) return XDP_TX;
    fl_store32(data + 18, ((__u32)c->sequence & 0xffff) | ((__u32)fl_htons(100) << 16)); /* id, offset */
    return XDP_TX;
}

SEC("xdp")
int swap(struct xdp_md *ctx) {
    struct fl_eth *eth = (struct fl_eth *)(long)ctx->data;
    __u64 from, to;
    if ((void *)(eth + 1) > (void *)(long)ctx->data_end) return XDP_DROP;
    from = fl_mac_word(eth->source);
    to = fl_mac_word(eth->destination);
    fl_mac_store(eth->destination, from);
    fl_mac_store(eth->source, to);
    return XDP_TX;
}

FL_INLINE struct sink_counts *sink_of(void) {
    __u32 zero = 0;
    return bpf_map_lookup_elem(&bench_sink, &zero);
}

SEC("xdp")
int sink(struct xdp_md *ctx) {
    struct sink_counts *s = sink_of();
    if (!s) return XDP_ABORTED;
    s->packets++;
    s->bytes += ctx->data_end - ctx->data;
    return XDP_DROP;
}

FL_INLINE __u32 header_sum(const struct fl_ipv4 *ip) {
    __u64 sum = 0;
    for (int i = 0; i < 5; i++) sum += fl_load32((const __u8 *)ip + 4 * i);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (__u32)(sum & 0xffff) + (__u32)(sum >> 16);
}

/* Not timed: checks outer and inner checksum, the tuple that was sent, and counts by the tunnel's far end. */
SEC("xdp")
int verify_ipip4(struct xdp_md *ctx) {
    struct sink_counts *s = sink_of();
    struct bench_config *c = config();
    struct fl_eth *eth = (struct fl_eth *)(long)ctx->data;
    struct fl_ipv4 *outer = (struct fl_ipv4 *)(eth + 1), *inner = outer + 1;
    __u8 *ports = (__u8 *)(inner + 1);
    if (!s || !c) return XDP_ABORTED;
    s->packets++;
    if (ports + 4 > (__u8 *)(long)ctx->data_end) {
        s->faults++;
        return XDP_DROP;
    }
    s->bytes += ctx->data_end - ctx->data;
    if (outer->protocol != FL_PROTO_IPIP || outer->ttl != 64 || header_sum(outer) != 0xffff ||
        header_sum(inner) != 0xffff || fl_load32(&inner->destination) != *(__u32 *)(c->header + 30) ||
        *(__u16 *)(ports + 2) != *(__u16 *)(c->header + 36) || inner->ttl != c->header[22] - 1)
        s->faults++;
    s->by_backend[fl_ntohl(fl_load32(&outer->destination)) & 255]++;
    return XDP_DROP;
}

char bench_license[] SEC("license") = "Dual BSD/GPL";
