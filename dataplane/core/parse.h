/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Headers at whatever offset, with whatever stands between them (DESIGN section 5 step 1): VLAN tags, IPv4 options, IPv6
 * extension headers. One parser for the packet itself, for what a tunnel carries and for what an ICMP error quotes.
 * Reads, and judges nothing: a fault is noted, and matters only where the packet is for a VIP. */
#ifndef FL_PARSE_H
#define FL_PARSE_H

#include "dataplane/core/access.h"
#include "dataplane/core/checksum.h"
#include "dataplane/core/decision.h"

/* How far an IPv6 chain is followed. RFC 8200 section 4.1 names seven headers in order, of which a packet rarely has two;
 * RFC 9098 reports that middleboxes commonly look no further than 128 to 256 bytes. */
#ifndef FL_MAX_EXTENSIONS /* an engine that no verifier limits may look further */
#define FL_MAX_EXTENSIONS 6
#define FL_MAX_EXTENSION_BYTES 256
#endif
#define FL_MAX_IPV4_OPTIONS 40 /* bytes: the length field's limit */

/* The deepest place that anything is read at: a tunnel's outer headers, then an ICMP error, then what it quotes. Every
 * offset is masked to this, so that the verifier sees its bound. */
#define FL_OFFSET_MASK 0x7ffu
/* Ethernet with two tags, then twice IPv6 with its extensions, UDP or ICMP between, and TCP with its options. */
FL_ASSERT(sizeof(struct fl_eth) + FL_VLAN_TAGS * sizeof(struct fl_vlan) +
                  2 * (sizeof(struct fl_ipv6) + FL_MAX_EXTENSION_BYTES) + 8 + 60 <=
              FL_OFFSET_MASK,
          "an offset would wrap");

FL_INLINE const __u8 *fl_at_offset(const struct fl_packet *p, __u32 offset) {
    return (const __u8 *)p->data + (offset & FL_OFFSET_MASK);
}

struct fl_frame {
    __u32 length; /* of the whole frame */
    __be16 type;  /* EtherType of what the tags, if any, stand before; 0 = no Ethernet frame */
    __u16 l3;     /* offset of it */
    __u16 vlan;   /* id of the outermost tag; 0 = none */
    __u8 tags;
    __u8 group;              /* sent to a group address or to all */
    __u32 tag[FL_VLAN_TAGS]; /* as on the wire, outermost first */
};

enum fl_fault {
    FL_FAULT_NONE,
    FL_FAULT_NOT_IP,    /* not even addresses are there */
    FL_FAULT_MALFORMED, /* shorter than its headers say, or another version */
    FL_FAULT_CHAIN,     /* the extension chain goes on past the bound */
    FL_FAULT_ROUTE      /* has a route of its own to follow */
};

enum fl_fragment_kind { FL_FRAGMENT_NOT, FL_FRAGMENT_FIRST, FL_FRAGMENT_LATER };

struct fl_ip {
    union fl_address source, destination;
    __u32 ports;  /* source low, destination high, as in the packet; 0 where there are none */
    __u32 length; /* of the IP packet */
    __be32 id;    /* of a fragment */
    __u16 at;     /* offset of the header */
    __u16 l4;     /* offset of what follows it and its extensions */
    __u8 family;  /* 4 or 6 */
    __u8 protocol;
    __u8 ttl;
    __u8 ecn;
    __u8 fault;         /* enum fl_fault */
    __u8 fragment;      /* enum fl_fragment_kind */
    __u8 dont_fragment; /* always set in IPv6 */
    __u8 tcp_flags;
    __u8 icmp_type, icmp_code;
    __u8 checksum_left; /* a TCP SYN whose sender left the checksum to an offload */
    __u8 silent;        /* no answer may be made to this one: an ICMP error */
};
FL_ASSERT(sizeof(struct fl_ip) == 64, "ip");

#define FL_NO_INDEX 0xffffffffu

