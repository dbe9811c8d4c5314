/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The steady path (plain.h) in three stages, for an engine that has many packets at hand: what one stage of a packet will
 * need is fetched while the others' are at it, and what neighbours have in common is looked up once. The steps are the
 * same as where a packet goes all its way at once, and so is what comes of them.
 *
 * All stages of a burst see one state of what is looked up once, as if its packets had come at one moment; so what
 * fl_stages_begin() begins ends with the burst, by fl_stages_end(), for what it points to may be put to another use
 * afterwards. */
#ifndef FL_STAGES_H
#define FL_STAGES_H

#include "dataplane/core/adjacency.h"
#include "dataplane/core/steer.h"

#define FL_STAGE_PACKETS 32 /* of a burst, at most */

/* The service of neighbours, and what they count there. */
struct fl_stage_service {
    const struct fl_pool *pool;
    __u64 slots;           /* fl_pool.slots */
    const __u32 *slots_at; /* the first */
    struct fl_counter *counter;
    __u64 counted; /* {bytes 32, packets 32} */
    __u32 syns;
    __u32 pool_id, pool_flags;
    __u8 protocol;
    __u8 reserved[11];
};
FL_ASSERT(sizeof(struct fl_stage_service) == 64, "stage service");
#define FL_STAGE_PACKET (1ULL << 32)

struct fl_look;

/* What a burst's packets are looked at with. */
struct fl_stages {
    const struct fl_meta *meta;
    __u64 generation;
    struct fl_adjacency *adjacencies; /* by global index of the backend */
    __u32 adjacency_count;
    int plain; /* untagged frames that come in here may be for VIPs, and nobody captures */
    /* The packet before: its service, which most of a burst share, and its flow, which the packets of a train do. */
    const struct fl_stage_service *last;
    __u64 mark; /* FL_LOOK_MARK of its service */
    union fl_address destination;
    __u32 key;               /* FL_STAGE_KEY; 0 = there is none */
    __u64 flow;              /* {ports 32, source address 32 or, IPv6, 0} */
    union fl_address source; /* IPv6 */
    const struct fl_look *look;
    const struct fl_adjacency *before; /* what it went by, if one more of its flow would; NULL: look again */
    __u32 services;                    /* that are filled below */
    int moving;                        /* a packet was for a slot that is not settled */
    struct fl_stage_service service[FL_STAGE_PACKETS];
};

/* {port of the VIP 16, protocol 8, family 8} */
#define FL_STAGE_KEY(ip) ((ip)->ports >> 16 | (__u32)(ip)->protocol << 16 | (__u32)(ip)->family << 24)

/* One packet between its stages: two words, because of stores a processor has least room for. */
struct fl_look {
    __u64 hash;
    __u64 word; /* 0 = not for the steady path */
};

/* {slot in its pool 32, length of the IP packet 16, TCP flags 8, number of its service 5, again 1, IPv6 1, steady 1}; again:
 * of the flow of the one before, and no turn of it */
#define FL_LOOK_WORD(slot, length, tcp_flags, mark) \
    ((__u64)(__u32)(slot) | (__u64)(__u16)(length) << 32 | (__u64)(__u8)(tcp_flags) << 48 | (mark))
#define FL_LOOK_MARK(service, family) ((__u64)(service) << 56 | (__u64)((family) == 6) << 62 | 1ULL << 63)
#define FL_LOOK_AGAIN (1ULL << 61)
#define FL_LOOK_SLOT(word) ((__u32)(word))
#define FL_LOOK_LENGTH(word) ((__u32)((word) >> 32) & 0xffff)
#define FL_LOOK_TCP_FLAGS(word) ((__u8)((word) >> 48))
#define FL_LOOK_SERVICE(word) ((__u32)((word) >> 56) & (FL_STAGE_PACKETS - 1))
#define FL_LOOK_FAMILY(word) ((word) >> 62 & 1 ? 6 : 4)

#define FL_STAGE_TURNS (FL_TCP_SYN | FL_TCP_FIN | FL_TCP_RST) /* after such a packet a flow may be another */

