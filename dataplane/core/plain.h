/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The steady path: an untagged frame, an IP header without options, TCP or UDP behind it, and a backend that it can be
 * forwarded to. Nearly every packet is like that, and at fixed offsets reading one is cheap. What is not, or ends in
 * anything else than being forwarded, is left to classify.h, which begins anew; nothing has been written by then but what a
 * slot in transition asks for, and that is not done again (transition.h). */
#ifndef FL_PLAIN_H
#define FL_PLAIN_H

#include "dataplane/core/decap.h"

/* Where the headers of a plain packet lie, whose IP header has `size` bytes. */
FL_INLINE void fl_plain_place(__u32 size, struct fl_ip *ip) {
    ip->at = sizeof(struct fl_eth);
    ip->l4 = (__u16)(ip->at + size);
    ip->silent = 0;
}

/* What stands behind an IP header of `size` bytes. False: not plain. */
FL_INLINE int fl_plain_l4(const struct fl_packet *p, __u32 frame, __u32 size, struct fl_ip *ip) {
    const __u8 *l4 = (const __u8 *)p->data + sizeof(struct fl_eth) + size;
    if (fl_unlikely(ip->length + sizeof(struct fl_eth) > frame)) return 0;
    ip->tcp_flags = 0;
    fl_plain_place(size, ip);
    if (fl_likely(ip->protocol == FL_PROTO_TCP)) {
        const struct fl_tcp *tcp = (const struct fl_tcp *)l4;
        if (ip->length < size + sizeof(*tcp) || !fl_still_inside(p, tcp, sizeof(*tcp))) return 0;
        ip->ports = fl_load32(tcp);
        ip->tcp_flags = tcp->flags;
        return !fl_is_syn(tcp->flags) || !fl_checksum_maybe_left(ip, tcp);
    }
    if (ip->protocol != FL_PROTO_UDP) return 0;
    if (ip->length < size + sizeof(struct fl_udp) || !fl_still_inside(p, l4, sizeof(struct fl_udp))) return 0;
    ip->ports = fl_load32(l4);
    return 1;
}

/* The least that a frame must have to be worth a look here: it has all of an IPv4 header. */
FL_INLINE int fl_plain_frame(const struct fl_packet *p) {
    return fl_inside(p, p->data, sizeof(struct fl_eth) + sizeof(struct fl_ipv4));
}

/* Where a packet goes at all. */
FL_INLINE void fl_plain_destination4(const struct fl_packet *p, struct fl_ip *ip) {
    const struct fl_ipv4 *header = (const struct fl_ipv4 *)((const struct fl_eth *)p->data + 1);
    fl_address_from4(&ip->destination, fl_load32(&header->destination));
    ip->protocol = header->protocol;
}

/* False: the frame is too short. */
FL_INLINE int fl_plain_destination6(const struct fl_packet *p, struct fl_ip *ip) {
    const struct fl_ipv6 *header = (const struct fl_ipv6 *)((const struct fl_eth *)p->data + 1);
    if (!fl_inside(p, header, sizeof(*header))) return 0;
    fl_address_from6(&ip->destination, header->destination);
    ip->protocol = header->next;
    return 1;
}

/* The rest of the headers, in a frame of `frame` bytes. False: not plain. */
FL_INLINE int fl_plain_headers4(const struct fl_packet *p, __u32 frame, struct fl_ip *ip) {
    const struct fl_ipv4 *header = (const struct fl_ipv4 *)((const struct fl_eth *)p->data + 1);
    if (fl_unlikely(header->version_ihl != 0x45 || header->fragment & fl_htons(FL_IPV4_MF | FL_IPV4_OFFSET))) return 0;
    fl_address_from4(&ip->source, fl_load32(&header->source));
    ip->family = 4;
    ip->ttl = header->ttl;
    ip->length = fl_ntohs(header->length);
    return fl_plain_l4(p, frame, sizeof(*header), ip);
}

