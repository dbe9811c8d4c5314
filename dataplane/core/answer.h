/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packets that the program makes itself, each out of the one it answers: ARP and neighbour answers, echo replies, TCP
 * resets, unreachables and path MTU messages. They leave by the port that the question came in by, to the MAC it came
 * from, with the VLAN tags that it had. */
#ifndef FL_ANSWER_H
#define FL_ANSWER_H

#include "dataplane/core/rewrite.h"

#define FL_ANSWER_TTL 64
#define FL_ND_HOP_LIMIT 255 /* RFC 4861 section 7.1 */
/* What an ICMP error quotes of the packet in fault: its IP header, whatever that holds, and the 8 bytes that hold the
 * ports. RFC 792 asks for just that; RFC 4443 would take more, but receivers need no more, and an answer this small
 * amplifies nothing. */
#define FL_QUOTED_L4 8u
#define FL_MOST_QUOTED4 (60 + FL_QUOTED_L4)
#define FL_MOST_QUOTED6 (sizeof(struct fl_ipv6) + FL_MAX_EXTENSION_BYTES + FL_QUOTED_L4)

/* RFC 826 */
FL_INLINE int fl_answer_arp(struct fl_packet *p, const struct fl_decision *d, __u64 own) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    struct fl_arp *arp = (struct fl_arp *)fl_at_offset(p, d->l3);
    __be32 vip;
    __u64 asker;
    if (!fl_inside(p, eth, sizeof(*eth))) return -1;
    if (!fl_write_layer2(p, d, fl_mac_word(eth->source), own, FL_ETHERTYPE_ARP)) return -1;
    if (!fl_inside(p, arp, sizeof(*arp))) return -1;
    vip = fl_load32(&arp->target);
    asker = fl_mac_word(arp->sender_mac);
    arp->operation = fl_htons(FL_ARP_REPLY);
    fl_mac_store(arp->target_mac, asker);
    fl_store32(&arp->target, fl_load32(&arp->sender));
    fl_mac_store(arp->sender_mac, own);
    fl_store32(&arp->sender, vip);
    return 0;
}

FL_INLINE void fl_write_ipv4(struct fl_ipv4 *ip, __u32 length, __u8 protocol, __be32 source, __be32 destination) {
    fl_store32(ip, 0x45u | ((__u32)fl_htons(length) << 16));
    fl_store32(&ip->id, (__u32)fl_htons(FL_IPV4_DF) << 16);
    fl_store32(&ip->ttl, FL_ANSWER_TTL | ((__u32)protocol << 8));
    fl_store32(&ip->source, source);
    fl_store32(&ip->destination, destination);
    ip->checksum = fl_checksum_fold(fl_checksum_words(ip, 5));
}

FL_INLINE void fl_write_ipv6(struct fl_ipv6 *ip, __u32 length, __u8 next, __u8 hop_limit,
                             const union fl_address *source, const union fl_address *destination) {
    fl_store32(ip, 0x60);
    fl_store32(&ip->length, (__u32)fl_htons(length) | ((__u32)next << 16) | ((__u32)hop_limit << 24));
    fl_store64(&ip->source[0], source->halves[0]);
    fl_store64(&ip->source[2], source->halves[1]);
    fl_store64(&ip->destination[0], destination->halves[0]);
    fl_store64(&ip->destination[2], destination->halves[1]);
}

/* RFC 4861 section 7.2.4. A solicitation from the unspecified address (duplicate address detection) is answered to all
 * nodes, without the Solicited flag. */