/* What is known of one packet in a slot with its lookup bit set. */
struct fl_move {
    __u64 hash; /* fl_pin_hash */
    __u64 pin;  /* word; 0 = none */
    __u32 place;
    __u32 owner, previous; /* global indexes; FL_NO_INDEX = none, or not to be used */
    __u32 slot;            /* in the table of stamps */
    __u32 pool;
    __u32 index;   /* what came of it: a backend, or FL_NO_INDEX */
    __u8 settling; /* owner = previous: clean-up */
    __u8 learning;
    __u8 syn;
    __u8 udp;
    __u8 leaves; /* FIN or RST */
    __u8 pinned; /* enum fl_pinned */
    __u8 made;   /* by the steady path, for the packet that is decided: `index` and `pinned` hold. 0 between packets */
    __u8 looks;  /* an ICMP error, or nobody's packet at all (`lbctl explain`): looks up, and never writes */
};

/* What is worked out about one packet on its way through the rare steps. */
struct fl_scratch {
    struct fl_frame frame;
    struct fl_ip ip;    /* of the packet itself */
    struct fl_ip inner; /* of what it carries or quotes */
    struct fl_move move;
    struct fl_decision decision;
    __u8 captured; /* the packet at hand is, and is to be once more when it is done with. 0 between packets */
};

/* Which of a scratch's headers, how they are read. */
enum fl_place {
    FL_PLACE_IP,
    FL_PLACE_INNER, /* carried in a tunnel */
    FL_PLACE_QUOTED /* in an ICMP error: may end right behind the ports, and its length is not to be believed */
};

FL_INLINE void fl_address_from4(union fl_address *a, __be32 v4) {
    a->words[0] = a->words[1] = 0;
    a->words[2] = fl_htonl(0xffff);
    a->words[3] = v4;
}

FL_INLINE void fl_address_from6(union fl_address *a, const void *v6) {
    a->halves[0] = fl_load64(v6);
    a->halves[1] = fl_load64((const __u8 *)v6 + 8);
}

FL_INLINE int fl_same_address(const union fl_address *a, const union fl_address *b) {
    return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

/* An address of the IP header at `offset`, by the header's own version; to: its destination, else its source. False: there
 * is no such header. */
FL_INLINE int fl_read_address(const struct fl_packet *p, __u32 offset, int to, union fl_address *address) {
    const struct fl_ipv4 *ip4 = (const struct fl_ipv4 *)fl_at_offset(p, offset);
    const struct fl_ipv6 *ip6 = (const struct fl_ipv6 *)ip4;
    if (!fl_inside(p, ip4, sizeof(*ip4))) return 0;
    if (ip4->version_ihl >> 4 == 4) {
        fl_address_from4(address, fl_load32(to ? &ip4->destination : &ip4->source));
        return 1;
    }
    if (ip4->version_ihl >> 4 != 6 || !fl_inside(p, ip6, sizeof(*ip6))) return 0;
    fl_address_from6(address, to ? ip6->destination : ip6->source);
    return 1;
}

FL_INLINE int fl_is_tag(__be16 type) {
    return type == fl_htons(FL_ETHERTYPE_VLAN) || type == fl_htons(FL_ETHERTYPE_QINQ);
}

/* Ethernet and its tags, of a frame of `length` bytes. A third tag is no business of ours: the type stays that of a tag. */
FL_INLINE void fl_parse_frame_step(const struct fl_packet *p, __u32 length, struct fl_frame *frame) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    const struct fl_vlan *tag = (const struct fl_vlan *)(eth + 1);
    __builtin_memset(frame, 0, sizeof(*frame));
    frame->length = length;
    if (!fl_inside(p, eth, sizeof(*eth))) return;
    frame->type = eth->type;
    frame->group = eth->destination[0] & 1;
    for (__u32 i = 0; i < FL_VLAN_TAGS; i++, tag++) {
        if (!fl_is_tag(frame->type) || !fl_inside(p, tag, sizeof(*tag))) break;
        if (i == 0) frame->vlan = fl_ntohs(tag->tci) & FL_VLAN_ID;
        frame->tag[i] = (__u32)frame->type | ((__u32)tag->tci << 16);
        frame->type = tag->type;
        frame->tags = (__u8)(i + 1);
    }
    frame->l3 = (__u16)(sizeof(*eth) + frame->tags * sizeof(*tag));
}