FL_INLINE int fl_plain_headers6(const struct fl_packet *p, __u32 frame, struct fl_ip *ip) {
    const struct fl_ipv6 *header = (const struct fl_ipv6 *)((const struct fl_eth *)p->data + 1);
    if (fl_unlikely(header->version_class >> 4 != 6)) return 0;
    fl_address_from6(&ip->source, header->source);
    ip->family = 6;
    ip->ttl = header->hop_limit;
    ip->length = fl_ntohs(header->length) + (__u32)sizeof(*header);
    return fl_plain_l4(p, frame, sizeof(*header), ip);
}

/* Whether frames without a tag may be for VIPs where this one came in. */
FL_INLINE int fl_plain_port(struct fl_engine *e) {
    const struct fl_port *in = fl_at_ports(e, fl_ingress_port(e));
    return in && FL_PORT_VLAN_IN(fl_read_once(&in->way)) == FL_VLAN_NONE;
}

/* What the headers say, in the decision. */
FL_INLINE void fl_plain_note(const struct fl_ip *ip, struct fl_decision *d) {
    d->syn = (__u8)fl_is_syn(ip->tcp_flags);
    d->family = ip->family;
    d->length = ip->length;
    d->l3 = ip->at;
    d->l4 = ip->l4;
    d->ports = ip->ports;
    d->protocol = ip->protocol;
}

/* Whether what has been decided is the steady path's to do. If not, the packet begins anew. */
FL_INLINE int fl_plain_forwards(struct fl_engine *e, const struct fl_decision *d) {
    if (fl_likely(d->action == FL_ACTION_FORWARD && !d->tags)) return 1;
    if (d->slot_word & FL_SLOT_LOOKUP) fl_keep_move(e);
    return 0;
}

/* What is left when the headers are known. */
FL_INLINE int fl_plain_flow(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                            const struct fl_ip *ip, const struct fl_vip *vip, struct fl_decision *d,
                            const struct fl_backend **backend) {
    if (!fl_plain_port(e)) return 0;
    fl_plain_note(ip, d);
    fl_choose(e, meta, p, ip, vip, d, backend);
    return fl_plain_forwards(e, d);
}

FL_INLINE int fl_plain_ipv4(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                            struct fl_decision *d, const struct fl_backend **backend) {
    const struct fl_vip *vip;
    struct fl_ip ip;
    fl_plain_destination4(p, &ip);
    d->vip = fl_find_vip(e, meta, &ip.destination, &vip);
    if (!d->vip) return !fl_may_be_tunnel(meta, ip.protocol);
    return fl_plain_headers4(p, d->frame, &ip) && fl_plain_flow(e, meta, p, &ip, vip, d, backend);
}

FL_INLINE int fl_plain_ipv6(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                            struct fl_decision *d, const struct fl_backend **backend) {
    const struct fl_vip *vip;
    struct fl_ip ip;
    if (!fl_plain_destination6(p, &ip)) return 0;
    d->vip = fl_find_vip(e, meta, &ip.destination, &vip);
    /* ICMPv6: a solicitation for a VIP is sent to a group. */
    if (!d->vip) return ip.protocol != FL_PROTO_ICMPV6 && !fl_may_be_tunnel(meta, ip.protocol);
    return fl_plain_headers6(p, d->frame, &ip) && fl_plain_flow(e, meta, p, &ip, vip, d, backend);
}

/* True when *d, begun by fl_begin(), is decided: forwarded to *backend, or passed as nobody's. */
FL_INLINE int fl_decide_plain(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                              struct fl_decision *d, const struct fl_backend **backend) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    if (!fl_plain_frame(p)) return 0;
    if (fl_likely(eth->type == fl_htons(FL_ETHERTYPE_IPV4))) return fl_plain_ipv4(e, meta, p, d, backend);
    if (eth->type == fl_htons(FL_ETHERTYPE_IPV6)) return fl_plain_ipv6(e, meta, p, d, backend);
    return eth->type != fl_htons(FL_ETHERTYPE_ARP) && !fl_is_tag(eth->type);
}

#endif