FL_INLINE int fl_answer_nd(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d, __u64 own) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    const struct fl_ipv6 *question = (const struct fl_ipv6 *)fl_at_offset(p, d->l3);
    union fl_address asker_ip, vip;
    __u32 flags = FL_ND_FLAG_SOLICITED | FL_ND_FLAG_OVERRIDE;
    struct fl_ipv6 *ip;
    struct fl_nd *nd;
    __u64 asker;

    if (!fl_inside(p, eth, sizeof(*eth)) ||
        !fl_inside(p, question, sizeof(*question) + sizeof(struct fl_icmp) + sizeof(vip)))
        return -1;
    asker = fl_mac_word(eth->source);
    fl_address_from6(&asker_ip, question->source);
    fl_address_from6(&vip, (const __u8 *)(question + 1) + sizeof(struct fl_icmp));
    if (!asker_ip.halves[0] && !asker_ip.halves[1]) {
        asker_ip.halves[0] = 0x02ffULL; /* ff02::1 */
        asker_ip.halves[1] = 0x01ULL << 56;
        asker = 0x010000003333ULL; /* RFC 2464 section 7 */
        flags = FL_ND_FLAG_OVERRIDE;
    }
    if (fl_resize(e, p, 0, d->l3 + sizeof(*ip) + sizeof(*nd))) return -1;
    if (!fl_write_layer2(p, d, asker, own, FL_ETHERTYPE_IPV6)) return -1;
    ip = (struct fl_ipv6 *)fl_at_offset(p, d->l3);
    nd = (struct fl_nd *)(ip + 1);
    if (!fl_inside(p, nd, sizeof(*nd))) return -1;
    fl_write_ipv6(ip, sizeof(*nd), FL_PROTO_ICMPV6, FL_ND_HOP_LIMIT, &vip, &asker_ip);
    fl_store32(&nd->icmp, FL_ICMPV6_ADVERTISEMENT);
    fl_store32(&nd->icmp.rest, fl_htonl(flags));
    fl_store64(&nd->target[0], vip.halves[0]);
    fl_store64(&nd->target[2], vip.halves[1]);
    nd->option_type = 2;
    nd->option_length = 1;
    fl_mac_store(nd->option_mac, own);
    nd->icmp.checksum = fl_checksum_fold(fl_checksum_pseudo6(ip, sizeof(*nd), FL_PROTO_ICMPV6) +
                                         fl_checksum_words(nd, sizeof(*nd) / 4));
    return 0;
}

/* RFC 792 and RFC 4443 section 4.2: type and addresses change, the data stays, and so do options and extensions. */
FL_INLINE int fl_answer_echo(struct fl_packet *p, const struct fl_decision *d, __u64 own) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    __u8 *at = (__u8 *)fl_at_offset(p, d->l3);
    struct fl_icmp *icmp = (struct fl_icmp *)fl_at_offset(p, d->l4);
    const int v4 = d->family == 4;
    if (!fl_inside(p, eth, sizeof(*eth))) return -1;
    if (!fl_write_layer2(p, d, fl_mac_word(eth->source), own, v4 ? FL_ETHERTYPE_IPV4 : FL_ETHERTYPE_IPV6)) return -1;
    if (!fl_inside(p, icmp, sizeof(*icmp))) return -1;
    if (v4) {
        struct fl_ipv4 *ip = (struct fl_ipv4 *)at;
        __be32 source;
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        source = fl_load32(&ip->source);
        fl_store32(&ip->source, fl_load32(&ip->destination));
        fl_store32(&ip->destination, source);
        ip->checksum = fl_checksum_update(ip->checksum, ip->ttl, FL_ANSWER_TTL);
        ip->ttl = FL_ANSWER_TTL;
    } else {
        struct fl_ipv6 *ip = (struct fl_ipv6 *)at;
        union fl_address source;
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        fl_address_from6(&source, ip->source);
        fl_store64(&ip->source[0], fl_load64(&ip->destination[0]));
        fl_store64(&ip->source[2], fl_load64(&ip->destination[2]));
        fl_store64(&ip->destination[0], source.halves[0]);
        fl_store64(&ip->destination[2], source.halves[1]);
        ip->hop_limit = FL_ANSWER_TTL;
    }
    icmp->checksum = fl_checksum_update(icmp->checksum, icmp->type, v4 ? FL_ICMP_ECHO_REPLY : FL_ICMPV6_ECHO_REPLY);
    icmp->type = v4 ? FL_ICMP_ECHO_REPLY : FL_ICMPV6_ECHO_REPLY;
    return 0;
}

