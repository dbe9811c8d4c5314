/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Service, pool, hash, slot, backend, next hop, port: where a packet for a VIP goes (DESIGN section 5, steps 3 to 8). */
#ifndef FL_CHOOSE_H
#define FL_CHOOSE_H

#include "dataplane/core/hash.h"
#include "dataplane/core/index.h"
#include "dataplane/core/transition.h"

/* How a packet is refused whose VIP has no service for it, or whose pool has no backend. */
enum fl_refusal { FL_REFUSE_NOT, FL_REFUSE_SILENTLY, FL_REFUSE_WITH_ANSWER };

/* True when a peer balancer sent the frame: it has been steered once, and is never steered again. */
FL_INLINE int fl_from_peer(const struct fl_meta *meta, const struct fl_packet *p) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    __u32 count = fl_read_once(&meta->peer_count);
    __u64 source;
    if (fl_likely(!count) || !fl_inside(p, eth, sizeof(*eth))) return 0;
    source = fl_mac_word(eth->source);
    for (__u32 i = 0; i < FL_MAX_PEERS && i < count; i++)
        if (fl_read_once(&meta->peers[i]) == source) return 1;
    return 0;
}

/* Points the decision at a backend, by its global index. NULL, with a drop decided, when the tables do not name one. */
FL_INLINE const struct fl_backend *fl_set_backend(struct fl_engine *e, __u32 index, struct fl_decision *d) {
    const struct fl_backend *backend = fl_at_backends(e, index);
    d->backend_index = index;
    if (fl_unlikely(!backend))
        fl_drop(d, FL_REASON_INTERNAL);
    else
        d->chosen = 1;
    return backend;
}

/* A packet that was steered before: to this node's own backend, or nowhere. */
FL_INLINE void fl_choose_local(struct fl_engine *e, const struct fl_pool *pool, struct fl_decision *d) {
    __u32 local = fl_read_once(&pool->local);
    if (local == FL_NO_BACKEND)
        fl_drop(d, FL_REASON_RESTEER);
    else if (fl_set_backend(e, fl_read_id(&pool->backend_base) + local, d))
        d->action = FL_ACTION_LOCAL;
}

/* IPv4 as the tables hold it: IPv4-mapped. */
FL_INLINE __u8 fl_family_of(const union fl_address *a) {
    return !a->halves[0] && a->words[2] == fl_htonl(0xffff) ? 4 : 6;
}

/* Bytes that a tunnel puts in front of a packet: an outer IPv4 (RFC 2003) or IPv6 (RFC 2473) header, and for GUE a UDP
 * header. `outer` is the family of the tunnel, 0 = none. */
FL_INLINE __u32 fl_overhead(__u8 forward, __u8 outer) {
    const __u32 udp = forward == FL_FORWARD_GUE ? sizeof(struct fl_udp) : 0;
    if (!outer) return 0;
    return udp + (outer == 4 ? sizeof(struct fl_ipv4) : sizeof(struct fl_ipv6));
}

/* The way out of a port: by which device, and with which tags (layout.h, FL_PORT_WAY). `in` is the port that the packet
 * came in by, number `number_in`. */
FL_INLINE void fl_take_way(const struct fl_port *in, __u32 number_in, const struct fl_port *out, __u32 number_out,
                           struct fl_decision *d) {
    const __u64 way = fl_read_once(&out->way);
    const __u32 bond = FL_PORT_BOND(way), vlan = FL_PORT_VLAN_OUT(way);
    d->source_mac = fl_read_once(&out->mac);
    d->port = (__u16)number_out;
    if (fl_likely(way == FL_PORT_WAY_AS_IT_CAME)) return;
    if (FL_PORT_DEVICE(way)) d->port = (__u16)FL_PORT_DEVICE(way);
    if (bond && in && FL_PORT_BOND(fl_read_once(&in->way)) == bond) d->port = (__u16)number_in;
    if (vlan == FL_VLAN_NONE) return;
    /* The priority stays (IEEE 802.1Q section 6.9.1); a second tag was the old VLAN's affair. */
    d->tag[0] = fl_htons(FL_ETHERTYPE_VLAN) | ((d->tags ? d->tag[0] & ((__u32)fl_htons((__u16)~FL_VLAN_ID) << 16) : 0) |
                                               ((__u32)fl_htons(vlan) << 16));
    d->tags = vlan ? 1 : 0;
}

/* The tunnel to a backend that is forwarded to by `forward`: the family of its outer header, 0 = there is none, and the
 * bytes that it puts in front. False: no such tunnel begins at this node. */
FL_INLINE int fl_tunnel_of(const struct fl_meta *meta, const union fl_address *backend, __u8 forward, __u8 *outer,
                           __u32 *overhead) {
    *outer = 0;
    *overhead = 0;
    if (forward == FL_FORWARD_L2DSR) return 1;
    if (fl_unlikely(forward != FL_FORWARD_IPIP && forward != FL_FORWARD_GUE)) return 0;
    *outer = fl_family_of(backend);
    *overhead = fl_overhead(forward, *outer);
    return (*outer == 4 ? meta->encap4.words[3] : meta->encap6.words[0]) != 0;
}