/* True when the options of an IPv4 header hold a route to follow (RFC 791 section 3.1; RFC 7126 sections 4.3 and 4.4). A
 * length that leads nowhere ends the look, as it does in every host. */
FL_INLINE int fl_has_source_route(const struct fl_packet *p, __u32 from, __u32 to) {
    __u32 at = from;
    for (__u32 i = 0; i < FL_MAX_IPV4_OPTIONS; i++) {
        const __u8 *option = fl_at_offset(p, at);
        __u32 size = 1;
        if (at >= to || !fl_inside(p, option, 1) || option[0] == FL_IPV4_OPTION_END) return 0;
        if (option[0] == FL_IPV4_OPTION_LSRR || option[0] == FL_IPV4_OPTION_SSRR) return 1;
        if (option[0] != FL_IPV4_OPTION_NOP) {
            if (!fl_inside(p, option, 2) || option[1] < 2) return 0;
            size = option[1];
        }
        at += size;
        fl_opaque(at); /* the verifier is to take all ways here for the same */
        at &= FL_OFFSET_MASK;
    }
    return 0;
}

/* Sum of `bytes` (a multiple of 4) from an offset, as far as they lie in the packet; at most `most` words. */
FL_INLINE __u64 fl_checksum_range(const struct fl_packet *p, __u32 from, __u32 bytes, __u32 most) {
    __u64 sum = 0;
    for (__u32 i = 0; i < most; i++) {
        const __u8 *word = fl_at_offset(p, from + 4 * i);
        if (4 * i >= bytes || !fl_inside(p, word, 4)) break;
        sum += fl_load32(word);
    }
    return sum;
}

/* The pseudo-header of a TCP segment or UDP datagram of `length` bytes (RFC 9293 section 3.1, RFC 8200 section 8.1). In
 * IPv4-mapped addresses the twelve bytes in front add up to the same in both, and are left out. */
FL_INLINE __u64 fl_checksum_pseudo(const struct fl_ip *ip, __u32 length) {
    const __u64 rest = (__u64)fl_htonl(length) + fl_htonl(ip->protocol);
    if (ip->family == 4) return rest + ip->source.words[3] + ip->destination.words[3];
    return rest + fl_checksum_words(ip->source.bytes, 4) + fl_checksum_words(ip->destination.bytes, 4);
}

/* True when a checksum is what is put there by who leaves it to an offload: the pseudo-header's sum, not complemented. One
 * right checksum in 65,536 looks so too. */
FL_INLINE int fl_checksum_maybe_left(const struct fl_ip *ip, const struct fl_tcp *tcp) {
    const __u32 length = ip->length - (ip->l4 - ip->at);
    return tcp->checksum == (__be16)~fl_checksum_fold(fl_checksum_pseudo(ip, length));
}

/* A local sender leaves the checksum to the card, and a veth or tap pair to its other end: transmitted again by a driver,
 * nobody completes it, and the connection never comes about (LAB: "Checksums"). Known by a SYN without data, whose
 * checksum is not right and is what such a sender puts there. */
FL_INLINE int fl_checksum_left(const struct fl_packet *p, const struct fl_ip *ip, const struct fl_tcp *tcp) {
    const __u32 length = ip->length - (ip->l4 - ip->at);
    if (!fl_checksum_maybe_left(ip, tcp) || length != (__u32)(tcp->offset >> 4) * 4) return 0;
    return fl_checksum_fold(fl_checksum_pseudo(ip, length) + fl_checksum_range(p, ip->l4, length, 15)) != 0;
}

FL_INLINE int fl_is_syn(__u8 flags) {
    return (flags & (FL_TCP_SYN | FL_TCP_ACK | FL_TCP_RST | FL_TCP_FIN)) == FL_TCP_SYN;
}

/* Ports, TCP flags or ICMP type behind the headers of IP, within the packet's own length: what pads the frame behind it
 * is not part of it. `end` is the offset where it ends. */