/* RFC 9293 section 3.10.7.1: the reset that a segment with this header and `payload` bytes of data asks for. */
FL_INLINE void fl_make_reset(struct fl_tcp *reset, const struct fl_tcp *segment, __u32 payload, __u64 pseudo) {
    const __u32 length = payload + !!(segment->flags & FL_TCP_SYN) + !!(segment->flags & FL_TCP_FIN);
    reset->source = segment->destination;
    reset->destination = segment->source;
    if (segment->flags & FL_TCP_ACK) {
        fl_store32(&reset->sequence, fl_load32(&segment->acknowledgement));
        fl_store32(&reset->acknowledgement, 0);
        reset->flags = FL_TCP_RST;
    } else {
        fl_store32(&reset->sequence, 0);
        fl_store32(&reset->acknowledgement, fl_htonl(fl_ntohl(fl_load32(&segment->sequence)) + length));
        reset->flags = FL_TCP_RST | FL_TCP_ACK;
    }
    reset->offset = sizeof(*reset) / 4 << 4;
    reset->window = 0;
    reset->urgent = 0;
    reset->checksum = 0;
    reset->checksum = fl_checksum_fold(pseudo + fl_checksum_words(reset, sizeof(*reset) / 4));
}

/* Both addresses of the packet in question, the client's as `source`. */
FL_INLINE int fl_addresses(const struct fl_packet *p, const struct fl_decision *d, union fl_address *source,
                           union fl_address *destination) {
    const __u8 *at = fl_at_offset(p, d->l3);
    if (d->family == 4) {
        const struct fl_ipv4 *ip = (const struct fl_ipv4 *)at;
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        fl_address_from4(source, fl_load32(&ip->source));
        fl_address_from4(destination, fl_load32(&ip->destination));
    } else {
        const struct fl_ipv6 *ip = (const struct fl_ipv6 *)at;
        if (!fl_inside(p, ip, sizeof(*ip))) return -1;
        fl_address_from6(source, ip->source);
        fl_address_from6(destination, ip->destination);
    }
    return 0;
}

/* A reset has no options and no extension headers of its own (RFC 9293 section 3.5.2; RFC 8200 section 4). */
FL_INLINE int fl_answer_reset(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d, __u64 own) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    const struct fl_tcp *at = (const struct fl_tcp *)fl_at_offset(p, d->l4);
    const __u8 family = d->family;
    const __u32 size = fl_header_size(family), rest = d->length - (d->l4 - d->l3);
    union fl_address client, vip;
    struct fl_tcp segment;
    __u32 header;
    __u64 asker;
    void *out;

    if (!fl_inside(p, eth, sizeof(*eth)) || !fl_inside(p, at, sizeof(*at)) || fl_addresses(p, d, &client, &vip))
        return -1;
    asker = fl_mac_word(eth->source);
    segment = *at;
    header = (__u32)(segment.offset >> 4) * 4;
    if (fl_resize(e, p, 0, d->l3 + size + sizeof(segment))) return -1;
    if (!fl_write_layer2(p, d, asker, own, family == 4 ? FL_ETHERTYPE_IPV4 : FL_ETHERTYPE_IPV6)) return -1;
    out = (void *)fl_at_offset(p, d->l3);
    if (!fl_inside(p, out, size + sizeof(segment))) return -1;
    if (family == 4) {
        struct fl_ipv4 *ip = (struct fl_ipv4 *)out;
        fl_write_ipv4(ip, sizeof(*ip) + sizeof(segment), FL_PROTO_TCP, vip.words[3], client.words[3]);
        fl_make_reset((struct fl_tcp *)(ip + 1), &segment, rest > header ? rest - header : 0,
                      (__u64)vip.words[3] + client.words[3] + fl_htonl(FL_PROTO_TCP) + fl_htonl(sizeof(segment)));
    } else {
        struct fl_ipv6 *ip = (struct fl_ipv6 *)out;
        fl_write_ipv6(ip, sizeof(segment), FL_PROTO_TCP, FL_ANSWER_TTL, &vip, &client);
        fl_make_reset((struct fl_tcp *)(ip + 1), &segment, rest > header ? rest - header : 0,
                      fl_checksum_pseudo6(ip, sizeof(segment), FL_PROTO_TCP));
    }
    return 0;
}