FL_INLINE void fl_stages_begin(struct fl_engine *e, struct fl_adjacency *adjacencies, __u32 count,
                               struct fl_stages *g) {
    g->meta = fl_at_meta(e, 0);
    g->plain = g->meta && !fl_captures(g->meta) && fl_plain_port(e);
    g->generation = g->plain ? fl_generation(g->meta) : 0;
    g->adjacencies = adjacencies;
    g->adjacency_count = count;
    g->source = g->destination = (union fl_address){};
    g->last = g->service;
    g->key = 0;
    g->flow = g->mark = 0;
    g->look = 0;
    g->before = 0;
    g->services = 0;
    g->moving = 0;
}

/* Counts what came for the burst's services. */
FL_INLINE void fl_stages_end(struct fl_stages *g) {
    for (__u32 i = 0; i < g->services; i++) {
        const struct fl_stage_service *s = &g->service[i];
        fl_write_once(&s->counter->packets, s->counter->packets + (s->counted >> 32));
        fl_write_once(&s->counter->bytes, s->counter->bytes + (__u32)s->counted);
        if (fl_unlikely(s->syns)) fl_write_once(&s->counter->syns, s->counter->syns + s->syns);
    }
}

/* True: the packet is for the VIP, port and protocol of the one before. */
FL_INLINE int fl_stage_same_service(const struct fl_stages *g, const struct fl_ip *ip) {
    if (fl_unlikely(g->key != FL_STAGE_KEY(ip))) return 0;
    if (ip->family == 4) return fl_likely(g->destination.words[3] == ip->destination.words[3]);
    return fl_same_address(&g->destination, &ip->destination);
}

FL_INLINE __u64 fl_stage_flow_word(const struct fl_ip *ip) {
    return ip->ports | (ip->family == 4 ? (__u64)ip->source.words[3] << 32 : 0);
}

/* Looks the service of a plain packet up that is not the one before's. False: no service lists it. Apart from the burst's
 * loop, and from what it has in registers. */
static __attribute__((noinline)) int fl_stage_service(struct fl_engine *e, struct fl_stages *g,
                                                      const struct fl_packet p, __u8 family) {
    struct fl_stage_service *s = &g->service[g->services];
    const struct fl_vip *vip;
    enum fl_refusal refusal;
    struct fl_decision d;
    struct fl_ip ip;
    g->key = 0;
    if (g->services == FL_STAGE_PACKETS) return 0;
    ip.family = family;
    if (family == 4)
        fl_plain_destination4(&p, &ip);
    else if (!fl_plain_destination6(&p, &ip))
        return 0;
    fl_plain_place(fl_header_size(family), &ip);
    ip.ports = fl_load32((const __u8 *)p.data + ip.l4);
    d.vip = fl_find_vip(e, g->meta, &ip.destination, &vip);
    if (!d.vip) return 0;
    s->pool = fl_choose_pool(e, g->meta, &ip, vip, &d, &refusal);
    if (!s->pool) return 0;
    s->counter = fl_counter_at(e, fl_counter_index_service(e, d.service));
    s->slots = fl_read_id(&s->pool->slots);
    s->slots_at = fl_slots_at(e, s->slots);
    if (!s->counter || !s->slots_at) return 0;
    s->counted = s->syns = 0;
    s->pool_id = d.pool;
    s->pool_flags = fl_read_once(&s->pool->flags);
    s->protocol = ip.protocol;
    g->destination = ip.destination;
    g->key = FL_STAGE_KEY(&ip);
    g->flow = ~(__u64)ip.ports;
    g->last = s;
    g->mark = FL_LOOK_MARK(g->services, family);
    g->services++;
    return 1;
}