FL_INLINE void fl_parse_l4(const struct fl_packet *p, enum fl_place place, __u32 end, struct fl_ip *ip) {
    const __u8 *l4 = fl_at_offset(p, ip->l4);
    ip->fault = FL_FAULT_NONE;
    if (ip->fragment == FL_FRAGMENT_LATER) return;
    ip->fault = FL_FAULT_MALFORMED;
    if (place == FL_PLACE_QUOTED) {
        if (ip->l4 + 4u > end || !fl_inside(p, l4, 4)) return;
        ip->ports = fl_load32(l4);
    } else if (ip->protocol == FL_PROTO_TCP) {
        const struct fl_tcp *tcp = (const struct fl_tcp *)l4;
        if (ip->l4 + sizeof(*tcp) > end || !fl_inside(p, tcp, sizeof(*tcp))) return;
        ip->ports = fl_load32(tcp);
        ip->tcp_flags = tcp->flags;
        if (place == FL_PLACE_IP && fl_is_syn(tcp->flags)) ip->checksum_left = (__u8)fl_checksum_left(p, ip, tcp);
    } else if (ip->protocol == FL_PROTO_UDP) {
        if (ip->l4 + sizeof(struct fl_udp) > end || !fl_inside(p, l4, sizeof(struct fl_udp))) return;
        ip->ports = fl_load32(l4);
    } else if (ip->protocol == (ip->family == 4 ? FL_PROTO_ICMP : FL_PROTO_ICMPV6)) {
        const struct fl_icmp *icmp = (const struct fl_icmp *)l4;
        if (ip->l4 + sizeof(*icmp) > end || !fl_inside(p, icmp, sizeof(*icmp))) return;
        ip->icmp_type = icmp->type;
        ip->icmp_code = icmp->code;
    }
    ip->fault = FL_FAULT_NONE;
}

/* RFC 791. `limit` is the offset where whatever holds the packet ends. */
FL_INLINE void fl_parse_ipv4(const struct fl_packet *p, enum fl_place place, __u32 limit, struct fl_ip *ip) {
    const struct fl_ipv4 *header = (const struct fl_ipv4 *)fl_at_offset(p, ip->at);
    __u32 size, end, bits;
    if (!fl_inside(p, header, sizeof(*header)) || ip->at + sizeof(*header) > limit) return;
    fl_address_from4(&ip->source, fl_load32(&header->source));
    fl_address_from4(&ip->destination, fl_load32(&header->destination));
    ip->protocol = header->protocol;
    ip->ttl = header->ttl;
    ip->ecn = header->tos & 3;
    ip->length = fl_ntohs(header->length);
    ip->fault = FL_FAULT_MALFORMED;
    size = (__u32)(header->version_ihl & 15) * 4;
    end = place == FL_PLACE_QUOTED ? limit : ip->at + ip->length;
    if (header->version_ihl >> 4 != 4 || size < sizeof(*header) || ip->at + size > end || end > limit) return;
    bits = fl_ntohs(header->fragment);
    ip->id = header->id;
    ip->dont_fragment = !!(bits & FL_IPV4_DF);
    ip->fragment = bits & FL_IPV4_OFFSET ? FL_FRAGMENT_LATER : bits & FL_IPV4_MF ? FL_FRAGMENT_FIRST : FL_FRAGMENT_NOT;
    ip->l4 = (__u16)(ip->at + size);
    if (place == FL_PLACE_IP && size > sizeof(*header) && fl_has_source_route(p, ip->at + sizeof(*header), ip->l4))
        ip->fault = FL_FAULT_ROUTE;
    else
        fl_parse_l4(p, place, end, ip);
}

FL_INLINE int fl_is_extension(__u8 next) {
    return next == FL_PROTO_HOPOPTS || next == FL_PROTO_ROUTING || next == FL_PROTO_FRAGMENT || next == FL_PROTO_AUTH ||
           next == FL_PROTO_DSTOPTS;
}

