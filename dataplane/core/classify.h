/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the first byte to a decision (DESIGN section 5, steps 1 to 6). The VIP comes first, by address alone: what is
 * for no VIP is passed untouched, whatever it looks like, and only then is anything else about a packet judged. */
#ifndef FL_CLASSIFY_H
#define FL_CLASSIFY_H

#include "dataplane/core/choose.h"
#include "dataplane/core/count.h"
#include "dataplane/core/decap.h"
#include "dataplane/core/index.h"

#define FL_VLAN_TAGS 2 /* 802.1ad outer and 802.1Q inner */

/* How a packet is refused whose VIP has no service for it, or whose pool has no backend. */
enum fl_refusal { FL_REFUSE_NOT, FL_REFUSE_SILENTLY, FL_REFUSE_WITH_ANSWER };

/* True for a source that no answer may go to (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e). */
FL_INLINE int fl_bad_source(const struct fl_packet *p, __u8 family) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    if (family == 4) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)(eth + 1);
        __u32 source;
        if (!fl_inside(p, ip, sizeof(*ip)) || eth->destination[0] & 1) return 1;
        source = fl_ntohl(fl_load32(&ip->source));
        return source >> 24 == 0 || source >> 24 == 127 || source >> 28 >= 0xe ||
               fl_load32(&ip->source) == fl_load32(&ip->destination);
    } else {
        const struct fl_ipv6 *ip = (const struct fl_ipv6 *)(eth + 1);
        __u64 high, low;
        if (!fl_inside(p, ip, sizeof(*ip)) || eth->destination[0] & 1) return 1;
        high = fl_load64(&ip->source[0]);
        low = fl_load64(&ip->source[2]);
        return (high & 0xff) == 0xff || (!high && (!low || low == 0x01ULL << 56)) ||
               (high == fl_load64(&ip->destination[0]) && low == fl_load64(&ip->destination[2]));
    }
}

/* Makes d an answer `reason` if this node is active for the VIP and the rate limit allows, else a drop. */
FL_INLINE void fl_decide_answer(struct fl_engine *e, __u32 role, enum fl_reason reason, int limited,
                                struct fl_decision *d) {
    if (!fl_role_active(e, role)) return fl_drop(d, FL_REASON_STANDBY);
    if (limited && !fl_answer_allowed(e, d->meta)) return fl_drop(d, FL_REASON_ANSWER_LIMITED);
    d->action = FL_ACTION_ANSWER;
    d->reason = (__u8)reason;
}

/* A service's packet, or none's: which backend, or how it is refused. source and destination point into the packet,
 * address is the destination as tables hold it; flow->family is a constant at each of the two calls. */
FL_INLINE enum fl_refusal fl_decide_flow(struct fl_engine *e, const struct fl_packet *p, const struct fl_flow *flow,
                                         const void *source, const void *destination, const union fl_address *address,
                                         const struct fl_vip *vip, struct fl_decision *d) {
    const struct fl_meta *meta = d->meta;
    const struct fl_service *service;
    const struct fl_pool *pool;
    __u64 affinity;
    __u32 flags;

    d->service = fl_find_service(e, meta, address, d->vip, (__be16)(flow->ports >> 16), flow->protocol, &service);
    if (fl_unlikely(!d->service)) {
        if (vip->flags & FL_VIP_LOCAL) {
            fl_pass(d, FL_REASON_LOCAL_VIP);
            return FL_REFUSE_NOT;
        }
        fl_drop(d, FL_REASON_UNLISTED);
        return vip->flags & FL_VIP_RESET ? FL_REFUSE_WITH_ANSWER : FL_REFUSE_SILENTLY;
    }
    d->pool = service->pool;
    pool = fl_at_pools(e, d->pool);
    if (fl_unlikely(!pool)) {
        fl_drop(d, FL_REASON_INTERNAL);
        return FL_REFUSE_NOT;
    }
    if (fl_unlikely(fl_from_peer(meta, p))) {
        fl_choose_local(e, pool, d);
        return FL_REFUSE_NOT;
    }
    flags = fl_read_once(&pool->flags);
    if (flow->family == 4) {
        d->hash = fl_hash_flow4(meta, fl_load32(source), fl_load32(destination), flow->ports, flow->protocol);
        affinity = flags & FL_POOL_CLIENT_IP ? fl_hash_client4(meta, fl_load32(source)) : d->hash;
    } else {
        __be32 from[4], to[4];
        for (int i = 0; i < 4; i++) {
            from[i] = fl_load32((const __u8 *)source + 4 * i);
            to[i] = fl_load32((const __u8 *)destination + 4 * i);
        }
        d->hash = fl_hash_flow6(meta, from, to, flow->ports, flow->protocol);
        affinity = flags & FL_POOL_CLIENT_IP ? fl_hash_client6(meta, from) : d->hash;
    }
    fl_choose_slot(e, pool, affinity, flow, d);
    if (fl_likely(d->action != FL_ACTION_DROP || d->reason != FL_REASON_ALL_DOWN)) return FL_REFUSE_NOT;
    return flags & FL_POOL_ALL_DOWN_RESET ? FL_REFUSE_WITH_ANSWER : FL_REFUSE_SILENTLY;
}

