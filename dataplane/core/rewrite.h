/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Turns a packet into what its backend receives (DESIGN section 5 step 7): L2 DSR, or a tunnel, IP in IP or GUE, of
 * either family in either. The TTL or hop limit is decremented in all of them; it was above 1 when the decision was made. */
#ifndef FL_REWRITE_H
#define FL_REWRITE_H

#include "dataplane/core/layer2.h"

#define FL_OUTER_TTL 64 /* RFC 1700's default, as every host sends */

/* RFC 1624: the TTL is the high byte of its 16-bit word, so the checksum grows by 0x0100 in network order, which is 1 as it is
 * loaded here. TTL, protocol and checksum are four bytes: {TTL 8, protocol 8, checksum 16}. */
FL_INLINE void fl_decrement_ttl4(struct fl_ipv4 *ip) {
    const __u32 word = fl_load32(&ip->ttl);
    fl_store32(&ip->ttl, word + 0xffff + ((__u32)(word >= 0xfffe0000) << 16));
}

/* One hop less on the inner packet. */
FL_INLINE void fl_take_hop(void *inner, __u8 family) {
    if (family == 4)
        fl_decrement_ttl4((struct fl_ipv4 *)inner);
    else
        ((struct fl_ipv6 *)inner)->hop_limit--;
}

/* {traffic class 8, flow label 20} as the first word of an IPv6 header holds them, with zero for the version; an IPv4
 * packet has no label. */
FL_INLINE __u32 fl_class_word(const void *inner, __u8 family) {
    const __u32 tos = ((const struct fl_ipv4 *)inner)->tos;
    return family == 4 ? tos >> 4 | (tos & 15) << 12 : fl_load32(inner) & ~(__u32)0xf0;
}

/* DSCP and ECN of a packet, as an IPv4 header holds them. */
FL_INLINE __u32 fl_traffic_class(const void *inner, __u8 family) {
    const __u32 word = fl_load32(inner);
    return family == 4 ? ((const struct fl_ipv4 *)inner)->tos : (word & 15) << 4 | (word >> 12 & 15);
}

FL_INLINE __u32 fl_header_size(__u8 family) { return family == 4 ? sizeof(struct fl_ipv4) : sizeof(struct fl_ipv6); }

FL_INLINE __u32 fl_tunnel_protocol(__u8 family) { return family == 4 ? FL_PROTO_IPIP : FL_PROTO_IPV6; }

/* Sum of all bytes of the inner packet, got from its own right checksums without reading its data ("local checksum
 * offload"): a header with its checksum adds up to nothing, and a segment with its checksum to the complement of its
 * pseudo-header. False where the packet has none that covers it: an IPv4 datagram without a checksum, a fragment, options
 * or extension headers in between. */
FL_INLINE int fl_inner_sum(const struct fl_packet *p, const struct fl_decision *d, const void *inner, __u64 *sum) {
    const __u8 family = d->family;
    const __u32 size = fl_header_size(family);
    const __u8 *l4 = (const __u8 *)inner + size;
    __u8 protocol;
    __u64 pseudo;
    *sum = 0;
    if ((__u32)(d->l4 - d->l3) != size || !fl_inside(p, inner, size + sizeof(struct fl_udp))) return 0;
    if (family == 4) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)inner;
        protocol = ip->protocol;
        if (ip->fragment & fl_htons(FL_IPV4_MF | FL_IPV4_OFFSET)) return 0;
        if (protocol == FL_PROTO_ICMP) return 1;
        pseudo = (__u64)fl_load32(&ip->source) + fl_load32(&ip->destination);
    } else {
        const struct fl_ipv6 *ip = (const struct fl_ipv6 *)inner;
        protocol = ip->next;
        pseudo = fl_checksum_words(ip->source, 8);
        *sum = fl_checksum_words(ip, sizeof(*ip) / 4);
        if (protocol == FL_PROTO_FRAGMENT) return 0;
    }
    if (protocol == FL_PROTO_UDP && !((const struct fl_udp *)l4)->checksum) return 0;
    pseudo += (__u64)fl_htonl(d->length - size) + fl_htonl(protocol);
    *sum += fl_checksum_fold(pseudo);
    return 1;
}

