/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pool, hash, slot, backend, next hop: where a packet of a service goes (DESIGN section 5, steps 3 and 5 to 8). */
#ifndef FL_CHOOSE_H
#define FL_CHOOSE_H

#include "dataplane/core/decision.h"
#include "dataplane/core/hash.h"

#define FL_OVERHEAD_IPIP4 20u /* RFC 2003: an outer IPv4 header */
#define FL_OVERHEAD_IPIP6 40u /* RFC 2473: an outer IPv6 header */

FL_INLINE void fl_drop(struct fl_decision *d, enum fl_reason reason) {
    d->action = FL_ACTION_DROP;
    d->reason = (__u8)reason;
}

FL_INLINE void fl_pass(struct fl_decision *d, enum fl_reason reason) {
    d->action = FL_ACTION_PASS;
    d->reason = (__u8)reason;
}

/* True when a peer balancer sent the frame: it has been steered once, and is never steered again. */
FL_INLINE int fl_from_peer(const struct fl_meta *meta, const struct fl_packet *p) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    __u32 count = fl_read_once(&meta->peer_count);
    __u64 source;
    if (fl_likely(!count)) return 0;
    source = fl_mac_word(eth->source);
    for (__u32 i = 0; i < FL_MAX_PEERS && i < count; i++)
        if (fl_read_once(&meta->peers[i]) == source) return 1;
    return 0;
}

/* Points the decision at pool-local backend `local`. False, with a drop decided, when the tables do not name one. */
FL_INLINE int fl_set_backend(struct fl_engine *e, const struct fl_pool *pool, __u32 local, struct fl_decision *d) {
    d->backend_index = fl_read_id(&pool->backend_base) + local;
    d->backend = fl_at_backends(e, d->backend_index);
    if (fl_likely(d->backend != (void *)0)) return 1;
    fl_drop(d, FL_REASON_INTERNAL);
    return 0;
}

/* A packet that was steered before: to this node's own backend, or nowhere. */
FL_INLINE void fl_choose_local(struct fl_engine *e, const struct fl_pool *pool, struct fl_decision *d) {
    __u32 local = fl_read_once(&pool->local);
    if (local == FL_NO_BACKEND)
        fl_drop(d, FL_REASON_RESTEER);
    else if (fl_set_backend(e, pool, local, d))
        d->action = FL_ACTION_LOCAL;
}

/* IPv4 as the tables hold it: IPv4-mapped. */
FL_INLINE __u8 fl_family_of(const union fl_address *a) {
    return !a->halves[0] && a->words[2] == fl_htonl(0xffff) ? 4 : 6;
}

/* Next hop and port of d->backend, and whether the packet may and will fit. */
FL_INLINE void fl_choose_path(struct fl_engine *e, const struct fl_flow *flow, struct fl_decision *d) {
    __u64 state = fl_read_id(&d->backend->state);
    __u32 overhead = 0;
    const struct fl_nexthop *hop;
    const struct fl_port *port;
    __u64 word;

    d->forward = d->backend->forward;
    if (d->forward == FL_FORWARD_LOCAL) {
        d->action = FL_ACTION_LOCAL;
        return;
    }
    if (flow->ttl <= 1) return fl_drop(d, FL_REASON_TTL_EXPIRED);
    if (d->forward == FL_FORWARD_IPIP) {
        d->outer = fl_family_of(&d->backend->address);
        overhead = d->outer == 4 ? FL_OVERHEAD_IPIP4 : FL_OVERHEAD_IPIP6;
        if (fl_unlikely(!(d->outer == 4 ? d->meta->encap4.words[3] : d->meta->encap6.words[0])))
            return fl_drop(d, FL_REASON_NO_TUNNEL);
    } else if (fl_unlikely(d->forward != FL_FORWARD_L2DSR)) {
        return fl_drop(d, FL_REASON_NO_TUNNEL);
    }
    hop = fl_at_nexthops(e, FL_BACKEND_NEXTHOP(state));
    word = hop ? fl_read_id(&hop->word) : 0;
    if (fl_unlikely(!word)) return fl_drop(d, FL_REASON_NO_NEIGHBOUR);
    if (fl_unlikely(flow->length + overhead > FL_BACKEND_MTU(state))) {
        d->mtu = (__u16)(FL_BACKEND_MTU(state) > overhead ? FL_BACKEND_MTU(state) - overhead : 0);
        return fl_drop(d, FL_REASON_TOO_BIG);
    }
    /* Most packets leave as they came: guessing so, the port's entry is fetched without waiting for the next hop's. */
    port = fl_at_ports(e, fl_ingress_port(e));
    if (fl_unlikely(FL_NEXTHOP_PORT(word) != fl_ingress_port(e))) port = fl_at_ports(e, FL_NEXTHOP_PORT(word));
    if (fl_unlikely(!port || !port->ifindex)) return fl_drop(d, FL_REASON_NO_PORT);
    d->action = FL_ACTION_FORWARD;
    d->port = (__u16)FL_NEXTHOP_PORT(word);
    d->destination_mac = FL_NEXTHOP_MAC(word);
    d->source_mac = port->mac;
}

/* The slot of a flow and what it names. `affinity_hash` is H, or the client's own with affinity "client-ip". */
FL_INLINE void fl_choose_slot(struct fl_engine *e, const struct fl_pool *pool, __u64 affinity_hash,
                              const struct fl_flow *flow, struct fl_decision *d) {
    __u64 slots = fl_read_id(&pool->slots);
    const struct fl_slot_line *line;
    __u32 owner;

    d->slot = (__u32)affinity_hash & FL_SLOTS_MASK(slots);
    line = fl_at_slots(e, (FL_SLOTS_BASE(slots) + d->slot) / FL_SLOTS_PER_LINE);
    if (fl_unlikely(!line)) return fl_drop(d, FL_REASON_INTERNAL);
    d->slot_word = fl_read_id(&line->words[d->slot % FL_SLOTS_PER_LINE]);
    owner = FL_SLOT_OWNER(d->slot_word);
    if (fl_unlikely(owner == FL_NO_BACKEND)) return fl_drop(d, FL_REASON_ALL_DOWN);
    if (fl_set_backend(e, pool, owner, d)) fl_choose_path(e, flow, d);
}

#endif