/* One extension header at ip->l4: moves on behind it. False when the chain ends here for us, ip->fault says how. */
FL_INLINE int fl_parse_extension(const struct fl_packet *p, enum fl_place place, __u32 end, struct fl_ip *ip) {
    const __u8 *at = fl_at_offset(p, ip->l4);
    const struct fl_extension *header = (const struct fl_extension *)at;
    __u32 size;
    if (ip->l4 + 8u > end || !fl_inside(p, at, 8)) {
        ip->fault = FL_FAULT_MALFORMED;
        return 0;
    }
    if (ip->protocol == FL_PROTO_FRAGMENT) {
        const struct fl_fragment6 *fragment = (const struct fl_fragment6 *)at;
        const __u32 bits = fl_ntohs(fragment->offset);
        /* One that is neither first nor later is whole (RFC 6946). */
        ip->fragment = bits & FL_IPV6_OFFSET ? FL_FRAGMENT_LATER
                       : bits & FL_IPV6_MF   ? FL_FRAGMENT_FIRST
                                             : FL_FRAGMENT_NOT;
        ip->id = fl_load32(&fragment->id);
        size = sizeof(*fragment);
    } else if (ip->protocol == FL_PROTO_AUTH) {
        size = ((__u32)header->length + 2) * 4;
    } else {
        if (place == FL_PLACE_IP && ip->protocol == FL_PROTO_ROUTING && header->segments_left) {
            ip->fault = FL_FAULT_ROUTE;
            return 0;
        }
        size = ((__u32)header->length + 1) * 8;
    }
    ip->protocol = header->next;
    ip->l4 = (__u16)(ip->l4 + size);
    if (ip->l4 - ip->at - sizeof(struct fl_ipv6) > FL_MAX_EXTENSION_BYTES) {
        ip->fault = FL_FAULT_CHAIN;
        return 0;
    }
    return ip->fragment != FL_FRAGMENT_LATER;
}

/* RFC 8200. */
FL_INLINE void fl_parse_ipv6(const struct fl_packet *p, enum fl_place place, __u32 limit, struct fl_ip *ip) {
    const struct fl_ipv6 *header = (const struct fl_ipv6 *)fl_at_offset(p, ip->at);
    __u32 end;
    if (!fl_inside(p, header, sizeof(*header)) || ip->at + sizeof(*header) > limit) return;
    fl_address_from6(&ip->source, header->source);
    fl_address_from6(&ip->destination, header->destination);
    ip->protocol = header->next;
    ip->ttl = header->hop_limit;
    ip->ecn = (header->class_flow >> 4) & 3;
    ip->dont_fragment = 1;
    ip->length = fl_ntohs(header->length) + (__u32)sizeof(*header);
    ip->l4 = (__u16)(ip->at + sizeof(*header));
    ip->fault = FL_FAULT_MALFORMED;
    end = place == FL_PLACE_QUOTED ? limit : ip->at + ip->length;
    if (header->version_class >> 4 != 6 || end > limit) return;
    ip->fault = FL_FAULT_NONE;
    for (__u32 i = 0; i < FL_MAX_EXTENSIONS; i++) {
        if (!fl_is_extension(ip->protocol)) break;
        if (!fl_parse_extension(p, place, end, ip)) break;
    }
    if (ip->fault != FL_FAULT_NONE) return;
    if (ip->fragment != FL_FRAGMENT_LATER && fl_is_extension(ip->protocol))
        ip->fault = FL_FAULT_CHAIN;
    else
        fl_parse_l4(p, place, end, ip);
}

/* The IP packet of `family` at offset `at`, of which `limit` is the end at most. */
FL_INLINE void fl_parse_ip_step(const struct fl_packet *p, enum fl_place place, __u8 family, __u32 at, __u32 limit,
                                struct fl_ip *ip) {
    __builtin_memset(ip, 0, sizeof(*ip));
    ip->family = family;
    ip->at = (__u16)(at & FL_OFFSET_MASK);
    ip->fault = FL_FAULT_NOT_IP;
    if (family == 4)
        fl_parse_ipv4(p, place, limit, ip);
    else
        fl_parse_ipv6(p, place, limit, ip);
}

#endif