/* The UDP header of GUE (variant 1: what follows is the packet itself). The source port varies with the flow in RFC 6335's
 * dynamic range, for the receivers' queues and equal-cost paths. `pseudo` is the sum of the outer addresses. Over IPv6 the
 * checksum is there wherever it can be had (RFC 6935 section 5, RFC 6936 section 4); over IPv4 zero (RFC 768). */
FL_INLINE void fl_write_gue(const struct fl_packet *p, const struct fl_decision *d, const struct fl_backend *backend,
                            struct fl_udp *udp, __u64 pseudo) {
    const __u32 length = fl_htons(d->length + sizeof(*udp));
    const __u32 ports = fl_htons(0xc000 | (__u16)(d->hash >> 50)) | ((__u32)backend->gue_port << 16);
    __u64 inner;
    __be16 checksum = 0;
    if (d->outer == 6 && fl_inner_sum(p, d, udp + 1, &inner)) {
        checksum = fl_checksum_fold(pseudo + inner + ports + 2 * (__u64)length + fl_htonl(FL_PROTO_UDP));
        if (!checksum) checksum = 0xffff;
    }
    fl_store32(udp, ports);
    fl_store32(&udp->length, length | ((__u32)checksum << 16));
}

/* RFC 2003, and RFC 4213 section 3 for IPv6 inside. DSCP and ECN are copied outward (RFC 2983 uniform model, RFC 6040
 * section 4.1). DF is set and the id zero (RFC 6864: an atomic datagram). Source: the node's address, or varied by flow
 * in encap_source_prefix. `udp`: bytes of UDP header between, a constant at each call. */
FL_INLINE int fl_apply_outer4(struct fl_engine *e, const struct fl_meta *meta, const struct fl_backend *backend,
                              struct fl_packet *p, const struct fl_decision *d, const __u32 udp) {
    const __u8 family = d->family;
    const __u32 protocol = udp ? FL_PROTO_UDP : fl_tunnel_protocol(family);
    const __u32 size = sizeof(struct fl_ipv4) + udp;
    const int grow = (int)size + (int)fl_l3_out(d) - (int)d->l3;
    struct fl_ipv4 *outer;
    __u64 sum;
    __u32 first, source, destination;

    if (fl_resize(e, p, grow, d->frame + grow)) return -1;
    if (!fl_write_layer2(p, d, d->destination_mac, d->source_mac, FL_ETHERTYPE_IPV4)) return -1;
    outer = (struct fl_ipv4 *)fl_at_offset(p, fl_l3_out(d));
    if (!fl_still_inside(p, outer, size + fl_header_size(family))) return -1;
    fl_take_hop((__u8 *)outer + size, family);
    /* As 32-bit words in memory order: {0x45, tos, length}, {id 0, DF}, {ttl, protocol, checksum}, addresses. */
    first = 0x45u | fl_traffic_class((__u8 *)outer + size, family) << 8 | (__u32)fl_htons(d->length + size) << 16;
    source = meta->encap4.words[3] | ((__u32)(d->hash >> 32) & meta->encap4_mask);
    destination = backend->address.words[3];
    sum = (__u64)first + ((__u32)fl_htons(FL_IPV4_DF) << 16) + (FL_OUTER_TTL | (protocol << 8)) + source + destination;
    /* Two words a store: what there is least room for in a processor is stores on their way. */
    fl_store64(outer, first | (__u64)fl_htons(FL_IPV4_DF) << 48);
    fl_store64(&outer->ttl,
               FL_OUTER_TTL | (protocol << 8) | ((__u32)fl_checksum_fold(sum) << 16) | (__u64)source << 32);
    fl_store32(&outer->destination, destination);
    if (udp) fl_write_gue(p, d, backend, (struct fl_udp *)(outer + 1), 0);
    return 0;
}

