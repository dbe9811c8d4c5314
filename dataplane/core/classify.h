/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the first byte to a decision, for whatever may come (DESIGN section 5, steps 1 to 6). The VIP comes first, by
 * address alone: what is for no VIP is passed untouched, whatever it looks like, and only then is anything else about a
 * packet judged. */
#ifndef FL_CLASSIFY_H
#define FL_CLASSIFY_H

#include "dataplane/core/count.h"
#include "dataplane/core/decap.h"
#include "dataplane/core/fragments.h"

/* True for a packet that no answer may go to (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e). */
FL_INLINE int fl_bad_source(const struct fl_frame *frame, const struct fl_ip *ip) {
    if (frame->group || fl_same_address(&ip->source, &ip->destination)) return 1;
    if (ip->family == 4) {
        const __u32 source = fl_ntohl(ip->source.words[3]);
        return source >> 24 == 0 || source >> 24 == 127 || source >> 28 >= 0xe;
    }
    return (ip->source.halves[0] & 0xff) == 0xff ||
           (!ip->source.halves[0] && (!ip->source.halves[1] || ip->source.halves[1] == 0x01ULL << 56));
}

/* Makes d an answer `reason` if this node is active for the VIP and the rate limit allows, else a drop. */
FL_INLINE void fl_decide_answer(struct fl_engine *e, const struct fl_meta *meta, const struct fl_vip *vip,
                                enum fl_reason reason, int limited, struct fl_decision *d) {
    if (!fl_role_active(e, fl_read_once(&vip->role))) return fl_drop(d, FL_REASON_STANDBY);
    if (limited && !fl_answer_allowed(e, meta)) return fl_drop(d, FL_REASON_ANSWER_LIMITED);
    d->action = FL_ACTION_ANSWER;
    d->reason = (__u8)reason;
}

/* Whether frames for VIPs may come in with these tags (layout.h, FL_PORT_WAY). */
FL_INLINE int fl_on_its_vlan(struct fl_engine *e, const struct fl_frame *frame) {
    const struct fl_port *port = fl_at_ports(e, fl_ingress_port(e));
    const __u32 vlan = port ? FL_PORT_VLAN_IN(fl_read_once(&port->way)) : FL_VLAN_NONE;
    return vlan == FL_VLAN_NONE || vlan == frame->vlan;
}

/* For the VIP itself, and no service's: the host's where the address is its own, else dropped. */
FL_INLINE void fl_decide_unlisted(const struct fl_vip *vip, enum fl_reason reason, struct fl_decision *d) {
    if (fl_read_once(&vip->flags) & FL_VIP_LOCAL)
        fl_pass(d, FL_REASON_LOCAL_VIP);
    else
        fl_drop(d, reason);
}

/* RFC 826 requests for a VIP. One whose sender is the VIP itself is an announcement (RFC 5227 section 3), a peer's
 * takeover, and not a question. */
FL_INLINE void fl_decide_arp(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                             const struct fl_frame *frame, struct fl_decision *d) {
    const struct fl_arp *arp = (const struct fl_arp *)fl_at_offset(p, frame->l3);
    union fl_address target;
    const struct fl_vip *vip;
    if (!fl_inside(p, arp, sizeof(*arp))) return;
    if (arp->hardware != fl_htons(1) || arp->protocol != fl_htons(FL_ETHERTYPE_IPV4) || arp->hardware_length != 6 ||
        arp->protocol_length != 4 || arp->operation != fl_htons(FL_ARP_REQUEST))
        return;
    if (fl_load32(&arp->sender) == fl_load32(&arp->target)) return;
    fl_address_from4(&target, fl_load32(&arp->target));
    d->vip = fl_find_vip(e, meta, &target, &vip);
    if (!d->vip) return;
    if (!fl_on_its_vlan(e, frame)) return fl_pass(d, FL_REASON_OTHER_VLAN);
    d->family = 4;
    fl_decide_answer(e, meta, vip, FL_REASON_ARP, 0, d);
}

/* A neighbour solicitation (RFC 4861 section 7.1.1) that asks for a VIP, whatever address it was sent to. True when it
 * was ours to decide. Its checksum is not verified: the frame's was, and a wrong answer corrects itself. */