/* Ports and TCP flags from behind the IP header of `header` bytes, within the packet's own length: what pads the frame
 * behind it is not part of it. False, with a decision made, when that was not a TCP or UDP header. */
FL_INLINE int fl_parse_l4(const struct fl_packet *p, __u32 header, const struct fl_vip *vip, struct fl_flow *flow,
                          struct fl_decision *d) {
    const __u8 *l4 = (const __u8 *)p->data + sizeof(struct fl_eth) + header;
    if (fl_likely(flow->protocol == FL_PROTO_TCP)) {
        const struct fl_tcp *tcp = (const struct fl_tcp *)l4;
        if (flow->length < header + sizeof(*tcp) || !fl_inside(p, tcp, sizeof(*tcp))) goto malformed;
        flow->ports = fl_load32(tcp);
        flow->tcp_flags = tcp->flags;
        d->syn = (tcp->flags & (FL_TCP_SYN | FL_TCP_ACK | FL_TCP_RST | FL_TCP_FIN)) == FL_TCP_SYN;
        return 1;
    }
    if (flow->protocol == FL_PROTO_UDP) {
        const struct fl_udp *udp = (const struct fl_udp *)l4;
        if (flow->length < header + sizeof(*udp) || !fl_inside(p, udp, sizeof(*udp))) goto malformed;
        flow->ports = fl_load32(udp);
        return 1;
    }
    if (vip->flags & FL_VIP_LOCAL)
        fl_pass(d, FL_REASON_LOCAL_VIP);
    else
        fl_drop(d, FL_REASON_UNLISTED);
    return 0;
malformed:
    fl_drop(d, FL_REASON_MALFORMED);
    return 0;
}

/* An ICMP error (RFC 792; RFC 4443 section 2.1): not an informational message, and not a redirect, which speaks to hosts
 * on the link alone. */
FL_INLINE int fl_is_icmp_error(__u8 family, __u8 type) {
    if (family == 6) return type >= FL_ICMPV6_UNREACHABLE && type <= FL_ICMPV6_PARAMETER;
    return type == FL_ICMP_UNREACHABLE || type == FL_ICMP_TIME_EXCEEDED || type == FL_ICMP_PARAMETER;
}

/* The packet that an ICMP error of `header` bytes of IP header quotes went from the VIP to the client: its flow, turned
 * round, is the one that the error is about. Ports are all that is needed behind its IP header, so RFC 792's minimum of
 * 8 bytes will do. Fills flow->protocol and flow->ports and returns where the client's address stands; NULL: it quotes
 * nothing that this VIP sent. */
