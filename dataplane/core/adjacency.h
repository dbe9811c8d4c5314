/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An adjacency: all that the tables say of the way to one backend, worked out once. An engine with memory of its own keeps
 * one for each backend and port of entry, so that a packet reads one line instead of the backend's, its next hop's and two
 * ports'. It is good for as long as fl_meta.adjacency_generation stands where it stood when the burst began. */
#ifndef FL_ADJACENCY_H
#define FL_ADJACENCY_H

#include "dataplane/core/choose.h"
#include "dataplane/core/count.h"

struct fl_adjacency {
    __u64 generation; /* fl_generation() that it was made in; 0 = empty */
    __u64 destination_mac, source_mac;
    struct fl_counter *counter; /* this worker's, of the backend */
    __u16 most;                 /* bytes of the largest IP packet that fits */
    __u16 port;                 /* to transmit by */
    __u8 outer;                 /* as in fl_decision */
    __u8 reserved[3];
    struct fl_backend backend; /* its constant part; the address is still in the first line */
    __u64 reserved64[3];
};
FL_ASSERT(sizeof(struct fl_adjacency) == 128, "adjacency");

/* Never 0. Whoever sees this number sees what was stored before the controller raised it. */
FL_INLINE __u64 fl_generation(const struct fl_meta *meta) { return fl_read_id(&meta->adjacency_generation) + 1; }

/* Fills *a for the backend with this global index. False: not every packet to it is simply forwarded, without a tag and by
 * the way that *a could say. */
FL_INLINE int fl_make_adjacency(struct fl_engine *e, const struct fl_meta *meta, __u64 generation, __u32 index,
                                struct fl_adjacency *a) {
    const struct fl_backend *backend = fl_at_backends(e, index);
    struct fl_ip any = {};
    struct fl_decision d;
    a->generation = 0;
    a->counter = fl_counter_at(e, fl_counter_index_backend(e, index));
    if (!backend || !a->counter) return 0;
    any.ttl = 2; /* the least that is forwarded */
    fl_begin(&d, 0);
    fl_choose_path(e, meta, &any, backend, &d);
    if (d.action != FL_ACTION_FORWARD || d.tags) return 0;
    a->destination_mac = d.destination_mac;
    a->source_mac = d.source_mac;
    a->most = (__u16)fl_most_to(fl_read_once(&backend->state), fl_overhead(d.forward, d.outer));
    a->port = d.port;
    a->outer = d.outer;
    a->backend.address = backend->address;
    a->backend.gue_port = backend->gue_port;
    a->backend.forward = d.forward;
    a->generation = generation;
    return 1;
}

#endif
