/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Turns a packet into what its backend receives (DESIGN section 5 step 7): L2 DSR, IPIP 4-in-4 (RFC 2003), 6-in-6
 * (RFC 2473). The TTL or hop limit is decremented in all of them; it was above 1 when the decision was made. */
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

/* DSCP and ECN are copied outward (RFC 2983 uniform model, RFC 6040 section 4.1). DF is set and the id zero (RFC 6864:
 * an atomic datagram). Source: the node's address, or varied by flow in encap_source_prefix. */
FL_INLINE int fl_apply_ipip4(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_meta *meta = d->meta;
    struct fl_eth *eth;
    struct fl_ipv4 *outer, *inner;
    __u64 sum;
    __u32 first, source, destination;

    if (fl_resize(e, p, sizeof(*outer), d->frame + sizeof(*outer))) return -1;
    eth = (struct fl_eth *)p->data;
    outer = (struct fl_ipv4 *)(eth + 1);
    inner = outer + 1;
    if (!fl_inside(p, inner, sizeof(*inner))) return -1;
    fl_decrement_ttl4(inner);
    fl_write_eth(eth, d->destination_mac, d->source_mac, FL_ETHERTYPE_IPV4);
    /* As 32-bit words in memory order: {0x45, tos, length}, {id 0, DF}, {ttl, protocol, checksum}, addresses. */
    first = 0x45u | ((__u32)inner->tos << 8) | ((__u32)fl_htons(d->length + sizeof(*outer)) << 16);
    source = meta->encap4.words[3] | ((__u32)(d->hash >> 32) & meta->encap4_mask);
    destination = d->backend->address.words[3];
    sum = (__u64)first + ((__u32)fl_htons(FL_IPV4_DF) << 16) + (FL_OUTER_TTL | (FL_PROTO_IPIP << 8)) + source +
          destination;
    fl_store32(outer, first);
    fl_store32(&outer->id, (__u32)fl_htons(FL_IPV4_DF) << 16);
    fl_store32(&outer->ttl, FL_OUTER_TTL | (FL_PROTO_IPIP << 8) | ((__u32)fl_checksum_fold(sum) << 16));
    fl_store32(&outer->source, source);
    fl_store32(&outer->destination, destination);
    return 0;
}

/* The flow label is copied from the inner packet (RFC 6438), so that equal-cost paths spread the tunnel. */
FL_INLINE int fl_apply_ipip6(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_meta *meta = d->meta;
    struct fl_eth *eth;
    struct fl_ipv6 *outer, *inner;

    if (fl_resize(e, p, sizeof(*outer), d->frame + sizeof(*outer))) return -1;
    eth = (struct fl_eth *)p->data;
    outer = (struct fl_ipv6 *)(eth + 1);
    inner = outer + 1;
    if (!fl_inside(p, inner, sizeof(*inner))) return -1;
    inner->hop_limit--;
    fl_write_eth(eth, d->destination_mac, d->source_mac, FL_ETHERTYPE_IPV6);
    fl_store32(outer, fl_load32(inner)); /* version, class with ECN, flow label */
    fl_store32(&outer->length, (__u32)fl_htons(d->length) | ((__u32)FL_PROTO_IPV6 << 16) | ((__u32)FL_OUTER_TTL << 24));
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
    if (d->family == 4) return fl_apply_ipip4(e, p, d);
    return fl_apply_ipip6(e, p, d);
}

#endif
