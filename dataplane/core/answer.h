/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packets that the program makes itself, each out of the one it answers: ARP and neighbour answers, echo replies,
 * TCP resets and port-unreachables. They leave by the port that the question came in by, to the MAC it came from. */
#ifndef FL_ANSWER_H
#define FL_ANSWER_H

#include "dataplane/core/checksum.h"
#include "dataplane/core/rewrite.h"

#define FL_ANSWER_TTL 64
#define FL_ND_HOP_LIMIT 255 /* RFC 4861 section 7.1 */
/* What an unreachable quotes of the packet in fault: its IP header and the 8 bytes that hold the ports. RFC 792 asks for
 * just that; RFC 4443 would take more, but receivers need no more, and an answer this small amplifies nothing. */
#define FL_QUOTED_L4 8

/* RFC 826 */
FL_INLINE int fl_answer_arp(struct fl_packet *p, __u64 own) {
    struct fl_eth *eth = (struct fl_eth *)p->data;
    struct fl_arp *arp = (struct fl_arp *)(eth + 1);
    __be32 vip;
    __u64 asker;
    if (!fl_inside(p, arp, sizeof(*arp))) return -1;
    vip = fl_load32(&arp->target);
    asker = fl_mac_word(arp->sender_mac);
    fl_write_eth(eth, fl_mac_word(eth->source), own, FL_ETHERTYPE_ARP);
    arp->operation = fl_htons(FL_ARP_REPLY);
    fl_mac_store(arp->target_mac, asker);
    fl_store32(&arp->target, fl_load32(&arp->sender));
    fl_mac_store(arp->sender_mac, own);
    fl_store32(&arp->sender, vip);
    return 0;
}

/* RFC 4861 section 7.2.4. A solicitation from the unspecified address (duplicate address detection) is answered to all
 * nodes, without the Solicited flag. */
FL_INLINE int fl_answer_nd(struct fl_engine *e, struct fl_packet *p, __u64 own) {
    struct fl_eth *eth;
    struct fl_ipv6 *ip;
    struct fl_nd *nd;
    __u64 asker, high, low, vip_high, vip_low;
    __u32 flags = FL_ND_FLAG_SOLICITED | FL_ND_FLAG_OVERRIDE;

    if (fl_resize(e, p, 0, sizeof(*eth) + sizeof(*ip) + sizeof(*nd))) return -1;
    eth = (struct fl_eth *)p->data;
    ip = (struct fl_ipv6 *)(eth + 1);
    nd = (struct fl_nd *)(ip + 1);
    if (!fl_inside(p, nd, sizeof(*nd))) return -1;
    asker = fl_mac_word(eth->source);
    high = fl_load64(&ip->source[0]);
    low = fl_load64(&ip->source[2]);
    if (!high && !low) {
        high = 0x02ffULL; /* ff02::1 */
        low = 0x01ULL << 56;
        asker = 0x010000003333ULL; /* RFC 2464 section 7 */
        flags = FL_ND_FLAG_OVERRIDE;
    }
    vip_high = fl_load64(&nd->target[0]);
    vip_low = fl_load64(&nd->target[2]);
    fl_write_eth(eth, asker, own, FL_ETHERTYPE_IPV6);
    fl_store32(ip, 0x60);
    fl_store32(&ip->length,
               (__u32)fl_htons(sizeof(*nd)) | ((__u32)FL_PROTO_ICMPV6 << 16) | ((__u32)FL_ND_HOP_LIMIT << 24));
    fl_store64(&ip->source[0], vip_high);
    fl_store64(&ip->source[2], vip_low);
    fl_store64(&ip->destination[0], high);
    fl_store64(&ip->destination[2], low);
    fl_store32(&nd->icmp, FL_ICMPV6_ADVERTISEMENT);
    fl_store32(&nd->icmp.rest, fl_htonl(flags));
    nd->option_type = 2;
    nd->option_length = 1;
    fl_mac_store(nd->option_mac, own);
    nd->icmp.checksum = fl_checksum_fold(fl_checksum_pseudo6(ip, sizeof(*nd), FL_PROTO_ICMPV6) +
                                         fl_checksum_words(nd, sizeof(*nd) / 4));
    return 0;
}