/* The largest IP packet that fits a backend with this state, behind `overhead` bytes of tunnel. */
FL_INLINE __u32 fl_most_to(__u64 state, __u32 overhead) {
    return FL_BACKEND_MTU(state) > overhead ? FL_BACKEND_MTU(state) - overhead : 0;
}

/* Next hop and port of the backend, and whether the packet may and will fit. */
FL_INLINE void fl_choose_path(struct fl_engine *e, const struct fl_meta *meta, const struct fl_ip *ip,
                              const struct fl_backend *backend, struct fl_decision *d) {
    const __u64 state = fl_read_id(&backend->state);
    const __u32 number_in = fl_ingress_port(e);
    const struct fl_nexthop *hop;
    const struct fl_port *in, *out;
    __u32 overhead, number;
    __u64 word;

    d->forward = backend->forward;
    if (d->forward == FL_FORWARD_LOCAL) {
        d->action = FL_ACTION_LOCAL;
        return;
    }
    if (ip->ttl <= 1) return fl_drop(d, FL_REASON_TTL_EXPIRED);
    if (fl_unlikely(!fl_tunnel_of(meta, &backend->address, d->forward, &d->outer, &overhead)))
        return fl_drop(d, FL_REASON_NO_TUNNEL);
    hop = fl_at_nexthops(e, FL_BACKEND_NEXTHOP(state));
    word = hop ? fl_read_id(&hop->word) : 0;
    if (fl_unlikely(!word)) return fl_drop(d, FL_REASON_NO_NEIGHBOUR);
    if (fl_unlikely(ip->length > fl_most_to(state, overhead))) {
        d->mtu = (__u16)fl_most_to(state, overhead);
        return fl_drop(d, FL_REASON_TOO_BIG);
    }
    /* Most packets leave as they came: guessing so, the port's entry is fetched without waiting for the next hop's. */
    out = in = fl_at_ports(e, number_in);
    number = FL_NEXTHOP_PORT(word);
    if (fl_unlikely(number != number_in)) out = fl_at_ports(e, number);
    if (fl_unlikely(!out || !out->ifindex)) return fl_drop(d, FL_REASON_NO_PORT);
    d->action = FL_ACTION_FORWARD;
    d->destination_mac = FL_NEXTHOP_MAC(word);
    fl_take_way(in, number_in, out, number, d);
}

/* The slot of a pool, fl_pool.slots, that is chosen by `affinity`: H or, with affinity "client-ip", the client's own hash. */
FL_INLINE __u32 fl_slot_of(__u64 slots, __u64 affinity) { return (__u32)affinity & FL_SLOTS_MASK(slots); }

/* The first word of a pool's slots, the others behind it. NULL: not all of them are in the table. */
FL_INLINE const __u32 *fl_slots_at(struct fl_engine *e, __u64 slots) {
    const struct fl_slot_line *first = fl_at_slots(e, FL_SLOTS_BASE(slots) / FL_SLOTS_PER_LINE);
    const __u64 last = (__u64)FL_SLOTS_BASE(slots) + FL_SLOTS_MASK(slots);
    if (!first || last >> 32 || !fl_at_slots(e, (__u32)last / FL_SLOTS_PER_LINE)) return 0;
    return &first->words[FL_SLOTS_BASE(slots) % FL_SLOTS_PER_LINE];
}

/* The word of a slot. NULL: the tables have none. */
FL_INLINE const __u32 *fl_slot_at(struct fl_engine *e, __u32 slot) {
    const struct fl_slot_line *line = fl_at_slots(e, slot / FL_SLOTS_PER_LINE);
    return line ? &line->words[slot % FL_SLOTS_PER_LINE] : 0;
}

/* The owner that the word of a settled slot names: its global index, or FL_NO_INDEX. */
FL_INLINE __u32 fl_settled_owner(const struct fl_pool *pool, __u32 word) {
    const __u32 owner = FL_SLOT_OWNER(word);
    return owner == FL_NO_BACKEND ? FL_NO_INDEX : fl_read_id(&pool->backend_base) + owner;
}

/* The backend that the word of slot number `slot` names, which is d->slot_word. NULL: d says how the packet ends. */
FL_INLINE const struct fl_backend *fl_choose_owner(struct fl_engine *e, const struct fl_meta *meta,
                                                   const struct fl_pool *pool, __u32 slot, const struct fl_ip *ip,
                                                   struct fl_decision *d) {
    __u32 index;
    if (fl_unlikely(d->slot_word & FL_SLOT_LOOKUP))
        index = fl_move(e, meta, pool, ip, slot, d);
    else
        index = fl_settled_owner(pool, d->slot_word);
    if (fl_unlikely(index == FL_NO_INDEX)) {
        fl_drop(d, FL_REASON_ALL_DOWN);
        return 0;
    }
    return fl_set_backend(e, index, d);
}

