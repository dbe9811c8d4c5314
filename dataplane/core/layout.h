/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The shared tables, byte for byte (DESIGN section 4). Each is a flat array; one list, FL_TABLE_LIST, yields the BPF
 * maps, the userspace creation and mapping, and the accessors of every engine.
 *
 * Rules: the controller alone writes, but for counters, stamps, pins, dirty, fragments, rings, throttles and, for `lbctl capture`,
 * what is to be captured and until when. Nothing wider
 * than a word is changed under a reader: a record is filled, then published by one release store of a word that names
 * it; a record is used again only after a grace period. Fields marked "word" are changed in place.
 * Numbers are in host order (little-endian) unless the type is __be; addresses are 16 bytes in network order, IPv4 as
 * IPv4-mapped (RFC 4291 section 2.5.5.2). Identifiers start at 1 where 0 means "none". */
#ifndef FL_LAYOUT_H
#define FL_LAYOUT_H

#include "dataplane/core/base.h"
#include "dataplane/core/reasons.h"

#define FL_MAGIC 0x644c4646u /* "FFLd" */
#ifndef FL_ABI
#define FL_ABI 7u /* one up whenever anything in this file, or in reasons.h, changes shape or meaning */
#endif
#define FL_ABI_CARRIED 3u /* the oldest whose tables new ones can take slots, pins and counters over from */
#define FL_ABI_DIRTY 6u   /* the first with the table `dirty` */

#define FL_NAME_BYTES 64  /* of an entry in the name table, with the terminating zero */
#define FL_MAX_PEERS 16   /* other balancers that meta can name; a fleet with local backends is smaller still */
#define FL_MAX_SOURCES 16 /* prefixes from which encapsulated packets are accepted */
#define FL_BUCKET_WORDS 8 /* words of an index or pin bucket: one 64-byte line */
#define FL_SLOTS_PER_LINE 16
#define FL_HASH_ADDENDS 10    /* 32-bit words of an IPv6 5-tuple: 4 + 4 + ports + protocol */
#define FL_NO_BACKEND 0x7fffu /* of a slot's owner or previous */
#define FL_MAX_WORKERS 32     /* DPDK workers that may read the tables at one time */
#define FL_MAX_QUEUES 64      /* receive queues of one interface that lb-dpdk may listen on */

union fl_address {
    __u8 bytes[16];
    __be32 words[4]; /* words[3] is the IPv4 address of a mapped one */
    __u64 halves[2];
};
FL_ASSERT(sizeof(union fl_address) == 16, "address");

/* fl_meta.flags */
#define FL_META_DECAP 1u /* unwrap what is encapsulated to this node for a VIP (it has a local backend) */

/* An index word: where an index lies and how it is hashed. One store moves every reader to a new index. */
#define FL_INDEX_WORD(base, log2_buckets, seed) \
    ((__u64)(__u32)(base) | ((__u64)((log2_buckets) & 0xff) << 32) | ((__u64)((seed) & 0xffffff) << 40))
#define FL_INDEX_BASE(word) ((__u32)(word))                     /* first bucket */
#define FL_INDEX_MASK(word) ((1u << (((word) >> 32) & 31)) - 1) /* buckets - 1 */
#define FL_INDEX_SEED(word) ((__u32)((word) >> 40))

struct fl_source { /* accepted if (address & mask) == address, over 128 bits */
    union fl_address address;
    union fl_address mask;
};

/* Sizes of the tables, in entries; fixed at creation. */
struct fl_limits {
    __u32 vips;
    __u32 services;
    __u32 pools;
    __u32 backends;
    __u32 slots; /* a multiple of FL_SLOTS_PER_LINE */
    __u32 pins;  /* a power of two, at least FL_BUCKET_WORDS */
    __u32 fragments;
    __u32 strides; /* CPUs plus FL_MAX_WORKERS: writers of counters, throttles and rings */
    __u32 nexthops;
    __u32 names;
    __u32 ports;
    __u32 roles;
    __u32 rings; /* 64-byte lines: FL_RINGS_LINES */
    __u32 reserved[3];
};
FL_ASSERT(sizeof(struct fl_limits) == 64, "limits");

