/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is encapsulated to this node (DESIGN section 5 step 3): unwrapped for the host when it comes from a configured
 * source and is for a VIP, and never steered again. fl_decap on a front-end node and the steering program of a node
 * that is balancer and backend use this same step. */
#ifndef FL_DECAP_H
#define FL_DECAP_H

#include "dataplane/core/choose.h"
#include "dataplane/core/layer2.h"

/* True when `outer` lies in one of the prefixes that tunnels are accepted from. */
FL_INLINE int fl_source_accepted(const struct fl_meta *meta, const union fl_address *outer) {
    __u32 count = fl_read_once(&meta->source_count);
    for (__u32 i = 0; i < FL_MAX_SOURCES && i < count; i++) {
        const struct fl_source *s = &meta->sources[i];
        if ((outer->halves[0] & s->mask.halves[0]) == s->address.halves[0] &&
            (outer->halves[1] & s->mask.halves[1]) == s->address.halves[1])
            return 1;
    }
    return 0;
}

/* RFC 6040 section 4.2, figure 4: the ECN field of the packet that comes out, or -1 where it has to be dropped: congestion
 * was marked on the way, and what is inside cannot say so. */
FL_INLINE int fl_ecn_out(__u32 inner, __u32 outer) {
    if (outer == FL_ECN_CE) return inner == FL_ECN_NOT ? -1 : FL_ECN_CE;
    if (outer == FL_ECN_ECT1 && inner == FL_ECN_ECT0) return FL_ECN_ECT1;
    return (int)inner;
}

/* True for an IP protocol that may be a tunnel to this node. */
FL_INLINE int fl_may_be_tunnel(const struct fl_meta *meta, __u8 protocol) {
    if (fl_likely(protocol == FL_PROTO_TCP) || !(fl_read_once(&meta->flags) & FL_META_DECAP)) return 0;
    return protocol == FL_PROTO_IPIP || protocol == FL_PROTO_IPV6 ||
           (protocol == FL_PROTO_UDP && fl_read_once(&meta->gue_port)) || fl_is_extension(protocol);
}

FL_INLINE __u8 fl_family_of_protocol(__u8 protocol) {
    return protocol == FL_PROTO_IPIP ? 4 : protocol == FL_PROTO_IPV6 ? 6 : 0;
}

/* GUE behind a UDP header at `at`, in either variant. Returns the family of the packet inside and its offset in *inner;
 * 0 for a control message or anything else. The UDP checksum is not verified: the packet inside has its own (RFC 6935). */
FL_INLINE __u8 fl_parse_gue(const struct fl_packet *p, __u32 at, __u32 *inner) {
    const struct fl_gue *gue = (const struct fl_gue *)fl_at_offset(p, at + sizeof(struct fl_udp));
    *inner = at + sizeof(struct fl_udp);
    if (!fl_inside(p, gue, sizeof(*gue))) return 0;
    if (gue->first >> 4 == 4 || gue->first >> 4 == 6) return gue->first >> 4;
    if (gue->first >> 6 || gue->first & FL_GUE_CONTROL) return 0;
    *inner += sizeof(*gue) + 4u * (gue->first & FL_GUE_LENGTH);
    return fl_family_of_protocol(gue->protocol);
}

/* The packet inside of s->ip, into s->inner. False: s->ip is no whole tunnel packet to this node. */
FL_INLINE int fl_open_tunnel(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                             struct fl_scratch *s) {
    const struct fl_ip *ip = &s->ip;
    __u32 at = ip->l4;
    __u8 family;
    if (ip->fault != FL_FAULT_NONE || ip->fragment != FL_FRAGMENT_NOT) return 0;
    if (!fl_same_address(&ip->destination, ip->family == 4 ? &meta->node4 : &meta->node6)) return 0;
    if (ip->protocol == FL_PROTO_UDP) {
        const __u32 port = (__be16)fl_read_once(&meta->gue_port);
        family = port && ip->ports >> 16 == port ? fl_parse_gue(p, ip->l4, &at) : 0;
    } else {
        family = fl_family_of_protocol(ip->protocol);
    }
    if (!family) return 0;
    fl_parse_ip(e, p, s, FL_PLACE_INNER, family, at, ip->at + ip->length);
    return s->inner.fault != FL_FAULT_NOT_IP;
}