FL_INLINE const void *fl_quoted_flow(const struct fl_packet *p, __u32 header, struct fl_flow *flow) {
    const __u8 *l3 = (const __u8 *)p->data + sizeof(struct fl_eth);
    const __u8 *quoted = l3 + header + sizeof(struct fl_icmp);
    const __u8 *l4;
    const void *client;
    __u32 ports;
    if (flow->family == 4) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)quoted;
        __u32 length;
        if (!fl_inside(p, ip, sizeof(*ip)) || ip->version_ihl >> 4 != 4) return (void *)0;
        length = (__u32)(ip->version_ihl & 15) * 4;
        if (length < sizeof(*ip) || ip->fragment & fl_htons(FL_IPV4_OFFSET)) return (void *)0;
        if (fl_load32(&ip->source) != fl_load32(&((const struct fl_ipv4 *)l3)->destination)) return (void *)0;
        if (flow->length < header + sizeof(struct fl_icmp) + length + sizeof(ports)) return (void *)0;
        flow->protocol = ip->protocol;
        client = &ip->destination;
        l4 = quoted + length;
    } else {
        const struct fl_ipv6 *ip = (const struct fl_ipv6 *)quoted;
        const struct fl_ipv6 *outer = (const struct fl_ipv6 *)l3;
        if (!fl_inside(p, ip, sizeof(*ip)) || ip->version_class >> 4 != 6) return (void *)0;
        if (fl_load64(&ip->source[0]) != fl_load64(&outer->destination[0]) ||
            fl_load64(&ip->source[2]) != fl_load64(&outer->destination[2]))
            return (void *)0;
        if (flow->length < header + sizeof(struct fl_icmp) + sizeof(*ip) + sizeof(ports)) return (void *)0;
        flow->protocol = ip->next;
        client = ip->destination;
        l4 = quoted + sizeof(*ip);
    }
    if (!fl_inside(p, l4, sizeof(ports))) return (void *)0;
    if (flow->protocol != FL_PROTO_TCP && flow->protocol != FL_PROTO_UDP) return (void *)0;
    ports = fl_load32(l4);
    flow->ports = ports >> 16 | ports << 16;
    flow->error = 1;
    return client;
}

/* ICMP and ICMPv6 to a VIP: an echo request is answered, an error goes where the connection goes that it is about, the
 * rest is for the host where the VIP is its own. Returns the client's address if `flow` is to be steered now. */
FL_INLINE const void *fl_decide_icmp(struct fl_engine *e, const struct fl_packet *p, __u32 header, __u8 echo,
                                     const struct fl_vip *vip, struct fl_flow *flow, struct fl_decision *d) {
    const struct fl_icmp *icmp = (const struct fl_icmp *)((const __u8 *)p->data + sizeof(struct fl_eth) + header);
    const void *client;
    if (flow->length < header + sizeof(*icmp) || !fl_inside(p, icmp, sizeof(*icmp))) {
        fl_drop(d, FL_REASON_MALFORMED);
        return (void *)0;
    }
    if (icmp->type == echo && icmp->code == 0) {
        if (fl_bad_source(p, flow->family))
            fl_drop(d, FL_REASON_NOT_ANSWERABLE);
        else
            fl_decide_answer(e, vip->role, FL_REASON_ECHO, 1, d);
        return (void *)0;
    }
    if (fl_is_icmp_error(flow->family, icmp->type)) {
        client = fl_quoted_flow(p, header, flow);
        if (client) return client;
    }
    if (vip->flags & FL_VIP_LOCAL)
        fl_pass(d, FL_REASON_LOCAL_VIP);
    else
        fl_drop(d, FL_REASON_ICMP);
    return (void *)0;
}

