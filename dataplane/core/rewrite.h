/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Turns a packet into what its backend receives (DESIGN section 5 step 7): L2 DSR, or IPIP in any pair of
 * families. The TTL or hop limit is decremented in all of them; it was above 1 when the decision was made. */
#ifndef FL_REWRITE_H
#define FL_REWRITE_H

#include "dataplane/core/checksum.h"
#include "dataplane/core/decision.h"

#define FL_OUTER_TTL 64 /* RFC 1700's default, as every host sends */

FL_INLINE void fl_write_eth(struct fl_eth *eth, __u64 destination, __u64 source, __u16 type) {
    fl_mac_store(eth->destination, destination);
    fl_mac_store(eth->source, source);
    eth->type = fl_htons(type);
}

/* RFC 1624: the TTL is the high byte of its word, so the checksum grows by 0x0100 in network order. */
FL_INLINE void fl_decrement_ttl4(struct fl_ipv4 *ip) {
    __u32 sum = (__u32)ip->checksum + fl_htons(0x0100);
    ip->checksum = (__be16)(sum + (sum >= 0xffff));
    ip->ttl--;
}

/* One hop less on the inner packet. Returns {traffic class 8, flow label 20} as the first word of an IPv6 header holds
 * them, with zero for the version; an IPv4 packet has no label. */
FL_INLINE __u32 fl_take_hop(void *inner, __u8 family) {
    if (family == 4) {
        struct fl_ipv4 *ip = (struct fl_ipv4 *)inner;
        fl_decrement_ttl4(ip);
        return ((__u32)ip->tos >> 4) | ((__u32)(ip->tos & 15) << 12);
    } else {
        struct fl_ipv6 *ip = (struct fl_ipv6 *)inner;
        ip->hop_limit--;
        return fl_load32(ip) & ~(__u32)0xf0;
    }
}

FL_INLINE __u32 fl_inner_size(const struct fl_decision *d) {
    return d->family == 4 ? sizeof(struct fl_ipv4) : sizeof(struct fl_ipv6);
}

/* RFC 2003, and RFC 4213 section 3 for IPv6 inside. DSCP and ECN are copied outward (RFC 2983 uniform model, RFC 6040
 * section 4.1). DF is set and the id zero (RFC 6864: an atomic datagram). Source: the node's address, or varied by flow
 * in encap_source_prefix. */
FL_INLINE int fl_apply_ipip4(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_meta *meta = d->meta;
    const __u32 protocol = d->family == 4 ? FL_PROTO_IPIP : FL_PROTO_IPV6;
    struct fl_eth *eth;
    struct fl_ipv4 *outer;
    __u64 sum;
    __u32 class_word, first, source, destination;

    if (fl_resize(e, p, sizeof(*outer), d->frame + sizeof(*outer))) return -1;
    eth = (struct fl_eth *)p->data;
    outer = (struct fl_ipv4 *)(eth + 1);
    if (!fl_inside(p, outer + 1, fl_inner_size(d))) return -1;
    class_word = fl_take_hop(outer + 1, d->family);
    fl_write_eth(eth, d->destination_mac, d->source_mac, FL_ETHERTYPE_IPV4);
    /* As 32-bit words in memory order: {0x45, tos, length}, {id 0, DF}, {ttl, protocol, checksum}, addresses. */
    first = 0x45u | (((class_word & 15) << 4 | ((class_word >> 12) & 15)) << 8) |
            ((__u32)fl_htons(d->length + sizeof(*outer)) << 16);
    source = meta->encap4.words[3] | ((__u32)(d->hash >> 32) & meta->encap4_mask);
    destination = d->backend->address.words[3];
    sum = (__u64)first + ((__u32)fl_htons(FL_IPV4_DF) << 16) + (FL_OUTER_TTL | (protocol << 8)) + source + destination;
    fl_store32(outer, first);
    fl_store32(&outer->id, (__u32)fl_htons(FL_IPV4_DF) << 16);
    fl_store32(&outer->ttl, FL_OUTER_TTL | (protocol << 8) | ((__u32)fl_checksum_fold(sum) << 16));
    fl_store32(&outer->source, source);
    fl_store32(&outer->destination, destination);
    return 0;
}

/* RFC 2473. The flow label is copied from the inner packet or, where it is IPv4, made of its flow's hash (RFC 6438), so
 * that equal-cost paths spread the tunnel. */
FL_INLINE int fl_apply_ipip6(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_meta *meta = d->meta;
    const __u32 protocol = d->family == 4 ? FL_PROTO_IPIP : FL_PROTO_IPV6;
    struct fl_eth *eth;
    struct fl_ipv6 *outer;
    __u32 class_word;

    if (fl_resize(e, p, sizeof(*outer), d->frame + sizeof(*outer))) return -1;
    eth = (struct fl_eth *)p->data;
    outer = (struct fl_ipv6 *)(eth + 1);
    if (!fl_inside(p, outer + 1, fl_inner_size(d))) return -1;
    class_word = fl_take_hop(outer + 1, d->family);
    if (d->family == 4) class_word |= ((__u32)(d->hash >> 32) & 0xffff0f00u);
    fl_write_eth(eth, d->destination_mac, d->source_mac, FL_ETHERTYPE_IPV6);
    fl_store32(outer, class_word | 0x60);
    fl_store32(&outer->length, (__u32)fl_htons(d->length) | (protocol << 16) | ((__u32)FL_OUTER_TTL << 24));
    fl_store64(&outer->source[0], meta->encap6.halves[0]);
    fl_store32(&outer->source[2], meta->encap6.words[2]);
    fl_store32(&outer->source[3], meta->encap6.words[3] | ((__u32)(d->hash >> 32) & meta->encap6_mask));
    fl_store64(&outer->destination[0], d->backend->address.halves[0]);
    fl_store64(&outer->destination[2], d->backend->address.halves[1]);
    return 0;
}

FL_INLINE int fl_apply_l2dsr(struct fl_packet *p, const struct fl_decision *d) {
    struct fl_eth *eth = (struct fl_eth *)p->data;
    if (d->family == 4) {
        struct fl_ipv4 *ip = (struct fl_ipv4 *)(eth + 1);
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        fl_decrement_ttl4(ip);
    } else {
        struct fl_ipv6 *ip = (struct fl_ipv6 *)(eth + 1);
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        ip->hop_limit--;
    }
    fl_mac_store(eth->destination, d->destination_mac);
    fl_mac_store(eth->source, d->source_mac);
    return 0;
}

FL_INLINE int fl_apply_forward(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    if (d->forward == FL_FORWARD_L2DSR) return fl_apply_l2dsr(p, d);
    if (d->outer == 4) return fl_apply_ipip4(e, p, d);
    return fl_apply_ipip6(e, p, d);
}

#endif