/* Fills look->hash; returns the look's word. */
FL_INLINE __u64 fl_stage_flow(struct fl_engine *e, struct fl_stages *g, const struct fl_packet *p,
                              const struct fl_ip *ip, struct fl_look *look) {
    const __u64 flow = fl_stage_flow_word(ip);
    __u64 affinity, word;
    __u32 slot;
    if (fl_unlikely(!fl_stage_same_service(g, ip))) {
        const struct fl_packet own = {p->data, p->end};
        if (!fl_stage_service(e, g, own, ip->family)) return 0;
    }
    if (fl_unlikely(fl_from_peer(g->meta, p) || ip->ttl <= 1)) return 0;
    word = FL_LOOK_WORD(0, ip->length, ip->tcp_flags, g->mark);
    if (g->flow == flow && (ip->family == 4 || fl_same_address(&g->source, &ip->source))) {
        look->hash = g->look->hash;
        if (!(ip->tcp_flags & FL_STAGE_TURNS)) word |= FL_LOOK_AGAIN;
        return word | FL_LOOK_SLOT(g->look->word);
    }
    look->hash = fl_hash_of(g->meta, ip, g->last->pool_flags, &affinity);
    slot = fl_slot_of(g->last->slots, affinity);
    fl_prefetch(&g->last->slots_at[slot]);
    g->flow = flow;
    if (ip->family == 6) g->source = ip->source;
    g->look = look;
    return word | slot;
}

FL_INLINE __u64 fl_stage_word(struct fl_engine *e, struct fl_stages *g, const struct fl_packet *p,
                              struct fl_look *look) {
    const struct fl_eth *eth = (const struct fl_eth *)p->data;
    const __u32 frame = fl_frame_length(e, p);
    struct fl_ip ip;
    if (fl_unlikely(!fl_plain_frame(p))) return 0;
    if (fl_likely(eth->type == fl_htons(FL_ETHERTYPE_IPV4))) {
        fl_plain_destination4(p, &ip);
        return fl_plain_headers4(p, frame, &ip) ? fl_stage_flow(e, g, p, &ip, look) : 0;
    }
    if (eth->type != fl_htons(FL_ETHERTYPE_IPV6)) return 0;
    return fl_plain_destination6(p, &ip) && fl_plain_headers6(p, frame, &ip) ? fl_stage_flow(e, g, p, &ip, look) : 0;
}

/* The first stage: headers, service, hash. */
FL_INLINE void fl_stage_headers(struct fl_engine *e, struct fl_stages *g, const struct fl_packet *p,
                                struct fl_look *look) {
    look->word = fl_stage_word(e, g, p, look);
}

/* The word of a packet's slot. */
FL_INLINE __u32 fl_stage_slot(const struct fl_stages *g, const struct fl_look *look) {
    return fl_read_id(&g->service[FL_LOOK_SERVICE(look->word)].slots_at[FL_LOOK_SLOT(look->word)]);
}

/* The second: the buckets that may hold the flow's pin are fetched, where it may have one. */
FL_INLINE void fl_stage_pins(struct fl_engine *e, const struct fl_stages *g, const struct fl_look *look) {
    __u64 hash;
    if (!(fl_stage_slot(g, look) & FL_SLOT_LOOKUP)) return;
    hash = fl_pin_hash(g->meta, look->hash);
    fl_prefetch(fl_pin_at(e, g->meta, hash, 0));
    fl_prefetch(fl_pin_at(e, g->meta, hash, FL_BUCKET_WORDS));
}

/* Apart from the burst's loop. */
static __attribute__((noinline)) int fl_make_adjacency_apart(struct fl_engine *e, const struct fl_meta *meta,
                                                             __u64 generation, __u32 index, struct fl_adjacency *a) {
    return fl_make_adjacency(e, meta, generation, index, a);
}

/* The adjacency of a backend. NULL: there is none to be had. */
FL_INLINE const struct fl_adjacency *fl_stage_adjacency(struct fl_engine *e, const struct fl_stages *g, __u32 index) {
    struct fl_adjacency *a = &g->adjacencies[index];
    if (fl_unlikely(index >= g->adjacency_count)) return 0; /* nobody, too: FL_NO_INDEX */
    if (fl_likely(a->generation == g->generation)) return a;
    return fl_make_adjacency_apart(e, g->meta, g->generation, index, a) ? a : 0;
}

/* The backend of a flow in a slot that is not settled: its global index, or FL_NO_INDEX. *lasts: the next packet of the flow
 * goes there too, if it ends nothing and begins nothing. Apart from the burst's loop. */