struct fl_meta {
    /* Lines 0 and 1: what every packet reads. */
    __u64 vip_index;           /* word: FL_INDEX_WORD of the vip_index table */
    __u64 service_index;       /* word */
    __u64 hash_multipliers[2]; /* odd; dataplane/core/hash.h */
    __u32 hash_addends[FL_HASH_ADDENDS];
    __u32 flags;             /* word: FL_META_* */
    __u32 peer_count;        /* word */
    union fl_address encap4; /* outer source: word 3 | (hash & encap4_mask); all zero = no IPv4 tunnel from here */
    union fl_address encap6; /* likewise; the low 32 bits vary */
    __be32 encap4_mask;      /* host bits of encap_source_prefix, 0 = fixed */
    __be32 encap6_mask;
    __u64 capture_until_ns; /* word: packets are captured until this CLOCK_MONOTONIC (capture.h); 0 = none are */
    /* Steered once: the MAC addresses of the other balancers, as 48-bit words (fl_mac_word). */
    __u64 peers[FL_MAX_PEERS];
    __u64 gue_port;                /* word: the UDP port that GUE is unwrapped on, __be16 in the low half; 0 = none */
    __u32 source_count;            /* word */
    __u32 answers_per_second;      /* word: per CPU; 0 = none (RST, unreachable, echo) */
    union fl_address node4, node6; /* this node's own addresses; zero where it has none */
    struct fl_source sources[FL_MAX_SOURCES];
    /* What the data path never reads. */
    __u32 magic, abi;
    __u32 size;                   /* of this struct */
    __u32 hash_key_id;            /* tells two keys apart, and tells nothing else of them */
    __u64 name_generation;        /* word: one up whenever an entry of the name table changes */
    __u64 created_realtime_ns;    /* CLOCK_REALTIME when the tables were made */
    __u64 controller_realtime_ns; /* word: CLOCK_REALTIME, stored every second by a live controller, for people only */
    __u32 controller_pid;         /* word */
    __u32 engine;                 /* word: enum fl_engine_kind */
    __u64 config_digest;
    struct fl_limits limits;
    __u32 exceptions_per_second; /* word: per CPU; 0 = none (fl_hands_over) */
    __u32 reserved32;
    __u64 adjacency_generation; /* word: one up after anything changed that fl_make_adjacency() reads */
    __u8 reserved[72];
};
FL_ASSERT(sizeof(struct fl_meta) == 1024, "meta");

enum fl_engine_kind { FL_ENGINE_NONE, FL_ENGINE_XDP_NATIVE, FL_ENGINE_XDP_GENERIC, FL_ENGINE_DPDK };

/* {fingerprint 32 (high), id 32 (low)}; 0 = empty. */
struct fl_index_bucket {
    __u64 words[FL_BUCKET_WORDS];
};

/* fl_vip.flags */
#define FL_VIP_RESET 1u /* unlisted = "reset", else "drop" */
#define FL_VIP_LOCAL 2u /* this node holds the address itself: unlisted packets are passed up */

struct fl_vip { /* the address is immutable */
    union fl_address address;
    __u32 flags; /* word: FL_VIP_* */
    __u32 role;  /* word: index of its role word */
    /* A later fragment has no ports. Where all TCP (UDP) services of the VIP share one pool with affinity "client-ip",
     * it needs none: this is the id of one of these services. 0 = fragments follow their first (fragments.h). */
    __u32 client_tcp; /* word */
    __u32 client_udp; /* word */
};
FL_ASSERT(sizeof(struct fl_vip) == 32, "vip");

struct fl_role {
    __u64 active_until_ns; /* word: CLOCK_MONOTONIC; ~0 = without HA; 0 = standby */
};

struct fl_service { /* immutable; the first eight bytes are fl_service_key() */
    __u32 vip;
    __be16 port; /* 0 = any */
    __u8 protocol;
    __u8 reserved; /* 0 */
    __u32 pool;
    __u32 name;
};
FL_ASSERT(sizeof(struct fl_service) == 16, "service");

