/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Headers as they lie on the wire, all fields in network order. Our own, because <linux/ip.h> and the headers that DPDK
 * brings clash; aligned(2), because behind a 14-byte Ethernet header nothing better holds. */
#ifndef FL_WIRE_H
#define FL_WIRE_H

#include "dataplane/core/base.h"

#define FL_WIRE __attribute__((packed, aligned(2)))

#define FL_ETHERTYPE_IPV4 0x0800
#define FL_ETHERTYPE_ARP 0x0806
#define FL_ETHERTYPE_VLAN 0x8100 /* IEEE 802.1Q */
#define FL_ETHERTYPE_QINQ 0x88a8 /* IEEE 802.1ad */
#define FL_ETHERTYPE_IPV6 0x86dd

#define FL_PROTO_HOPOPTS 0
#define FL_PROTO_ICMP 1
#define FL_PROTO_IPIP 4
#define FL_PROTO_TCP 6
#define FL_PROTO_UDP 17
#define FL_PROTO_IPV6 41
#define FL_PROTO_ROUTING 43
#define FL_PROTO_FRAGMENT 44
#define FL_PROTO_AUTH 51
#define FL_PROTO_ICMPV6 58
#define FL_PROTO_DSTOPTS 60

#define FL_VLAN_ID 0x0fff /* of a tag's control information, host order */

struct fl_eth { /* IEEE 802.3 */
    __u8 destination[6];
    __u8 source[6];
    __be16 type;
} FL_WIRE;

struct fl_vlan { /* what follows an Ethernet header whose type is VLAN or QINQ */
    __be16 tci;
    __be16 type;
} FL_WIRE;

/* RFC 3168 section 5 */
#define FL_ECN_NOT 0u
#define FL_ECN_ECT1 1u
#define FL_ECN_ECT0 2u
#define FL_ECN_CE 3u

struct fl_ipv4 { /* RFC 791 section 3.1 */
    __u8 version_ihl;
    __u8 tos;
    __be16 length;
    __be16 id;
    __be16 fragment;
    __u8 ttl;
    __u8 protocol;
    __be16 checksum;
    __be32 source;
    __be32 destination;
} FL_WIRE;
#define FL_IPV4_DF 0x4000
#define FL_IPV4_MF 0x2000
#define FL_IPV4_OFFSET 0x1fff
#define FL_IPV4_OPTION_END 0
#define FL_IPV4_OPTION_NOP 1
#define FL_IPV4_OPTION_LSRR 131 /* loose source route */
#define FL_IPV4_OPTION_SSRR 137 /* strict */

#define FL_IPV6_MTU 1280 /* what every link carries: RFC 8200 section 5 */
struct fl_ipv6 {         /* RFC 8200 section 3 */
    __u8 version_class;
    __u8 class_flow;
    __be16 flow;
    __be16 length; /* of what follows this header */
    __u8 next;
    __u8 hop_limit;
    __be32 source[4];
    __be32 destination[4];
} FL_WIRE;

struct fl_extension { /* RFC 8200 section 4: what hop-by-hop, routing and destination headers begin with */
    __u8 next;
    __u8 length; /* in units of 8 bytes, without the first; of an authentication header in 4, without the first 2 */
    __u8 routing_type;
    __u8 segments_left; /* of a routing header */
} FL_WIRE;

struct fl_fragment6 { /* RFC 8200 section 4.5 */
    __u8 next;
    __u8 reserved;
    __be16 offset; /* in units of 8 bytes in the high 13 bits; the lowest bit: more follow */
    __be32 id;
} FL_WIRE;
#define FL_IPV6_MF 0x0001
#define FL_IPV6_OFFSET 0xfff8

struct fl_tcp { /* RFC 9293 section 3.1 */
    __be16 source;
    __be16 destination;
    __be32 sequence;
    __be32 acknowledgement;
    __u8 offset; /* high nibble, in 32-bit words */
    __u8 flags;
    __be16 window;
    __be16 checksum;
    __be16 urgent;
} FL_WIRE;
#define FL_TCP_FIN 0x01
#define FL_TCP_SYN 0x02
#define FL_TCP_RST 0x04
#define FL_TCP_ACK 0x10

struct fl_udp { /* RFC 768 */
    __be16 source;
    __be16 destination;
    __be16 length;
    __be16 checksum;
} FL_WIRE;

/* Generic UDP encapsulation (draft-ietf-intarea-gue section 3.1). The first two bits of what follows the UDP header are the
 * variant: 0 has this header and 4 * (first & 31) bytes of options; 1 is an IP packet itself, known by its version. */
struct fl_gue {
    __u8 first;
    __u8 protocol;
    __be16 flags;
} FL_WIRE;
#define FL_GUE_CONTROL 0x20
#define FL_GUE_LENGTH 0x1f