FL_INLINE enum fl_refusal fl_decide_ipv4(struct fl_engine *e, const struct fl_packet *p, struct fl_flow *flow,
                                         struct fl_decision *d) {
    const struct fl_ipv4 *ip = (const struct fl_ipv4 *)((const struct fl_eth *)p->data + 1);
    const void *source = &ip->source;
    union fl_address destination;
    const struct fl_vip *vip;

    if (!fl_inside(p, ip, sizeof(*ip))) return FL_REFUSE_NOT;
    fl_address_from4(&destination, fl_load32(&ip->destination));
    d->vip = fl_find_vip(e, d->meta, &destination, &vip);
    if (!d->vip) {
        if (fl_unlikely(ip->protocol == FL_PROTO_IPIP || ip->protocol == FL_PROTO_IPV6)) fl_decide_tunnel(e, p, 4, d);
        return FL_REFUSE_NOT;
    }
    d->family = flow->family = 4;
    d->length = flow->length = fl_ntohs(ip->length);
    flow->ttl = ip->ttl;
    flow->protocol = ip->protocol;
    fl_drop(d, FL_REASON_MALFORMED);
    if (fl_unlikely(ip->version_ihl != 0x45)) {
        if (ip->version_ihl >> 4 == 4 && (ip->version_ihl & 15) > 5) fl_drop(d, FL_REASON_IP_OPTIONS);
        return FL_REFUSE_NOT;
    }
    if (fl_unlikely(flow->length + sizeof(struct fl_eth) > flow->frame)) return FL_REFUSE_NOT;
    if (fl_unlikely(ip->fragment & fl_htons(FL_IPV4_MF | FL_IPV4_OFFSET))) {
        fl_drop(d, FL_REASON_FRAGMENT);
        return FL_REFUSE_NOT;
    }
    if (fl_unlikely(flow->protocol == FL_PROTO_ICMP)) {
        source = fl_decide_icmp(e, p, sizeof(*ip), FL_ICMP_ECHO, vip, flow, d);
        if (!source) return FL_REFUSE_NOT;
    } else if (!fl_parse_l4(p, sizeof(*ip), vip, flow, d)) {
        return FL_REFUSE_NOT;
    }
    return fl_decide_flow(e, p, flow, source, &ip->destination, &destination, vip, d);
}

/* A neighbour solicitation (RFC 4861 section 7.1.1) that asks for a VIP, whatever address it was sent to. True when it
 * was ours to decide. Its checksum is not verified: the frame's was, and a wrong answer corrects itself. */
FL_INLINE int fl_decide_nd(struct fl_engine *e, const struct fl_packet *p, struct fl_decision *d) {
    const struct fl_ipv6 *ip = (const struct fl_ipv6 *)((const struct fl_eth *)p->data + 1);
    const struct fl_icmp *icmp = (const struct fl_icmp *)(ip + 1);
    const __u8 *target_at = (const __u8 *)(icmp + 1);
    const struct fl_vip *vip;
    union fl_address target;
    __u32 id;
    if (!fl_inside(p, icmp, sizeof(*icmp) + sizeof(target))) return 0;
    if (icmp->type != FL_ICMPV6_SOLICITATION || icmp->code || ip->hop_limit != 255) return 0;
    fl_address_from6(&target, target_at);
    id = fl_find_vip(e, d->meta, &target, &vip);
    if (!id) return 0;
    d->vip = id;
    d->family = 6;
    fl_decide_answer(e, vip->role, FL_REASON_ND, 0, d);
    return 1;
}

FL_INLINE int fl_is_extension(__u8 next) {
    return next == FL_PROTO_HOPOPTS || next == FL_PROTO_ROUTING || next == FL_PROTO_AUTH || next == FL_PROTO_DSTOPTS;
}