FL_INLINE int fl_decide_nd(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                           const struct fl_scratch *s, struct fl_decision *d) {
    const struct fl_ip *ip = &s->ip;
    const __u8 *nd = fl_at_offset(p, ip->l4);
    const struct fl_vip *vip;
    union fl_address target;
    if (ip->family != 6 || ip->protocol != FL_PROTO_ICMPV6 || ip->fault != FL_FAULT_NONE) return 0;
    if (ip->fragment != FL_FRAGMENT_NOT || ip->l4 != ip->at + sizeof(struct fl_ipv6)) return 0; /* RFC 6980 */
    if (ip->icmp_type != FL_ICMPV6_SOLICITATION || ip->icmp_code || ip->ttl != 255) return 0;
    if (!fl_inside(p, nd, sizeof(struct fl_icmp) + sizeof(target))) return 0;
    fl_address_from6(&target, nd + sizeof(struct fl_icmp));
    d->vip = fl_find_vip(e, meta, &target, &vip);
    if (!d->vip) return 0;
    if (fl_on_its_vlan(e, &s->frame))
        fl_decide_answer(e, meta, vip, FL_REASON_ND, 0, d);
    else
        fl_pass(d, FL_REASON_OTHER_VLAN);
    return 1;
}

/* An ICMP error (RFC 792; RFC 4443 section 2.1): not an informational message, and not a redirect, which speaks to hosts
 * on the link alone. */
FL_INLINE int fl_is_icmp_error(__u8 family, __u8 type) {
    if (family == 6) return type >= FL_ICMPV6_UNREACHABLE && type <= FL_ICMPV6_PARAMETER;
    return type == FL_ICMP_UNREACHABLE || type == FL_ICMP_TIME_EXCEEDED || type == FL_ICMP_PARAMETER;
}

/* The packet that an ICMP error quotes went from the VIP to a client: its flow, turned round, is the one that the error is
 * about. Ports are all that is needed behind its IP header, so RFC 792's minimum of 8 bytes will do. True: s->inner has
 * become that flow; false: it quotes nothing that this VIP sent. */
FL_INLINE int fl_quoted_flow(struct fl_engine *e, const struct fl_packet *p, struct fl_scratch *s) {
    const struct fl_ip *ip = &s->ip;
    struct fl_ip *quoted = &s->inner;
    union fl_address client;
    fl_parse_ip(e, p, s, FL_PLACE_QUOTED, ip->family, ip->l4 + (__u32)sizeof(struct fl_icmp), ip->at + ip->length);
    if (quoted->fault != FL_FAULT_NONE || quoted->fragment == FL_FRAGMENT_LATER) return 0;
    if (quoted->protocol != FL_PROTO_TCP && quoted->protocol != FL_PROTO_UDP) return 0;
    if (!fl_same_address(&quoted->source, &ip->destination)) return 0;
    client = quoted->destination;
    quoted->destination = quoted->source;
    quoted->source = client;
    quoted->ports = quoted->ports >> 16 | quoted->ports << 16;
    return 1;
}

/* ICMP and ICMPv6 to a VIP: an echo request is answered, an error goes where the connection goes that it is about, the
 * rest is for the host where the VIP is its own. True: s->ip has become that connection, to be steered. */
FL_INLINE int fl_decide_icmp(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                             const struct fl_vip *vip, struct fl_scratch *s, struct fl_decision *d) {
    struct fl_ip *ip = &s->ip;
    const __u8 echo = ip->family == 4 ? FL_ICMP_ECHO : FL_ICMPV6_ECHO;
    if (ip->fragment == FL_FRAGMENT_NOT && ip->icmp_type == echo && ip->icmp_code == 0) {
        if (fl_bad_source(&s->frame, ip))
            fl_drop(d, FL_REASON_NOT_ANSWERABLE);
        else
            fl_decide_answer(e, meta, vip, FL_REASON_ECHO, 1, d);
        return 0;
    }
    if (fl_is_icmp_error(ip->family, ip->icmp_type) && fl_quoted_flow(e, p, s)) {
        ip->source = s->inner.source;
        ip->ports = s->inner.ports;
        ip->protocol = s->inner.protocol;
        ip->silent = 1;
        return 1;
    }
    fl_decide_unlisted(vip, FL_REASON_ICMP, d);
    return 0;
}