/* RFC 792 and RFC 4443 section 4.2: type and addresses change, the data stays. */
FL_INLINE int fl_answer_echo4(struct fl_packet *p, __u64 own) {
    struct fl_eth *eth = (struct fl_eth *)p->data;
    struct fl_ipv4 *ip = (struct fl_ipv4 *)(eth + 1);
    struct fl_icmp *icmp = (struct fl_icmp *)(ip + 1);
    __be32 source;
    if (!fl_inside(p, icmp, sizeof(*icmp))) return -1;
    source = fl_load32(&ip->source);
    fl_write_eth(eth, fl_mac_word(eth->source), own, FL_ETHERTYPE_IPV4);
    fl_store32(&ip->source, fl_load32(&ip->destination));
    fl_store32(&ip->destination, source);
    ip->ttl = FL_ANSWER_TTL;
    fl_ipv4_checksum(ip);
    icmp->checksum = fl_checksum_update(icmp->checksum, FL_ICMP_ECHO, FL_ICMP_ECHO_REPLY);
    icmp->type = FL_ICMP_ECHO_REPLY;
    return 0;
}

FL_INLINE int fl_answer_echo6(struct fl_packet *p, __u64 own) {
    struct fl_eth *eth = (struct fl_eth *)p->data;
    struct fl_ipv6 *ip = (struct fl_ipv6 *)(eth + 1);
    struct fl_icmp *icmp = (struct fl_icmp *)(ip + 1);
    __u64 high, low;
    if (!fl_inside(p, icmp, sizeof(*icmp))) return -1;
    high = fl_load64(&ip->source[0]);
    low = fl_load64(&ip->source[2]);
    fl_write_eth(eth, fl_mac_word(eth->source), own, FL_ETHERTYPE_IPV6);
    fl_store64(&ip->source[0], fl_load64(&ip->destination[0]));
    fl_store64(&ip->source[2], fl_load64(&ip->destination[2]));
    fl_store64(&ip->destination[0], high);
    fl_store64(&ip->destination[2], low);
    ip->hop_limit = FL_ANSWER_TTL;
    icmp->checksum = fl_checksum_update(icmp->checksum, FL_ICMPV6_ECHO, FL_ICMPV6_ECHO_REPLY);
    icmp->type = FL_ICMPV6_ECHO_REPLY;
    return 0;
}

/* RFC 9293 section 3.10.7.1. `tcp` holds the segment in fault and becomes the reset; `payload` is its data's length. */
FL_INLINE void fl_make_reset(struct fl_tcp *tcp, __u32 payload, __u64 pseudo) {
    __be16 port = tcp->source;
    __u32 length = payload + !!(tcp->flags & FL_TCP_SYN) + !!(tcp->flags & FL_TCP_FIN);
    tcp->source = tcp->destination;
    tcp->destination = port;
    if (tcp->flags & FL_TCP_ACK) {
        fl_store32(&tcp->sequence, fl_load32(&tcp->acknowledgement));
        fl_store32(&tcp->acknowledgement, 0);
        tcp->flags = FL_TCP_RST;
    } else {
        fl_store32(&tcp->acknowledgement, fl_htonl(fl_ntohl(fl_load32(&tcp->sequence)) + length));
        fl_store32(&tcp->sequence, 0);
        tcp->flags = FL_TCP_RST | FL_TCP_ACK;
    }
    tcp->offset = sizeof(*tcp) / 4 << 4;
    tcp->window = 0;
    tcp->urgent = 0;
    tcp->checksum = 0;
    tcp->checksum = fl_checksum_fold(pseudo + fl_checksum_words(tcp, sizeof(*tcp) / 4));
}

/* Bytes of TCP data in an IP packet of which `rest` bytes follow the IP header. */
FL_INLINE __u32 fl_tcp_payload(const struct fl_tcp *tcp, __u32 rest) {
    __u32 header = (__u32)(tcp->offset >> 4) * 4;
    return rest > header ? rest - header : 0;
}

FL_INLINE void fl_write_ipv4(struct fl_ipv4 *ip, __u16 length, __u8 protocol, __be32 source, __be32 destination) {
    fl_store32(ip, 0x45u | ((__u32)fl_htons(length) << 16));
    fl_store32(&ip->id, (__u32)fl_htons(FL_IPV4_DF) << 16);
    fl_store32(&ip->ttl, FL_ANSWER_TTL | ((__u32)protocol << 8));
    fl_store32(&ip->source, source);
    fl_store32(&ip->destination, destination);
    ip->checksum = fl_checksum_fold(fl_checksum_words(ip, 5));
}