FL_INLINE enum fl_refusal fl_decide_ipv6(struct fl_engine *e, const struct fl_packet *p, struct fl_flow *flow,
                                         struct fl_decision *d) {
    const struct fl_ipv6 *ip = (const struct fl_ipv6 *)((const struct fl_eth *)p->data + 1);
    const void *source = ip->source;
    union fl_address destination;
    const struct fl_vip *vip;

    if (!fl_inside(p, ip, sizeof(*ip))) return FL_REFUSE_NOT;
    if (fl_unlikely(ip->next == FL_PROTO_ICMPV6) && fl_decide_nd(e, p, d)) return FL_REFUSE_NOT;
    fl_address_from6(&destination, ip->destination);
    d->vip = fl_find_vip(e, d->meta, &destination, &vip);
    if (!d->vip) {
        if (fl_unlikely(ip->next == FL_PROTO_IPIP || ip->next == FL_PROTO_IPV6)) fl_decide_tunnel(e, p, 6, d);
        return FL_REFUSE_NOT;
    }
    d->family = flow->family = 6;
    d->length = flow->length = fl_ntohs(ip->length) + (__u32)sizeof(*ip);
    flow->ttl = ip->hop_limit;
    flow->protocol = ip->next;
    fl_drop(d, FL_REASON_MALFORMED);
    if (fl_unlikely(ip->version_class >> 4 != 6 || flow->length + sizeof(struct fl_eth) > flow->frame))
        return FL_REFUSE_NOT;
    if (fl_unlikely(flow->protocol == FL_PROTO_ICMPV6)) {
        source = fl_decide_icmp(e, p, sizeof(*ip), FL_ICMPV6_ECHO, vip, flow, d);
        if (!source) return FL_REFUSE_NOT;
    } else if (fl_unlikely(flow->protocol == FL_PROTO_FRAGMENT)) {
        fl_drop(d, FL_REASON_FRAGMENT);
        return FL_REFUSE_NOT;
    } else if (fl_unlikely(fl_is_extension(flow->protocol))) {
        fl_drop(d, FL_REASON_EXTENSION_HEADER);
        return FL_REFUSE_NOT;
    } else if (!fl_parse_l4(p, sizeof(*ip), vip, flow, d)) {
        return FL_REFUSE_NOT;
    }
    return fl_decide_flow(e, p, flow, source, ip->destination, &destination, vip, d);
}

/* RFC 826 requests for a VIP. One whose sender is the VIP itself is an announcement (RFC 5227 section 3), a peer's
 * takeover, and not a question. */
FL_INLINE void fl_decide_arp(struct fl_engine *e, const struct fl_packet *p, struct fl_decision *d) {
    const struct fl_arp *arp = (const struct fl_arp *)((const struct fl_eth *)p->data + 1);
    union fl_address target;
    const struct fl_vip *vip;
    if (!fl_inside(p, arp, sizeof(*arp))) return;
    if (arp->hardware != fl_htons(1) || arp->protocol != fl_htons(FL_ETHERTYPE_IPV4) || arp->hardware_length != 6 ||
        arp->protocol_length != 4 || arp->operation != fl_htons(FL_ARP_REQUEST))
        return;
    if (fl_load32(&arp->sender) == fl_load32(&arp->target)) return;
    fl_address_from4(&target, fl_load32(&arp->target));
    d->vip = fl_find_vip(e, d->meta, &target, &vip);
    if (!d->vip) return;
    d->family = 4;
    fl_decide_answer(e, vip->role, FL_REASON_ARP, 0, d);
}

/* A tagged frame is dropped and counted when it is for a VIP, and passed otherwise. */
FL_INLINE void fl_decide_vlan(struct fl_engine *e, const struct fl_packet *p, struct fl_decision *d) {
    const struct fl_vlan *tag = (const struct fl_vlan *)((const struct fl_eth *)p->data + 1);
    const struct fl_vip *vip;
    union fl_address destination;
    __be16 type = 0;
    for (int i = 0; i < FL_VLAN_TAGS; i++) {
        if (!fl_inside(p, tag, sizeof(*tag))) return;
        type = tag->type;
        tag++;
        if (type != fl_htons(FL_ETHERTYPE_VLAN) && type != fl_htons(FL_ETHERTYPE_QINQ)) break;
    }
    if (type == fl_htons(FL_ETHERTYPE_IPV4)) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)tag;
        if (!fl_inside(p, ip, sizeof(*ip))) return;
        fl_address_from4(&destination, fl_load32(&ip->destination));
    } else if (type == fl_htons(FL_ETHERTYPE_IPV6)) {
        const struct fl_ipv6 *ip = (const struct fl_ipv6 *)tag;
        if (!fl_inside(p, ip, sizeof(*ip))) return;
        fl_address_from6(&destination, ip->destination);
    } else {
        return;
    }
    d->vip = fl_find_vip(e, d->meta, &destination, &vip);
    if (d->vip) fl_drop(d, FL_REASON_VLAN);
}