/* fl_pool.flags */
#define FL_POOL_CLIENT_IP 1u      /* affinity = "client-ip" */
#define FL_POOL_ALL_DOWN_RESET 2u /* what a slot without an owner means: refuse, else drop */
#define FL_POOL_TOO_BIG_PASS 4u   /* too_big = "pass": IPv4 without DF that does not fit goes to the host, else drop */

#define FL_SLOTS_WORD(base, mask) ((__u64)(__u32)(base) | ((__u64)(__u32)(mask) << 32))
#define FL_SLOTS_BASE(word) ((__u32)(word))
#define FL_SLOTS_MASK(word) ((__u32)((word) >> 32))

struct fl_pool {
    __u64 slots;         /* word: FL_SLOTS_WORD(first slot, slots - 1); the base is a multiple of the number of slots
                           or, for fewer than a line, of FL_SLOTS_PER_LINE */
    __u32 backend_base;  /* word: global index of pool-local backend 0 */
    __u32 backend_count; /* word: room in the range; local indexes are below it */
    __u32 local;         /* word: pool-local index of this node's own backend, or FL_NO_BACKEND */
    __u32 flags;         /* word: FL_POOL_* */
    __u32 idle_timeout_s;
    __u32 name;
    __u64 reserved[4];
};
FL_ASSERT(sizeof(struct fl_pool) == 64, "pool");

/* A slot: owner 15, previous 15, lookup 1, learning 1 (DESIGN section 6). With owner = previous, learning says that an
 * engine may still hold the word before: the owner's pins are followed too, and stay. */
#define FL_SLOT_WORD(owner, previous, lookup, learning) \
    ((__u32)(owner) | ((__u32)(previous) << 15) | ((__u32)(lookup) << 30) | ((__u32)(learning) << 31))
#define FL_SLOT_SETTLED(owner) FL_SLOT_WORD(owner, owner, 0, 0)
#define FL_SLOT_OWNER(word) ((word) & 0x7fff)
#define FL_SLOT_PREVIOUS(word) (((word) >> 15) & 0x7fff)
#define FL_SLOT_LOOKUP (1u << 30)
#define FL_SLOT_LEARNING (1u << 31)

struct fl_slot_line { /* a line, because an array map rounds the stride of an element up to 8 bytes */
    __u32 words[FL_SLOTS_PER_LINE];
};

struct fl_stamp { /* coarse CLOCK_MONOTONIC in units of 2^32 ns / 1024 (FL_STAMP_SHIFT) */
    __u32 previous_used;
    __u32 pin_used;
};
#define FL_STAMP_SHIFT 22

enum fl_forward { FL_FORWARD_L2DSR, FL_FORWARD_IPIP, FL_FORWARD_LOCAL, FL_FORWARD_GUE, FL_FORWARD_NAT };
enum fl_backend_state {
    FL_BACKEND_UNKNOWN,
    FL_BACKEND_HEALTHY,
    FL_BACKEND_UNHEALTHY,
    FL_BACKEND_DRAINING,
    FL_BACKEND_DEAD
};

/* fl_backend.state: {state 8, MTU 16, next hop 24, reserved 16}; MTU in bytes of the largest IP packet to the next hop */
#define FL_BACKEND_WORD(state, mtu, nexthop) \
    ((__u64)((state) & 0xff) | ((__u64)((mtu) & 0xffff) << 8) | ((__u64)((nexthop) & 0xffffff) << 24))
#define FL_BACKEND_STATE(word) ((__u32)(word) & 0xff)
#define FL_BACKEND_MTU(word) ((__u32)((word) >> 8) & 0xffff)
#define FL_BACKEND_NEXTHOP(word) ((__u32)((word) >> 24) & 0xffffff)

