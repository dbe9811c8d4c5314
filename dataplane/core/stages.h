/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The steady path (plain.h) in three stages, for an engine that has many packets at hand: what one stage of a packet will
 * need is fetched while the others' are at it, and what neighbours have in common is looked up once. The steps are the
 * same as where a packet goes all its way at once, and so is what comes of them.
 *
 * All stages of a burst see one state of what is looked up once, as if its packets had come at one moment; so what
 * fl_stages_begin() begins ends with the burst, for what it points to may be put to another use afterwards. */
#ifndef FL_STAGES_H
#define FL_STAGES_H

#include "dataplane/core/steer.h"

/* What a burst's packets are looked at with. */
struct fl_stages {
    const struct fl_meta *meta;
    int plain; /* untagged frames that come in here may be for VIPs, and nobody captures */
    /* The service of the packet before, which most of a burst share. */
    union fl_address destination;
    __be16 port;
    __u8 protocol;
    __u32 service; /* 0 = none yet */
    const struct fl_pool *pool;
    __u32 pool_id;
    __u32 pool_flags;
};

/* One packet between its stages. */
struct fl_look {
    const struct fl_pool *pool; /* NULL: not for the steady path */
    __u64 hash;
    __u32 service;
    __u32 pool_id;
    __u32 slot; /* in the whole table */
    const __u32 *slot_at;
    __u32 ports;
    __u16 length; /* of the IP packet */
    __u8 family;
    __u8 protocol;
    __u8 ttl;
    __u8 tcp_flags;
};

FL_INLINE void fl_stages_begin(struct fl_engine *e, struct fl_stages *g) {
    __builtin_memset(g, 0, sizeof(*g));
    g->meta = fl_at_meta(e, 0);
    g->plain = g->meta && !fl_captures(g->meta) && fl_plain_port(e);
}

/* The service and pool of a packet, in *g. False: no service lists it. */
FL_INLINE int fl_stage_service(struct fl_engine *e, struct fl_stages *g, const struct fl_ip *ip) {
    const __be16 port = (__be16)(ip->ports >> 16);
    enum fl_refusal refusal;
    const struct fl_vip *vip;
    struct fl_decision d;
    if (fl_likely(g->service && g->port == port && g->protocol == ip->protocol &&
                  fl_same_address(&g->destination, &ip->destination)))
        return 1;
    g->service = 0;
    d.vip = fl_find_vip(e, g->meta, &ip->destination, &vip);
    if (!d.vip) return 0;
    g->pool = fl_choose_pool(e, g->meta, ip, vip, &d, &refusal);
    if (!g->pool) return 0;
    g->pool_id = d.pool;
    g->pool_flags = fl_read_once(&g->pool->flags);
    g->destination = ip->destination;
    g->port = port;
    g->protocol = ip->protocol;
    g->service = d.service;
    return 1;
}

FL_INLINE void fl_stage_flow(struct fl_engine *e, struct fl_stages *g, const struct fl_packet *p,
                             const struct fl_ip *ip, struct fl_look *look) {
    struct fl_decision d;
    __u64 affinity;
    if (fl_unlikely(!fl_stage_service(e, g, ip) || fl_from_peer(g->meta, p))) return;
    look->hash = fl_hash_of(g->meta, ip, g->pool_flags, &affinity);
    look->slot = fl_slot_of(g->pool, affinity, &d);
    look->slot_at = fl_slot_at(e, look->slot);
    fl_prefetch(look->slot_at);
    look->service = g->service;
    look->pool_id = g->pool_id;
    look->ports = ip->ports;
    look->length = (__u16)ip->length;
    look->family = ip->family;
    look->protocol = ip->protocol;
    look->ttl = ip->ttl;
    look->tcp_flags = ip->tcp_flags;
    look->pool = look->slot_at ? g->pool : 0;
}

/* The first stage: headers, service, hash. */
FL_INLINE void fl_stage_headers(struct fl_engine *e, struct fl_stages *g, const struct fl_packet *p,
                                struct fl_look *look) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    const __u32 frame = fl_frame_length(e, p);
    struct fl_ip ip;
    look->pool = 0;
    if (fl_unlikely(!fl_inside(p, eth, sizeof(*eth)))) return;
    if (fl_likely(eth->type == fl_htons(FL_ETHERTYPE_IPV4))) {
        if (fl_plain_destination4(p, &ip) && fl_plain_headers4(p, frame, &ip)) fl_stage_flow(e, g, p, &ip, look);
    } else if (eth->type == fl_htons(FL_ETHERTYPE_IPV6)) {
        if (fl_plain_destination6(p, &ip) && fl_plain_headers6(p, frame, &ip)) fl_stage_flow(e, g, p, &ip, look);
    }
}

/* The second: the buckets that may hold the flow's pin are fetched, where it may have one. */
FL_INLINE void fl_stage_pins(struct fl_engine *e, const struct fl_stages *g, const struct fl_look *look) {
    __u64 hash;
    if (!(fl_read_id(look->slot_at) & FL_SLOT_LOOKUP)) return;
    hash = fl_pin_hash(g->meta, look->hash);
    fl_prefetch(fl_pin_at(e, g->meta, hash, 0));
    fl_prefetch(fl_pin_at(e, g->meta, hash, FL_BUCKET_WORDS));
}

/* The third: decides, all but d->vip and d->slot, which only a capture would ask for. True: *d is forwarded to *backend.
 * False: it is for the long way, which begins anew. */
FL_INLINE int fl_stage_choose(struct fl_engine *e, const struct fl_stages *g, const struct fl_look *look, __u8 family,
                              __u32 frame, struct fl_decision *d, const struct fl_backend **backend) {
    struct fl_ip ip;
    ip.family = family;
    ip.protocol = look->protocol;
    ip.ttl = look->ttl;
    ip.tcp_flags = look->tcp_flags;
    ip.length = look->length;
    ip.ports = look->ports;
    fl_plain_place(fl_header_size(family), &ip);
    fl_begin(d, frame);
    fl_plain_note(&ip, d);
    d->hash = look->hash;
    d->service = look->service;
    d->pool = look->pool_id;
    d->slot_word = fl_read_id(look->slot_at);
    *backend = fl_choose_owner(e, g->meta, look->pool, look->slot, &ip, d);
    if (fl_likely(*backend != (void *)0)) fl_choose_path(e, g->meta, &ip, *backend, d);
    return fl_plain_forwards(e, d);
}

#endif