/* Gives a later fragment the ports of its first, or those of any service where the client's address says enough. */
FL_INLINE int fl_decide_later(struct fl_engine *e, const struct fl_meta *meta, const struct fl_vip *vip,
                              struct fl_ip *ip, struct fl_decision *d) {
    const struct fl_service *service;
    __u32 id = ip->protocol == FL_PROTO_TCP ? fl_read_id(&vip->client_tcp) : 0;
    if (ip->protocol == FL_PROTO_UDP) id = fl_read_id(&vip->client_udp);
    service = id ? fl_at_services(e, id) : 0;
    if (service) {
        ip->ports = (__u32)service->port << 16;
        return 1;
    }
    if (fl_find_fragment(e, meta, ip)) return 1;
    fl_decide_unlisted(vip, FL_REASON_FRAGMENT_ORPHAN, d);
    d->exception = 1;
    return 0;
}

/* A first fragment that needs to be remembered, once it is steered. */
FL_INLINE void fl_decide_first(const struct fl_meta *meta, const struct fl_vip *vip, const struct fl_ip *ip,
                               struct fl_decision *d) {
    if (ip->protocol == FL_PROTO_TCP ? fl_read_once(&vip->client_tcp) : fl_read_once(&vip->client_udp)) return;
    d->remember = 1;
    d->fragment_hash = fl_fragment_hash(meta, ip);
}

/* Answers a refused packet where an answer is due; d says how it was refused. A later fragment is never answered: RFC 1122
 * section 3.2.2; in IPv6 its first was. */
FL_INLINE void fl_decide_refusal(struct fl_engine *e, const struct fl_meta *meta, const struct fl_vip *vip,
                                 const struct fl_scratch *s, struct fl_decision *d) {
    const struct fl_ip *ip = &s->ip;
    const int tcp = ip->protocol == FL_PROTO_TCP;
    if (ip->silent || (tcp && ip->tcp_flags & FL_TCP_RST) || ip->fragment == FL_FRAGMENT_LATER ||
        fl_bad_source(&s->frame, ip))
        return fl_drop(d, FL_REASON_NOT_ANSWERABLE);
    fl_decide_answer(e, meta, vip, tcp ? FL_REASON_RESET : FL_REASON_UNREACHABLE, 1, d);
}

/* A packet too big for its backend's path: the sender is told what fits (RFC 1191 section 4, RFC 8201 section 3), where
 * it asked for that or its family always does. What may be fragmented on the way goes to the host or is dropped, as its
 * pool says. What an offload has merged is dropped: it was never of that size on a wire, so no message would help. */
FL_INLINE void fl_decide_too_big(struct fl_engine *e, const struct fl_meta *meta, const struct fl_vip *vip,
                                 const struct fl_scratch *s, struct fl_decision *d) {
    const struct fl_ip *ip = &s->ip;
    const struct fl_port *port = fl_at_ports(e, fl_ingress_port(e));
    const struct fl_pool *pool = fl_at_pools(e, d->pool);
    if (!port || !pool) return;
    if (ip->length > port->mtu) return fl_drop(d, FL_REASON_SUPERFRAME);
    if (!ip->dont_fragment) {
        d->exception = !ip->silent;
        if (fl_read_once(&pool->flags) & FL_POOL_TOO_BIG_PASS) fl_pass(d, FL_REASON_TOO_BIG_PASSED);
        return;
    }
    if (ip->family == 6 && d->mtu < FL_IPV6_MTU) {
        /* RFC 2473 section 7.1: below IPv6's least MTU it is the tunnel that has to fragment. */
        if (ip->length <= FL_IPV6_MTU) return;
        d->mtu = FL_IPV6_MTU;
    }
    if (ip->silent || ip->tcp_flags & FL_TCP_RST || fl_bad_source(&s->frame, ip) ||
        (ip->family == 4 && ip->fragment == FL_FRAGMENT_LATER))
        return fl_drop(d, FL_REASON_NOT_ANSWERABLE);
    fl_decide_answer(e, meta, vip, FL_REASON_FRAG_NEEDED, 1, d);
}