/* Answers a refused packet where an answer is due; d says how it was refused. */
FL_INLINE void fl_decide_refusal(struct fl_engine *e, const struct fl_packet *p, const struct fl_flow *flow,
                                 struct fl_decision *d) {
    const struct fl_vip *vip = fl_at_vips(e, d->vip);
    int tcp = flow->protocol == FL_PROTO_TCP;
    if (!vip) return;
    if (flow->error || (tcp && flow->tcp_flags & FL_TCP_RST) || fl_bad_source(p, flow->family))
        return fl_drop(d, FL_REASON_NOT_ANSWERABLE);
    fl_decide_answer(e, vip->role, tcp ? FL_REASON_RESET : FL_REASON_UNREACHABLE, 1, d);
}

/* A packet too big for its backend's path: the sender is told what fits (RFC 1191 section 4, RFC 8201 section 3), where
 * it asked for that or its family always does. What may be fragmented on the way stays with its drop, and so does what a
 * receive offload has merged: it was never of that size on the wire, so no message about it would help. */
FL_INLINE void fl_decide_too_big(struct fl_engine *e, const struct fl_packet *p, const struct fl_flow *flow,
                                 struct fl_decision *d) {
    const struct fl_vip *vip = fl_at_vips(e, d->vip);
    const struct fl_port *port = fl_at_ports(e, fl_ingress_port(e));
    if (!vip || !port) return;
    if (flow->length > port->mtu) return fl_drop(d, FL_REASON_SUPERFRAME);
    if (flow->family == 4) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)((const struct fl_eth *)p->data + 1);
        if (!fl_inside(p, ip, sizeof(*ip)) || !(ip->fragment & fl_htons(FL_IPV4_DF))) return;
    } else if (d->mtu < FL_IPV6_MTU) {
        /* RFC 2473 section 7.1: below IPv6's least MTU it is the tunnel that has to fragment. */
        if (flow->length <= FL_IPV6_MTU) return;
        d->mtu = FL_IPV6_MTU;
    }
    if (flow->error || flow->tcp_flags & FL_TCP_RST || fl_bad_source(p, flow->family))
        return fl_drop(d, FL_REASON_NOT_ANSWERABLE);
    fl_decide_answer(e, vip->role, FL_REASON_FRAG_NEEDED, 1, d);
}

/* Fills *d. Changes neither the packet nor any table but this CPU's rate limit of answers. */
FL_INLINE void fl_decide(struct fl_engine *e, const struct fl_packet *p, struct fl_decision *d) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    struct fl_flow flow;
    enum fl_refusal refusal = FL_REFUSE_NOT;

    __builtin_memset(&flow, 0, sizeof(flow));
    __builtin_memset(d, 0, sizeof(*d));
    fl_pass(d, FL_REASON_NOT_VIP);
    d->frame = flow.frame = (__u32)((const __u8 *)p->end - (const __u8 *)p->data);
    d->meta = fl_at_meta(e, 0);
    if (!d->meta || !fl_inside(p, eth, sizeof(*eth))) return;
    if (fl_likely(eth->type == fl_htons(FL_ETHERTYPE_IPV4)))
        refusal = fl_decide_ipv4(e, p, &flow, d);
    else if (eth->type == fl_htons(FL_ETHERTYPE_IPV6))
        refusal = fl_decide_ipv6(e, p, &flow, d);
    else if (eth->type == fl_htons(FL_ETHERTYPE_ARP))
        fl_decide_arp(e, p, d);
    else if (eth->type == fl_htons(FL_ETHERTYPE_VLAN) || eth->type == fl_htons(FL_ETHERTYPE_QINQ))
        fl_decide_vlan(e, p, d);
    if (fl_unlikely(refusal == FL_REFUSE_WITH_ANSWER))
        fl_decide_refusal(e, p, &flow, d);
    else if (fl_unlikely(d->action == FL_ACTION_DROP && d->reason == FL_REASON_TOO_BIG))
        fl_decide_too_big(e, p, &flow, d);
}

#endif