/* An ICMP error: type and code in the low bytes of `type_code`, `rest` in network order (RFC 792, RFC 1191 section 4; RFC
 * 4443 sections 3.1 and 3.2). */
FL_INLINE int fl_answer_error(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d, __u64 own,
                              __u32 type_code, __be32 rest) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    const __u8 family = d->family;
    const int v4 = family == 4;
    const __u32 header = fl_header_size(family), grow = header + (__u32)sizeof(struct fl_icmp);
    const __u32 quoted = (__u32)(d->l4 - d->l3) + FL_QUOTED_L4, message = sizeof(struct fl_icmp) + quoted;
    union fl_address client, vip;
    struct fl_icmp *icmp;
    __u64 asker, sum;
    void *out;

    if (!fl_inside(p, eth, sizeof(*eth)) || fl_addresses(p, d, &client, &vip)) return -1;
    asker = fl_mac_word(eth->source);
    if (fl_resize(e, p, (int)grow, d->l3 + grow + quoted)) return -1;
    if (!fl_write_layer2(p, d, asker, own, v4 ? FL_ETHERTYPE_IPV4 : FL_ETHERTYPE_IPV6)) return -1;
    out = (void *)fl_at_offset(p, d->l3);
    if (!fl_inside(p, out, grow + FL_QUOTED_L4)) return -1;
    icmp = (struct fl_icmp *)((__u8 *)out + header);
    fl_store32(icmp, type_code);
    fl_store32(&icmp->rest, rest);
    sum = type_code + (__u64)rest +
          fl_checksum_range(p, d->l3 + grow, quoted, (v4 ? FL_MOST_QUOTED4 : FL_MOST_QUOTED6) / 4);
    if (v4) {
        fl_write_ipv4((struct fl_ipv4 *)out, sizeof(struct fl_ipv4) + message, FL_PROTO_ICMP, vip.words[3],
                      client.words[3]);
    } else {
        fl_write_ipv6((struct fl_ipv6 *)out, message, FL_PROTO_ICMPV6, FL_ANSWER_TTL, &vip, &client);
        sum += fl_checksum_pseudo6((struct fl_ipv6 *)out, (__u16)message, FL_PROTO_ICMPV6);
    }
    icmp->checksum = fl_checksum_fold(sum);
    return 0;
}

/* Makes the answer that d->reason names. */
FL_INLINE int fl_apply_answer(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_port *port = fl_at_ports(e, fl_ingress_port(e));
    const int v4 = d->family == 4;
    __u64 own;
    if (!port) return -1;
    own = fl_read_once(&port->mac);
    switch (d->reason) {
        case FL_REASON_ARP:
            return fl_answer_arp(p, d, own);
        case FL_REASON_ND:
            return fl_answer_nd(e, p, d, own);
        case FL_REASON_ECHO:
            return fl_answer_echo(p, d, own);
        case FL_REASON_RESET:
            return fl_answer_reset(e, p, d, own);
        case FL_REASON_UNREACHABLE:
            return fl_answer_error(e, p, d, own,
                                   v4 ? FL_ICMP_UNREACHABLE | FL_ICMP_PORT_UNREACHABLE << 8
                                      : FL_ICMPV6_UNREACHABLE | FL_ICMPV6_PORT_UNREACHABLE << 8,
                                   0);
        case FL_REASON_FRAG_NEEDED:
            return fl_answer_error(e, p, d, own,
                                   v4 ? FL_ICMP_UNREACHABLE | FL_ICMP_FRAG_NEEDED << 8 : FL_ICMPV6_TOO_BIG,
                                   fl_htonl(d->mtu));
        default:
            return -1;
    }
}

#endif