struct fl_backend {
    union fl_address address; /* immutable, as all but `state` */
    __u64 state;              /* word: FL_BACKEND_WORD */
    __u32 pool;               /* 0 = the entry is free */
    __u32 name;
    __u8 forward; /* enum fl_forward */
    __u8 reserved8;
    __be16 gue_port;
    __u32 tier;
    __u64 reserved[3];
};
FL_ASSERT(sizeof(struct fl_backend) == 64, "backend");

/* A next hop: {MAC 48, port 16}; 0 = not resolved. The MAC's first byte is the lowest byte of the word. */
struct fl_nexthop {
    __u64 word;
};
#define FL_NEXTHOP_WORD(mac_word, port) (((__u64)(mac_word) & 0xffffffffffffULL) | ((__u64)(port) << 48))
#define FL_NEXTHOP_MAC(word) ((word) & 0xffffffffffffULL)
#define FL_NEXTHOP_PORT(word) ((__u32)((word) >> 48))

/* A port is a way in or out, not only a device: one interface has as many ports as there are VLANs behind it, and a
 * bond one port that any of its slaves is good for. */
struct fl_port { /* index = port number, from 1; ifindex 0 = none */
    __u64 mac;   /* as a next hop's MAC */
    __u32 ifindex;
    __u32 mtu;            /* of the interface, bytes of IP */
    __u32 saved_features; /* what attaching switched off and detaching restores: FL_FEATURE_* */
    __u32 mode;           /* enum fl_engine_kind it is attached in */
    char name[16];
    __u64 way;   /* word: FL_PORT_WAY */
    __u32 flags; /* word: FL_PORT_* */
    __u32 reserved32;
    __u64 reserved;
};
FL_ASSERT(sizeof(struct fl_port) == 64, "port");
#define FL_PORT_FRAMES 1u /* attached so that frames of several buffers come whole (xdp.frags) */
#define FL_PORT_FEED 2u   /* lb-dpdk steers what comes in here; the program does where lb-dpdk does not listen */

/* device: the port whose interface frames leave by; 0 = itself. bond: not 0, and equal on all ports of one bond: a frame
 * that came in by one of them leaves by that one. vlan_in: the outermost VLAN id that frames for VIPs carry on this port;
 * 0 = untagged alone, FL_VLAN_NONE = whatever they carry. vlan_out: the VLAN id that frames leave with: 0 = untagged,
 * FL_VLAN_NONE = the tags that they came with. */
#define FL_PORT_WAY(device, bond, vlan_in, vlan_out)                                                      \
    ((__u64)((device) & 0xffff) | ((__u64)((bond) & 0xffff) << 16) | ((__u64)((vlan_in) & 0xfff) << 32) | \
     ((__u64)((vlan_out) & 0xfff) << 44))
#define FL_PORT_DEVICE(way) ((__u32)(way) & 0xffff)
#define FL_PORT_BOND(way) ((__u32)((way) >> 16) & 0xffff)
#define FL_PORT_VLAN_IN(way) ((__u32)((way) >> 32) & 0xfff)
#define FL_PORT_VLAN_OUT(way) ((__u32)((way) >> 44) & 0xfff)
#define FL_VLAN_NONE 0xfffu /* IEEE 802.1Q reserves this id */
#define FL_PORT_WAY_AS_IT_CAME FL_PORT_WAY(0, 0, FL_VLAN_NONE, FL_VLAN_NONE)
#define FL_FEATURE_LRO 1u
#define FL_FEATURE_GRO 2u
#define FL_FEATURE_RXVLAN 4u

struct fl_pin_bucket { /* DESIGN section 4 "pins"; words are laid out in dataplane/core/pins.h */
    __u64 words[FL_BUCKET_WORDS];
};

/* One byte for so many buckets of pins, in their order: not 0 where an engine has confirmed a pin, or seen its connection
 * end, since the controller last took the byte (dataplane/core/pins.h). */
#define FL_DIRTY_BUCKETS 64u
#define FL_DIRTY_BYTES 64u
struct fl_dirty_line {
    __u8 groups[FL_DIRTY_BYTES];
};
#define FL_DIRTY_PINS (FL_DIRTY_BYTES * FL_DIRTY_BUCKETS * FL_BUCKET_WORDS) /* of one line; a table may have fewer */
#define FL_DIRTY_LINES(limits_) (((limits_)->pins + FL_DIRTY_PINS - 1) / FL_DIRTY_PINS)