/* The slot of a flow and what it names. */
FL_INLINE const struct fl_backend *fl_choose_slot(struct fl_engine *e, const struct fl_meta *meta,
                                                  const struct fl_pool *pool, __u64 affinity, const struct fl_ip *ip,
                                                  struct fl_decision *d) {
    const __u64 slots = fl_read_id(&pool->slots);
    const struct fl_backend *backend;
    const __u32 *word;
    __u32 slot;
    d->slot = fl_slot_of(slots, affinity);
    slot = FL_SLOTS_BASE(slots) + d->slot;
    word = fl_slot_at(e, slot);
    if (fl_unlikely(!word)) {
        fl_drop(d, FL_REASON_INTERNAL);
        return 0;
    }
    d->slot_word = fl_read_id(word);
    backend = fl_choose_owner(e, meta, pool, slot, ip, d);
    if (fl_likely(backend != (void *)0)) fl_choose_path(e, meta, ip, backend, d);
    return backend;
}

/* The service that lists a packet for this VIP, as d->service, and its pool. NULL: there is none, and *refusal says how it
 * is refused. */
FL_INLINE const struct fl_pool *fl_choose_pool(struct fl_engine *e, const struct fl_meta *meta, const struct fl_ip *ip,
                                               const struct fl_vip *vip, struct fl_decision *d,
                                               enum fl_refusal *refusal) {
    const struct fl_service *service;
    const struct fl_pool *pool;
    *refusal = FL_REFUSE_NOT;
    d->service = fl_find_service(e, meta, &ip->destination, d->vip, (__be16)(ip->ports >> 16), ip->protocol, &service);
    if (fl_unlikely(!d->service)) {
        const __u32 vip_flags = fl_read_once(&vip->flags);
        if (vip_flags & FL_VIP_LOCAL) {
            fl_pass(d, FL_REASON_LOCAL_VIP);
            return 0;
        }
        fl_drop(d, FL_REASON_UNLISTED);
        *refusal = vip_flags & FL_VIP_RESET ? FL_REFUSE_WITH_ANSWER : FL_REFUSE_SILENTLY;
        return 0;
    }
    d->pool = service->pool;
    pool = fl_at_pools(e, d->pool);
    if (fl_unlikely(!pool)) fl_drop(d, FL_REASON_INTERNAL);
    return pool;
}

/* H of a packet, and what its pool with these flags chooses the slot by. ip->family is a constant at the calls of the
 * steady path. */
FL_INLINE __u64 fl_hash_of(const struct fl_meta *meta, const struct fl_ip *ip, __u32 pool_flags, __u64 *affinity) {
    __u64 hash;
    if (ip->family == 4) {
        hash = fl_hash_flow4(meta, ip->source.words[3], ip->destination.words[3], ip->ports, ip->protocol);
        *affinity = pool_flags & FL_POOL_CLIENT_IP ? fl_hash_client4(meta, ip->source.words[3]) : hash;
    } else {
        hash = fl_hash_flow6(meta, ip->source.words, ip->destination.words, ip->ports, ip->protocol);
        *affinity = pool_flags & FL_POOL_CLIENT_IP ? fl_hash_client6(meta, ip->source.words) : hash;
    }
    return hash;
}

/* A packet for a VIP: which backend, or how it is refused. *chosen is the backend of a packet that is forwarded. */
FL_INLINE enum fl_refusal fl_choose(struct fl_engine *e, const struct fl_meta *meta, const struct fl_packet *p,
                                    const struct fl_ip *ip, const struct fl_vip *vip, struct fl_decision *d,
                                    const struct fl_backend **chosen) {
    enum fl_refusal refusal;
    const struct fl_pool *pool = fl_choose_pool(e, meta, ip, vip, d, &refusal);
    __u64 affinity;
    __u32 flags;

    if (fl_unlikely(!pool)) return refusal;
    if (fl_unlikely(fl_from_peer(meta, p))) {
        fl_choose_local(e, pool, d);
        return FL_REFUSE_NOT;
    }
    flags = fl_read_once(&pool->flags);
    d->hash = fl_hash_of(meta, ip, flags, &affinity);
    *chosen = fl_choose_slot(e, meta, pool, affinity, ip, d);
    if (fl_likely(d->action != FL_ACTION_DROP)) return FL_REFUSE_NOT;
    if (d->reason != FL_REASON_ALL_DOWN) return FL_REFUSE_NOT;
    return flags & FL_POOL_ALL_DOWN_RESET ? FL_REFUSE_WITH_ANSWER : FL_REFUSE_SILENTLY;
}

#endif