/* A sound IP packet to a VIP, on its VLAN. */
FL_INLINE void fl_decide_vip(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                             const struct fl_vip *vip, struct fl_scratch *s, struct fl_decision *d) {
    struct fl_ip *ip = &s->ip;
    const struct fl_backend *backend;
    enum fl_refusal refusal;
    if (ip->fragment == FL_FRAGMENT_LATER) {
        if (!fl_decide_later(e, meta, vip, ip, d)) return;
    } else if (ip->protocol == (ip->family == 4 ? FL_PROTO_ICMP : FL_PROTO_ICMPV6)) {
        if (!fl_decide_icmp(e, meta, p, vip, s, d)) return;
    } else if (ip->protocol != FL_PROTO_TCP && ip->protocol != FL_PROTO_UDP) {
        return fl_decide_unlisted(vip, FL_REASON_UNLISTED, d);
    } else {
        d->syn = (__u8)(ip->protocol == FL_PROTO_TCP && fl_is_syn(ip->tcp_flags));
        if (ip->fragment == FL_FRAGMENT_FIRST) fl_decide_first(meta, vip, ip, d);
    }
    d->ports = ip->ports;
    d->protocol = ip->protocol;
    refusal = fl_choose(e, meta, p, ip, vip, d, &backend);
    if (refusal == FL_REFUSE_WITH_ANSWER)
        fl_decide_refusal(e, meta, vip, s, d);
    else if (d->action == FL_ACTION_DROP && d->reason == FL_REASON_TOO_BIG)
        fl_decide_too_big(e, meta, vip, s, d);
    else if (d->action == FL_ACTION_FORWARD && ip->checksum_left) {
        /* In the stack's own hook the frame still carries the note that its checksum is to be completed. */
        const struct fl_port *port = fl_at_ports(e, fl_ingress_port(e));
        if (port && port->mode != FL_ENGINE_XDP_GENERIC) fl_drop(d, FL_REASON_CHECKSUM_OFFLOAD);
    }
}

/* How a packet for a VIP ends whose headers are not sound. */
FL_INLINE enum fl_reason fl_fault_reason(__u8 fault) {
    if (fault == FL_FAULT_CHAIN) return FL_REASON_EXTENSION_CHAIN;
    if (fault == FL_FAULT_ROUTE) return FL_REASON_SOURCE_ROUTE;
    return FL_REASON_MALFORMED;
}

FL_INLINE void fl_decide_ip(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p, __u8 family,
                            struct fl_scratch *s, struct fl_decision *d) {
    const struct fl_ip *ip = &s->ip;
    const struct fl_vip *vip;
    fl_parse_ip(e, p, s, FL_PLACE_IP, family, s->frame.l3, s->frame.length);
    if (ip->fault == FL_FAULT_NOT_IP) return;
    d->family = family;
    d->length = ip->length;
    d->l3 = ip->at;
    d->l4 = ip->l4;
    d->protocol = ip->protocol;
    if (fl_decide_nd(e, meta, p, s, d)) return;
    d->vip = fl_find_vip(e, meta, &ip->destination, &vip);
    if (!d->vip) return fl_decide_tunnel(e, meta, p, s, d);
    if (!fl_on_its_vlan(e, &s->frame)) return fl_pass(d, FL_REASON_OTHER_VLAN);
    d->exception = ip->fault == FL_FAULT_CHAIN;
    if (ip->fault != FL_FAULT_NONE) return fl_drop(d, fl_fault_reason(ip->fault));
    fl_decide_vip(e, meta, p, vip, s, d);
}

/* Fills *d, begun by fl_begin(). Changes not the packet, and of the tables only this CPU's rate limit of answers and, where
 * a slot is in transition, its stamps and pins. */
FL_INLINE void fl_decide_any(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                             struct fl_scratch *s, struct fl_decision *d) {
    const __u8 family = fl_take_frame(e, p, s, d);
    if (family) {
        fl_decide_ip(e, meta, p, family, s, d);
    } else if (s->frame.type == fl_htons(FL_ETHERTYPE_ARP)) {
        d->l3 = s->frame.l3;
        fl_decide_arp(e, meta, p, &s->frame, d);
    }
    s->move.made = 0;
}

#endif