/* First fragments, eight to a bucket: what their later ones lack is their ports. A key word is {signature 32 (high),
 * ports 32}, beside it stands {protocol 32 (high), time 32 in units of 2^32 ns} (dataplane/core/fragments.h). */
struct fl_fragment_bucket {
    __u64 keys[FL_BUCKET_WORDS];
    __u64 times[FL_BUCKET_WORDS];
};
FL_ASSERT(sizeof(struct fl_fragment_bucket) == 128, "fragments");

/* One counter. Index within a stride: reasons, then services by id, then backends by global index. */
struct fl_counter { /* never zeroed: the table of baselines holds what to take off the sum over strides, per index
                       within a stride, since a service id or backend index was last put to use */
    __u64 packets;
    __u64 bytes; /* of frames as received, without preamble and FCS */
    __u64 syns;  /* TCP SYN without ACK, RST, FIN; services and backends only */
    __u64 reserved;
};
FL_ASSERT(sizeof(struct fl_counter) == 32, "counter");
#define FL_COUNTER_SERVICE(limits_, id) (FL_REASONS_RESERVED + (id))
#define FL_COUNTER_BACKEND(limits_, index) (FL_REASONS_RESERVED + (limits_)->services + (index))
#define FL_COUNTER_STRIDE(limits_) (FL_REASONS_RESERVED + (limits_)->services + (limits_)->backends)

struct fl_tokens {
    __u64 refilled_ns; /* coarse monotonic */
    __u64 tokens;
};

struct fl_throttle { /* what is limited in rate, by stride; a line each, so that CPUs do not share */
    struct fl_tokens answers, exceptions, captures;
    __u64 reserved[2];
};
FL_ASSERT(sizeof(struct fl_throttle) == 64, "throttle");

/* Rings of captured packets (capture.h): first the filter, then for each stride a line that says how far it is, and
 * FL_RING_ENTRIES entries. An entry is a line that tells of the packet, and the beginning of its frame. */
struct fl_ring_line {
    __u8 bytes[64];
};
#define FL_CAPTURE_BYTES 256 /* of a frame: two tags, a tunnel and its packet's headers with options need 206 */
#define FL_RING_ENTRIES 256u /* a power of two; a packet takes two. With these figures 80 KiB a stride */
#define FL_ENTRY_LINES (1u + FL_CAPTURE_BYTES / 64u)
#define FL_RING_LINE(stride_) (1u + (stride_) * (1u + FL_RING_ENTRIES * FL_ENTRY_LINES))
#define FL_RINGS_LINES(limits_) FL_RING_LINE((limits_)->strides)

/* Changed only while nothing is captured, a grace period after the last that was. */
struct fl_capture_filter {
    union fl_address client; /* captured if (source & mask) == client, over 128 bits */
    union fl_address client_mask;
    __u32 vip, pool;  /* 0 = any, as all that follows, but for what `by` says */
    __u32 backend;    /* global index */
    __u32 one_in;     /* of those that match, one in so many */
    __u32 per_second; /* packets, by stride; not more than a quarter of that at once */
    __u32 number;     /* of this capture: entries bear it */
    __be16 port;      /* of the VIP */
    __u8 protocol;
    __u8 action; /* enum fl_action, as decided */
    __u8 reason;
    __u8 by; /* FL_CAPTURE_BY_* */
    __u8 reserved[2];
};
FL_ASSERT(sizeof(struct fl_capture_filter) == 64, "capture filter");
#define FL_CAPTURE_BY_BACKEND 1u
#define FL_CAPTURE_BY_ACTION 2u
#define FL_CAPTURE_BY_REASON 4u