/* RFC 2473. The flow label is copied from the inner packet or, where it is IPv4, made of its flow's hash (RFC 6438), so
 * that equal-cost paths spread the tunnel. */
FL_INLINE int fl_apply_outer6(struct fl_engine *e, const struct fl_meta *meta, const struct fl_backend *backend,
                              struct fl_packet *p, const struct fl_decision *d, const __u32 udp) {
    const __u8 family = d->family;
    const __u32 protocol = udp ? FL_PROTO_UDP : fl_tunnel_protocol(family);
    const __u32 size = sizeof(struct fl_ipv6) + udp;
    const int grow = (int)size + (int)fl_l3_out(d) - (int)d->l3;
    struct fl_ipv6 *outer;
    __u32 class_word;

    if (fl_resize(e, p, grow, d->frame + grow)) return -1;
    if (!fl_write_layer2(p, d, d->destination_mac, d->source_mac, FL_ETHERTYPE_IPV6)) return -1;
    outer = (struct fl_ipv6 *)fl_at_offset(p, fl_l3_out(d));
    if (!fl_still_inside(p, outer, size + fl_header_size(family))) return -1;
    fl_take_hop((__u8 *)outer + size, family);
    class_word = fl_class_word((__u8 *)outer + size, family);
    if (family == 4) class_word |= ((__u32)(d->hash >> 32) & 0xffff0f00u);
    fl_store64(outer, class_word | 0x60 |
                          (__u64)((__u32)fl_htons(d->length + udp) | (protocol << 16) | ((__u32)FL_OUTER_TTL << 24))
                              << 32);
    fl_store64(&outer->source[0], meta->encap6.halves[0]);
    fl_store64(&outer->source[2], meta->encap6.halves[1] | (__u64)((__u32)(d->hash >> 32) & meta->encap6_mask) << 32);
    fl_store64(&outer->destination[0], backend->address.halves[0]);
    fl_store64(&outer->destination[2], backend->address.halves[1]);
    if (udp) fl_write_gue(p, d, backend, (struct fl_udp *)(outer + 1), fl_checksum_words(outer->source, 8));
    return 0;
}

FL_INLINE int fl_apply_l2dsr(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const int grow = (int)fl_l3_out(d) - (int)d->l3;
    const __u8 family = d->family;
    __u8 *at;
    if (fl_unlikely(grow) && fl_resize(e, p, grow, d->frame + grow)) return -1;
    if (!fl_write_layer2(p, d, d->destination_mac, d->source_mac, family == 4 ? FL_ETHERTYPE_IPV4 : FL_ETHERTYPE_IPV6))
        return -1;
    at = (__u8 *)fl_at_offset(p, fl_l3_out(d));
    if (!fl_still_inside(p, at, fl_header_size(family))) return -1;
    fl_take_hop(at, family);
    return 0;
}

FL_INLINE int fl_apply_forward(struct fl_engine *e, const struct fl_meta *meta, const struct fl_backend *backend,
                               struct fl_packet *p, const struct fl_decision *d) {
    const __u32 udp = sizeof(struct fl_udp);
    if (d->forward == FL_FORWARD_L2DSR) return fl_apply_l2dsr(e, p, d);
    if (fl_likely(d->forward == FL_FORWARD_IPIP))
        return fl_likely(d->outer == 4) ? fl_apply_outer4(e, meta, backend, p, d, 0)
                                        : fl_apply_outer6(e, meta, backend, p, d, 0);
    return d->outer == 4 ? fl_apply_outer4(e, meta, backend, p, d, udp) : fl_apply_outer6(e, meta, backend, p, d, udp);
}

#endif