struct fl_icmp { /* RFC 792, RFC 4443: both families */
    __u8 type;
    __u8 code;
    __be16 checksum;
    __be32 rest;
} FL_WIRE;
#define FL_ICMP_ECHO_REPLY 0
#define FL_ICMP_UNREACHABLE 3
#define FL_ICMP_PORT_UNREACHABLE 3 /* code */
#define FL_ICMP_FRAG_NEEDED 4      /* code; RFC 1191 section 4 puts the MTU into the low half of `rest` */
#define FL_ICMP_ECHO 8
#define FL_ICMP_TIME_EXCEEDED 11
#define FL_ICMP_PARAMETER 12
#define FL_ICMPV6_UNREACHABLE 1
#define FL_ICMPV6_PORT_UNREACHABLE 4 /* code */
#define FL_ICMPV6_TOO_BIG 2
#define FL_ICMPV6_PARAMETER 4
#define FL_ICMPV6_ECHO 128
#define FL_ICMPV6_ECHO_REPLY 129
#define FL_ICMPV6_SOLICITATION 135
#define FL_ICMPV6_ADVERTISEMENT 136

struct fl_arp { /* RFC 826, Ethernet and IPv4 */
    __be16 hardware;
    __be16 protocol;
    __u8 hardware_length;
    __u8 protocol_length;
    __be16 operation;
    __u8 sender_mac[6];
    __be32 sender;
    __u8 target_mac[6];
    __be32 target;
} FL_WIRE;
#define FL_ARP_REQUEST 1
#define FL_ARP_REPLY 2

struct fl_nd { /* RFC 4861 sections 4.3 and 4.4, with one link-layer address option */
    struct fl_icmp icmp;
    __be32 target[4];
    __u8 option_type;   /* 1 source, 2 target link-layer address */
    __u8 option_length; /* in units of 8 bytes */
    __u8 option_mac[6];
} FL_WIRE;
#define FL_ND_FLAG_SOLICITED 0x40000000u
#define FL_ND_FLAG_OVERRIDE 0x20000000u

FL_ASSERT(sizeof(struct fl_eth) == 14 && sizeof(struct fl_ipv4) == 20 && sizeof(struct fl_ipv6) == 40, "wire");
FL_ASSERT(sizeof(struct fl_extension) == 4 && sizeof(struct fl_fragment6) == 8 && sizeof(struct fl_gue) == 4, "wire");
FL_ASSERT(sizeof(struct fl_tcp) == 20 && sizeof(struct fl_udp) == 8 && sizeof(struct fl_icmp) == 8, "wire");
FL_ASSERT(sizeof(struct fl_arp) == 28 && sizeof(struct fl_nd) == 32 && sizeof(struct fl_vlan) == 4, "wire");

/* Loads and stores at any alignment. Behind aligned(2) clang would split each into halves; every machine whose BPF JIT
 * we support loads unaligned words at full speed, and says so to the verifier. */
#ifdef __bpf__
FL_INLINE __u32 fl_load32(const void *p) { return *(const __u32 *)p; }
FL_INLINE __u64 fl_load64(const void *p) { return *(const __u64 *)p; }
FL_INLINE void fl_store32(void *p, __u32 v) { *(__u32 *)p = v; }
FL_INLINE void fl_store64(void *p, __u64 v) { *(__u64 *)p = v; }
#else
FL_INLINE __u32 fl_load32(const void *p) {
    __u32 v;
    __builtin_memcpy(&v, p, 4);
    return v;
}
FL_INLINE __u64 fl_load64(const void *p) {
    __u64 v;
    __builtin_memcpy(&v, p, 8);
    return v;
}
FL_INLINE void fl_store32(void *p, __u32 v) { __builtin_memcpy(p, &v, 4); }
FL_INLINE void fl_store64(void *p, __u64 v) { __builtin_memcpy(p, &v, 8); }
#endif

typedef __be16 __attribute__((may_alias)) fl_half;

/* A MAC address as the low 48 bits of a word, its first byte lowest; and back. `mac` is aligned to 2. */
FL_INLINE __u64 fl_mac_word(const void *mac) {
    return (__u64)fl_load32(mac) | ((__u64)((const fl_half *)mac)[2] << 32);
}

/* An Ethernet header without tags; `type` in network order. */
FL_INLINE void fl_eth_store(struct fl_eth *eth, __u64 destination, __u64 source, __be16 type) {
    fl_store64(eth->destination, destination | source << 48);
    fl_store64(eth->source, source | (__u64)type << 48);
}

FL_INLINE void fl_mac_store(void *mac, __u64 word) {
    fl_store32(mac, (__u32)word);
    ((fl_half *)mac)[2] = (fl_half)(word >> 32);
}

#endif
