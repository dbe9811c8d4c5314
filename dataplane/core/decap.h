/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is encapsulated to this node (DESIGN section 5 step 3): unwrapped for the host when it comes from a configured
 * source and is for a VIP, and never steered again. fl_decap on a front-end node and the steering program of a node
 * that is balancer and backend use this same step. */
#ifndef FL_DECAP_H
#define FL_DECAP_H

#include "dataplane/core/checksum.h"
#include "dataplane/core/choose.h"
#include "dataplane/core/index.h"

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

FL_INLINE void fl_address_from4(union fl_address *a, __be32 v4) {
    a->halves[0] = 0;
    a->halves[1] = 0xffff0000ULL | ((__u64)v4 << 32);
}

FL_INLINE void fl_address_from6(union fl_address *a, const void *v6) {
    a->halves[0] = fl_load64(v6);
    a->halves[1] = fl_load64((const __u8 *)v6 + 8);
}

/* The packet inside, if it is one that can be a VIP's: destination into `inner`, what its service is looked up by into
 * `ports` and `protocol` (0 where it has no ports). False: not an IP packet of that family. */
FL_INLINE int fl_inner_flow(const struct fl_packet *p, const __u8 *at, __u8 family, union fl_address *inner,
                            __u8 *protocol, __u32 *ports) {
    const __u8 *l4;
    *ports = 0;
    if (family == 4) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)at;
        if (!fl_inside(p, ip, sizeof(*ip)) || ip->version_ihl != 0x45) return 0;
        fl_address_from4(inner, fl_load32(&ip->destination));
        *protocol = ip->protocol;
        l4 = at + sizeof(*ip);
        if (ip->fragment & fl_htons(FL_IPV4_MF | FL_IPV4_OFFSET)) *protocol = 0;
    } else {
        const struct fl_ipv6 *ip = (const struct fl_ipv6 *)at;
        if (!fl_inside(p, ip, sizeof(*ip)) || ip->version_class >> 4 != 6) return 0;
        fl_address_from6(inner, ip->destination);
        *protocol = ip->next;
        l4 = at + sizeof(*ip);
    }
    if (*protocol != FL_PROTO_TCP && *protocol != FL_PROTO_UDP)
        *protocol = 0;
    else if (fl_inside(p, l4, 4))
        *ports = fl_load32(l4);
    else
        return 0;
    return 1;
}

/* RFC 6040 section 4.2, figure 4: the ECN field of the packet that comes out, or -1 where it has to be dropped: congestion
 * was marked on the way, and what is inside cannot say so. */
FL_INLINE int fl_ecn_out(__u32 inner, __u32 outer) {
    if (outer == FL_ECN_CE) return inner == FL_ECN_NOT ? -1 : FL_ECN_CE;
    if (outer == FL_ECN_ECT1 && inner == FL_ECN_ECT0) return FL_ECN_ECT1;
    return (int)inner;
}

/* The ECN field of the IP header at `at`, which is inside the packet as far as its first two bytes. */
FL_INLINE __u32 fl_ecn_of(const __u8 *at, __u8 family) { return family == 4 ? at[1] & 3u : (at[1] >> 4) & 3u; }

/* Decides about an IP packet at the frame's L3 offset that may carry another. True when it was ours to decide. */
FL_INLINE int fl_decide_tunnel(struct fl_engine *e, const struct fl_packet *p, __u8 family, struct fl_decision *d) {
    const struct fl_meta *meta = d->meta;
    const __u8 *l3 = (const __u8 *)p->data + sizeof(struct fl_eth);
    const union fl_address *node = family == 4 ? &meta->node4 : &meta->node6;
    union fl_address outer, destination, inner;
    const struct fl_service *service;
    const struct fl_vip *vip;
    const struct fl_pool *pool;
    __u32 ports, header;
    __u8 protocol, inside;
    int ecn;

    if (!(fl_read_once(&meta->flags) & FL_META_DECAP)) return 0;
    if (family == 4) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)l3;
        header = sizeof(*ip);
        if (!fl_inside(p, ip, sizeof(*ip)) || ip->version_ihl != 0x45 ||
            ip->fragment & fl_htons(FL_IPV4_MF | FL_IPV4_OFFSET))
            return 0;
        protocol = ip->protocol;
        fl_address_from4(&outer, fl_load32(&ip->source));
        fl_address_from4(&destination, fl_load32(&ip->destination));
    } else {
        const struct fl_ipv6 *ip = (const struct fl_ipv6 *)l3;
        header = sizeof(*ip);
        if (!fl_inside(p, ip, sizeof(*ip))) return 0;
        protocol = ip->next;
        fl_address_from6(&outer, ip->source);
        fl_address_from6(&destination, ip->destination);
    }
    if (destination.halves[0] != node->halves[0] || destination.halves[1] != node->halves[1]) return 0;
    if (protocol == FL_PROTO_IPIP)
        inside = 4;
    else if (protocol == FL_PROTO_IPV6)
        inside = 6;
    else
        return 0;
    if (!fl_inner_flow(p, l3 + header, inside, &inner, &protocol, &ports)) return 0;
    d->vip = fl_find_vip(e, meta, &inner, &vip);
    if (!d->vip) return 0;
    if (!fl_source_accepted(meta, &outer)) {
        fl_drop(d, FL_REASON_DECAP_REFUSED);
        return 1;
    }
    ecn = fl_ecn_out(fl_ecn_of(l3 + header, inside), fl_ecn_of(l3, family));
    if (ecn < 0) {
        fl_drop(d, FL_REASON_DECAP_ECN);
        return 1;
    }
    d->family = inside;
    d->ecn = (__u8)ecn;
    d->unwrap = (__u8)header;
    d->action = FL_ACTION_UNWRAP;
    d->reason = FL_REASON_DECAPSULATED;
    d->service = protocol ? fl_find_service(e, meta, &inner, d->vip, (__be16)(ports >> 16), protocol, &service) : 0;
    if (!d->service) return 1;
    pool = fl_at_pools(e, service->pool);
    if (pool)
        fl_choose_local(e, pool, d);
    else
        fl_drop(d, FL_REASON_INTERNAL);
    return 1;
}

/* Takes the outer header off: the Ethernet header moves up to the inner packet, and speaks of its family. */
FL_INLINE int fl_apply_unwrap(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    struct fl_eth eth, *to;
    if (!d->unwrap) return 0;
    if (!fl_inside(p, p->data, sizeof(eth))) return -1;
    __builtin_memcpy(&eth, p->data, sizeof(eth));
    if (fl_resize(e, p, -(int)d->unwrap, d->frame - d->unwrap)) return -1;
    to = (struct fl_eth *)p->data;
    if (d->family == 4) {
        struct fl_ipv4 *ip = (struct fl_ipv4 *)(to + 1);
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        eth.type = fl_htons(FL_ETHERTYPE_IPV4);
        if ((ip->tos & 3) != d->ecn) {
            const __u8 tos = (__u8)((ip->tos & ~3) | d->ecn);
            ip->checksum = fl_checksum_update(ip->checksum, (__be16)(ip->tos << 8), (__be16)(tos << 8));
            ip->tos = tos;
        }
    } else {
        struct fl_ipv6 *ip = (struct fl_ipv6 *)(to + 1);
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        eth.type = fl_htons(FL_ETHERTYPE_IPV6);
        ip->class_flow = (__u8)((ip->class_flow & ~0x30) | (d->ecn << 4));
    }
    __builtin_memcpy(to, &eth, sizeof(eth));
    return 0;
}

#endif