FL_INLINE int fl_answer_reset4(struct fl_engine *e, struct fl_packet *p, __u64 own, __u32 length) {
    struct fl_eth *eth;
    struct fl_ipv4 *ip;
    struct fl_tcp *tcp;
    __be32 source, destination;
    if (fl_resize(e, p, 0, sizeof(*eth) + sizeof(*ip) + sizeof(*tcp))) return -1;
    eth = (struct fl_eth *)p->data;
    ip = (struct fl_ipv4 *)(eth + 1);
    tcp = (struct fl_tcp *)(ip + 1);
    if (!fl_inside(p, tcp, sizeof(*tcp))) return -1;
    source = fl_load32(&ip->source);
    destination = fl_load32(&ip->destination);
    fl_write_eth(eth, fl_mac_word(eth->source), own, FL_ETHERTYPE_IPV4);
    fl_write_ipv4(ip, sizeof(*ip) + sizeof(*tcp), FL_PROTO_TCP, destination, source);
    /* RFC 9293 section 3.1: addresses, protocol, length */
    fl_make_reset(tcp, fl_tcp_payload(tcp, length - sizeof(*ip)),
                  (__u64)source + destination + fl_htonl(FL_PROTO_TCP) + fl_htonl(sizeof(*tcp)));
    return 0;
}

FL_INLINE void fl_write_ipv6_back(struct fl_ipv6 *to, const struct fl_ipv6 *from, __u16 length, __u8 next) {
    __u64 high = fl_load64(&from->source[0]), low = fl_load64(&from->source[2]);
    __u64 vip_high = fl_load64(&from->destination[0]), vip_low = fl_load64(&from->destination[2]);
    fl_store32(to, 0x60);
    fl_store32(&to->length, (__u32)fl_htons(length) | ((__u32)next << 16) | ((__u32)FL_ANSWER_TTL << 24));
    fl_store64(&to->source[0], vip_high);
    fl_store64(&to->source[2], vip_low);
    fl_store64(&to->destination[0], high);
    fl_store64(&to->destination[2], low);
}

FL_INLINE int fl_answer_reset6(struct fl_engine *e, struct fl_packet *p, __u64 own, __u32 length) {
    struct fl_eth *eth;
    struct fl_ipv6 *ip;
    struct fl_tcp *tcp;
    if (fl_resize(e, p, 0, sizeof(*eth) + sizeof(*ip) + sizeof(*tcp))) return -1;
    eth = (struct fl_eth *)p->data;
    ip = (struct fl_ipv6 *)(eth + 1);
    tcp = (struct fl_tcp *)(ip + 1);
    if (!fl_inside(p, tcp, sizeof(*tcp))) return -1;
    fl_write_eth(eth, fl_mac_word(eth->source), own, FL_ETHERTYPE_IPV6);
    fl_write_ipv6_back(ip, ip, sizeof(*tcp), FL_PROTO_TCP);
    fl_make_reset(tcp, fl_tcp_payload(tcp, length - sizeof(*ip)), fl_checksum_pseudo6(ip, sizeof(*tcp), FL_PROTO_TCP));
    return 0;
}