static __attribute__((noinline)) __u32 fl_stage_move(struct fl_engine *e, struct fl_stages *g,
                                                     const struct fl_look *look, __u32 slot_word, int *lasts) {
    const struct fl_stage_service *s = &g->service[FL_LOOK_SERVICE(look->word)];
    struct fl_decision d;
    struct fl_ip ip;
    __u32 index;
    g->moving = 1;
    ip.protocol = s->protocol;
    ip.tcp_flags = FL_LOOK_TCP_FLAGS(look->word);
    ip.silent = 0;
    d.slot_word = slot_word;
    d.hash = look->hash;
    d.pool = s->pool_id;
    index = fl_move(e, g->meta, s->pool, &ip, FL_SLOTS_BASE(s->slots) + FL_LOOK_SLOT(look->word), &d);
    *lasts = d.pinned == FL_PINNED_FOLLOWED && !(ip.tcp_flags & FL_STAGE_TURNS);
    return index;
}

/* By what a packet is forwarded. NULL: by nothing that the steady path has. */
FL_INLINE const struct fl_adjacency *fl_stage_way(struct fl_engine *e, struct fl_stages *g,
                                                  const struct fl_look *look) {
    const struct fl_pool *pool = g->service[FL_LOOK_SERVICE(look->word)].pool;
    const __u32 word = fl_stage_slot(g, look);
    const struct fl_adjacency *a;
    int lasts = 1;
    const __u32 index =
        fl_unlikely(word & FL_SLOT_LOOKUP) ? fl_stage_move(e, g, look, word, &lasts) : fl_settled_owner(pool, word);
    a = fl_stage_adjacency(e, g, index);
    if (fl_unlikely(!a || FL_LOOK_LENGTH(look->word) > a->most)) {
        if (word & FL_SLOT_LOOKUP) fl_keep_move(e);
        return 0;
    }
    g->before = lasts ? a : 0;
    return a;
}

/* The third: decides, all that fl_act_forward() and fl_stage_count() ask for. The packet is forwarded by what is returned;
 * NULL: it is for the long way, which begins anew. */
FL_INLINE const struct fl_adjacency *fl_stage_choose(struct fl_engine *e, struct fl_stages *g,
                                                     const struct fl_look *look, __u8 family, __u32 frame,
                                                     struct fl_decision *d) {
    const struct fl_adjacency *a = g->before;
    struct fl_ip ip;
    if (!(look->word & FL_LOOK_AGAIN) || !a || FL_LOOK_LENGTH(look->word) > a->most) {
        a = fl_stage_way(e, g, look);
        if (fl_unlikely(!a)) return 0;
    }
    ip.family = family;
    ip.protocol = 0;
    ip.tcp_flags = FL_LOOK_TCP_FLAGS(look->word);
    ip.length = FL_LOOK_LENGTH(look->word);
    ip.ports = 0;
    fl_plain_place(fl_header_size(family), &ip);
    fl_begin(d, frame);
    fl_plain_note(&ip, d);
    d->hash = look->hash;
    d->action = FL_ACTION_FORWARD;
    d->forward = a->backend.forward;
    d->outer = a->outer;
    d->destination_mac = a->destination_mac;
    d->source_mac = a->source_mac;
    d->port = a->port;
    return a;
}

/* A packet goes the long way, and may change where its flow goes. */
FL_INLINE void fl_stage_long(struct fl_stages *g) { g->before = 0; }

/* Counts a packet that fl_act_forward() is done with, as fl_count_decision() does. */
FL_INLINE void fl_stage_count(struct fl_engine *e, struct fl_stages *g, const struct fl_look *look,
                              const struct fl_adjacency *a, const struct fl_decision *d) {
    struct fl_stage_service *s = &g->service[FL_LOOK_SERVICE(look->word)];
    if (fl_unlikely(d->action != FL_ACTION_FORWARD)) return fl_count(e, d->reason, d->frame, 0);
    s->counted += FL_STAGE_PACKET + d->frame;
    if (fl_unlikely(d->syn)) s->syns++;
    fl_add_counts(a->counter, d->frame, d->syn);
}

#endif