/* Where an unwrapped packet goes: to the local backend of its service, or to the host as it is. */
FL_INLINE void fl_choose_unwrapped(struct fl_engine *e, const struct fl_meta *meta, const struct fl_ip *inner,
                                   struct fl_decision *d) {
    const struct fl_service *service;
    const struct fl_pool *pool;
    d->action = FL_ACTION_UNWRAP;
    d->reason = FL_REASON_DECAPSULATED;
    if (inner->fault != FL_FAULT_NONE || inner->fragment == FL_FRAGMENT_LATER) return;
    if (inner->protocol != FL_PROTO_TCP && inner->protocol != FL_PROTO_UDP) return;
    d->service =
        fl_find_service(e, meta, &inner->destination, d->vip, (__be16)(inner->ports >> 16), inner->protocol, &service);
    if (!d->service) return;
    pool = fl_at_pools(e, service->pool);
    if (pool)
        fl_choose_local(e, pool, d);
    else
        fl_drop(d, FL_REASON_INTERNAL);
}

/* Decides about the packet in s->ip, which is for no VIP and may carry one that is. */
FL_INLINE void fl_decide_tunnel(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                                struct fl_scratch *s, struct fl_decision *d) {
    const struct fl_vip *vip;
    int ecn;
    if (!fl_may_be_tunnel(meta, s->ip.protocol) || !fl_open_tunnel(e, meta, p, s)) return;
    d->vip = fl_find_vip(e, meta, &s->inner.destination, &vip);
    if (!d->vip) return;
    if (!fl_source_accepted(meta, &s->ip.source)) return fl_drop(d, FL_REASON_DECAP_REFUSED);
    if (s->inner.fault == FL_FAULT_MALFORMED) return fl_drop(d, FL_REASON_MALFORMED);
    ecn = fl_ecn_out(s->inner.ecn, s->ip.ecn);
    if (ecn < 0) return fl_drop(d, FL_REASON_DECAP_ECN);
    d->family = s->inner.family;
    d->protocol = s->inner.protocol;
    d->ports = s->inner.ports;
    d->ecn = (__u8)ecn;
    d->l3 = s->ip.at;
    d->unwrap = (__u16)(s->inner.at - s->ip.at);
    fl_choose_unwrapped(e, meta, &s->inner, d);
}

/* Takes the outer headers off: what stands before them moves up to the packet inside, and speaks of its family. */
FL_INLINE int fl_apply_unwrap(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    __u64 destination, source;
    __u8 *at;
    if (!d->unwrap) return 0;
    if (!fl_inside(p, eth, sizeof(*eth))) return -1;
    destination = fl_mac_word(eth->destination);
    source = fl_mac_word(eth->source);
    if (fl_resize(e, p, -(int)d->unwrap, d->frame - d->unwrap)) return -1;
    if (!fl_write_layer2(p, d, destination, source, d->family == 4 ? FL_ETHERTYPE_IPV4 : FL_ETHERTYPE_IPV6)) return -1;
    at = (__u8 *)fl_at_offset(p, fl_l3_out(d));
    if (d->family == 4) {
        struct fl_ipv4 *ip = (struct fl_ipv4 *)at;
        const __u8 ecn = d->ecn;
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        if ((ip->tos & 3) != ecn) {
            const __u8 tos = (__u8)((ip->tos & ~3) | ecn);
            ip->checksum = fl_checksum_update(ip->checksum, (__be16)(ip->tos << 8), (__be16)(tos << 8));
            ip->tos = tos;
        }
    } else {
        struct fl_ipv6 *ip = (struct fl_ipv6 *)at;
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        ip->class_flow = (__u8)((ip->class_flow & ~0x30) | (d->ecn << 4));
    }
    return 0;
}

#endif