/* RFC 792: destination unreachable with this code; `rest` in network order. */
FL_INLINE int fl_answer_unreachable4(struct fl_engine *e, struct fl_packet *p, __u64 own, __u8 code, __be32 rest) {
    enum { kQuoted = sizeof(struct fl_ipv4) + FL_QUOTED_L4, kGrow = sizeof(struct fl_ipv4) + sizeof(struct fl_icmp) };
    struct fl_eth *eth = (struct fl_eth *)p->data;
    struct fl_ipv4 *ip, *quoted;
    struct fl_icmp *icmp;
    __u64 asker;
    if (!fl_inside(p, eth, sizeof(*eth))) return -1;
    asker = fl_mac_word(eth->source);
    if (fl_resize(e, p, kGrow, sizeof(*eth) + kGrow + kQuoted)) return -1;
    eth = (struct fl_eth *)p->data;
    ip = (struct fl_ipv4 *)(eth + 1);
    icmp = (struct fl_icmp *)(ip + 1);
    quoted = (struct fl_ipv4 *)(icmp + 1);
    if (!fl_inside(p, quoted, kQuoted)) return -1;
    fl_write_eth(eth, asker, own, FL_ETHERTYPE_IPV4);
    fl_write_ipv4(ip, kGrow + kQuoted, FL_PROTO_ICMP, fl_load32(&quoted->destination), fl_load32(&quoted->source));
    fl_store32(icmp, FL_ICMP_UNREACHABLE | ((__u32)code << 8));
    fl_store32(&icmp->rest, rest);
    icmp->checksum = fl_checksum_fold(fl_checksum_words(icmp, (sizeof(*icmp) + kQuoted) / 4));
    return 0;
}

/* RFC 4443 sections 3.1 and 3.2: an error of this type and code; `rest` in network order. */
FL_INLINE int fl_answer_error6(struct fl_engine *e, struct fl_packet *p, __u64 own, __u8 type, __u8 code, __be32 rest) {
    enum { kQuoted = sizeof(struct fl_ipv6) + FL_QUOTED_L4, kGrow = sizeof(struct fl_ipv6) + sizeof(struct fl_icmp) };
    struct fl_eth *eth = (struct fl_eth *)p->data;
    struct fl_ipv6 *ip, *quoted;
    struct fl_icmp *icmp;
    __u64 asker;
    if (!fl_inside(p, eth, sizeof(*eth))) return -1;
    asker = fl_mac_word(eth->source);
    if (fl_resize(e, p, kGrow, sizeof(*eth) + kGrow + kQuoted)) return -1;
    eth = (struct fl_eth *)p->data;
    ip = (struct fl_ipv6 *)(eth + 1);
    icmp = (struct fl_icmp *)(ip + 1);
    quoted = (struct fl_ipv6 *)(icmp + 1);
    if (!fl_inside(p, quoted, kQuoted)) return -1;
    fl_write_eth(eth, asker, own, FL_ETHERTYPE_IPV6);
    fl_write_ipv6_back(ip, quoted, sizeof(*icmp) + kQuoted, FL_PROTO_ICMPV6);
    fl_store32(icmp, type | ((__u32)code << 8));
    fl_store32(&icmp->rest, rest);
    icmp->checksum = fl_checksum_fold(fl_checksum_pseudo6(ip, sizeof(*icmp) + kQuoted, FL_PROTO_ICMPV6) +
                                      fl_checksum_words(icmp, (sizeof(*icmp) + kQuoted) / 4));
    return 0;
}

/* Makes the answer that d->reason names. */
FL_INLINE int fl_apply_answer(struct fl_engine *e, struct fl_packet *p, const struct fl_decision *d) {
    const struct fl_port *port = fl_at_ports(e, fl_ingress_port(e));
    int v4 = d->family == 4;
    __u64 own;
    if (!port) return -1;
    own = port->mac;
    switch (d->reason) {
        case FL_REASON_ARP:
            return fl_answer_arp(p, own);
        case FL_REASON_ND:
            return fl_answer_nd(e, p, own);
        case FL_REASON_ECHO:
            return v4 ? fl_answer_echo4(p, own) : fl_answer_echo6(p, own);
        case FL_REASON_RESET:
            return v4 ? fl_answer_reset4(e, p, own, d->length) : fl_answer_reset6(e, p, own, d->length);
        case FL_REASON_UNREACHABLE:
        case FL_REASON_FRAG_NEEDED: {
            const int fits = d->reason == FL_REASON_FRAG_NEEDED;
            const __be32 rest = fits ? fl_htonl(d->mtu) : 0;
            if (v4)
                return fl_answer_unreachable4(e, p, own, fits ? FL_ICMP_FRAG_NEEDED : FL_ICMP_PORT_UNREACHABLE, rest);
            return fl_answer_error6(e, p, own, fits ? FL_ICMPV6_TOO_BIG : FL_ICMPV6_UNREACHABLE,
                                    fits ? 0 : FL_ICMPV6_PORT_UNREACHABLE, rest);
        }
        default:
            return -1;
    }
}

#endif