struct fl_ring {   /* words, all of them, that only go up */
    __u64 written; /* entries */
    __u64 matched; /* packets that the filter let through */
    __u64 limited; /* of those, how many came too fast */
    __u64 taken;   /* packets that were kept */
    __u64 reserved[4];
};
FL_ASSERT(sizeof(struct fl_ring) == 64, "ring");

enum fl_capture_stage { FL_CAPTURE_BEFORE, FL_CAPTURE_AFTER };

struct fl_capture_entry {
    __u64 sequence; /* word: its number in the ring, from 1; 0 while it is written */
    __u64 time_ns;  /* CLOCK_MONOTONIC */
    __u64 packet;   /* number of the packet in the ring: before and after have the same */
    __u32 capture;  /* fl_capture_filter.number */
    __u32 frame;    /* bytes of the frame as it then was */
    __u32 vip, pool, service;
    __u32 backend; /* global index, where `chosen` says so */
    __u16 kept;    /* bytes of it that are here */
    __u16 ingress; /* port */
    __u16 egress;  /* port, after, where it is transmitted */
    __u8 stage;    /* enum fl_capture_stage */
    __u8 action;   /* enum fl_action */
    __u8 reason;   /* enum fl_reason, unless it is steered */
    __u8 verdict;  /* enum fl_verdict, after */
    __u8 forward;  /* enum fl_forward */
    __u8 pinned;   /* enum fl_pinned */
    __u8 chosen;
    __u8 reserved[3];
};
FL_ASSERT(sizeof(struct fl_capture_entry) == 64, "capture entry");

struct fl_worker { /* a reader that is not the kernel: quiescent-state reclamation by epoch */
    __u64 epoch;   /* word: one up between two bursts; odd = may hold references, even = quiescent */
    __u32 pid;     /* word: 0 = free; a dead pid is passed over */
    __u32 reserved32;
    __u64 started; /* word: start time of that process in ticks (proc(5), field 22), so that a pid used again is not
                      taken for the worker; 0 = not known */
    __u64 reserved[5];
};
FL_ASSERT(sizeof(struct fl_worker) == 64, "worker");

/* Names of pools, backends and services, zero-terminated UTF-8; what lets a new controller adopt the tables. */
struct fl_name {
    char text[FL_NAME_BYTES];
};

/* X(table, element struct, number of elements as an expression over `l`, a const struct fl_limits *).
 * Index tables hold two indexes side by side, so that a new one is built beside the one in use; with one bucket a key,
 * eight words a bucket, a bucket overflows about once in a million, and then the builder takes another seed. */
#define FL_TABLE_LIST(X)                                                    \
    X(meta, struct fl_meta, 1u)                                             \
    X(roles, struct fl_role, l->roles)                                      \
    X(vip_index, struct fl_index_bucket, 2u * l->vips)                      \
    X(vips, struct fl_vip, l->vips)                                         \
    X(service_index, struct fl_index_bucket, 2u * l->services)              \
    X(services, struct fl_service, l->services)                             \
    X(pools, struct fl_pool, l->pools)                                      \
    X(slots, struct fl_slot_line, l->slots / FL_SLOTS_PER_LINE)             \
    X(stamps, struct fl_stamp, l->slots)                                    \
    X(backends, struct fl_backend, l->backends)                             \
    X(nexthops, struct fl_nexthop, l->nexthops)                             \
    X(ports, struct fl_port, l->ports)                                      \
    X(pins, struct fl_pin_bucket, l->pins / FL_BUCKET_WORDS)                \
    X(dirty, struct fl_dirty_line, FL_DIRTY_LINES(l))                       \
    X(fragments, struct fl_fragment_bucket, l->fragments / FL_BUCKET_WORDS) \
    X(counters, struct fl_counter, l->strides* FL_COUNTER_STRIDE(l))        \
    X(baselines, struct fl_counter, FL_COUNTER_STRIDE(l))                   \
    X(throttles, struct fl_throttle, l->strides)                            \
    X(rings, struct fl_ring_line, l->rings)                                 \
    X(workers, struct fl_worker, FL_MAX_WORKERS)                            \
    X(names, struct fl_name, l->names)

#endif
