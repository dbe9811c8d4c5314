/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The core's access to tables in ordinary memory: mapped BPF arrays or anonymous ones. Used by the DPDK engine, unit
 * tests, fuzz targets and `lbctl explain`. C and C++. An fl_engine belongs to one thread; the tables may be shared. */
#ifndef FL_MEMORY_ACCESS_H
#define FL_MEMORY_ACCESS_H

#include "dataplane/core/access.h"
#include "dataplane/core/parse.h"

enum fl_table {
#define FL_X(name, type, count) FL_TABLE_##name,
    FL_TABLE_LIST(FL_X)
#undef FL_X
        FL_TABLE_COUNT
};

struct fl_memory {
    void *base[FL_TABLE_COUNT];
    __u32 count[FL_TABLE_COUNT]; /* elements */
    struct fl_limits limits;
};

struct fl_engine {
    const struct fl_memory *memory;
    __u32 stride;
    __u32 ingress_port;
    __u64 now_ns; /* the caller stores both clocks once a burst, or fixes them in a test */
    __u64 now_coarse_ns;
    __u32 headroom; /* bytes before, and room after, the packet that fl_resize may use */
    __u32 tailroom;
    __u8 only_looks; /* of `lbctl explain`: no pin, no stamp is written */
    __u8 hands_over; /* as if there were an lb-dpdk behind */
    struct fl_scratch scratch;
};

/* Array elements have the stride of their size rounded up to 8 bytes, as in the kernel (LAB: "Kernel"). */
#define FL_ELEMENT_STRIDE(type) ((sizeof(type) + 7) & ~(__kernel_size_t)7)

#define FL_X(name, type, count_)                                                                                      \
    FL_INLINE type *fl_at_##name(struct fl_engine *e, __u32 index) {                                                  \
        if (index >= e->memory->count[FL_TABLE_##name]) return (type *)0;                                             \
        return (type *)((char *)e->memory->base[FL_TABLE_##name] + (__kernel_size_t)index * FL_ELEMENT_STRIDE(type)); \
    }
FL_TABLE_LIST(FL_X)
#undef FL_X

FL_INLINE __u32 fl_stride(struct fl_engine *e) { return e->stride; }
FL_INLINE __u32 fl_counter_stride(struct fl_engine *e) { return FL_COUNTER_STRIDE(&e->memory->limits); }
FL_INLINE __u32 fl_counter_index_service(struct fl_engine *e, __u32 id) {
    (void)e;
    return FL_COUNTER_SERVICE(&e->memory->limits, id);
}
FL_INLINE __u32 fl_counter_index_backend(struct fl_engine *e, __u32 index) {
    return FL_COUNTER_BACKEND(&e->memory->limits, index);
}
FL_INLINE __u32 fl_ingress_port(struct fl_engine *e) { return e->ingress_port; }
FL_INLINE int fl_only_looks(struct fl_engine *e) { return e->only_looks; }
FL_INLINE int fl_exceptions_taken(struct fl_engine *e) { return e->hands_over; }
FL_INLINE __u64 fl_now_ns(struct fl_engine *e) { return e->now_ns; }
FL_INLINE __u64 fl_now_coarse_ns(struct fl_engine *e) { return e->now_coarse_ns; }
FL_INLINE __u32 fl_frame_length(struct fl_engine *e, const struct fl_packet *p) {
    (void)e;
    return (__u32)((__u8 *)p->end - (__u8 *)p->data);
}
FL_INLINE struct fl_scratch *fl_scratch(struct fl_engine *e) { return &e->scratch; }
FL_INLINE void fl_parse_frame(struct fl_engine *e, const struct fl_packet *p, struct fl_scratch *s) {
    fl_parse_frame_step(p, fl_frame_length(e, p), &s->frame);
}
FL_INLINE void fl_parse_ip(struct fl_engine *e, const struct fl_packet *p, struct fl_scratch *s, enum fl_place place,
                           __u8 family, __u32 at, __u32 limit) {
    (void)e;
    fl_parse_ip_step(p, place, family, at, limit, place == FL_PLACE_IP ? &s->ip : &s->inner);
}

#include "dataplane/core/pins.h"

FL_INLINE int fl_insert_pin(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 backend, __u32 state) {
    return fl_insert_pin_step(e, meta, hash, backend, state);
}

FL_INLINE __u32 fl_run_move(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m);

#include "dataplane/core/transition.h"

FL_INLINE __u32 fl_run_move(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m) {
    return fl_move_step(e, meta, m);
}

#include "dataplane/core/capture.h"

FL_INLINE void fl_capture(struct fl_engine *e, const struct fl_packet *p, const struct fl_decision *d,
                          struct fl_scratch *s, struct fl_capture_moment moment) {
    fl_capture_step(e, p, d, s, moment);
}

/* An engine whose packets live elsewhere (DPDK's mbufs) defines FL_MEMORY_OWN_RESIZE and its own fl_resize. */
#ifndef FL_MEMORY_OWN_RESIZE
FL_INLINE int fl_resize(struct fl_engine *e, struct fl_packet *p, int head, __u32 length) {
    __u32 have = (__u32)((__u8 *)p->end - (__u8 *)p->data);
    if (head > 0 && (__u32)head > e->headroom) return -1;
    if (head < 0 && (__u32)-head > have) return -1;
    p->data = (__u8 *)p->data - head;
    e->headroom -= (__u32)head;
    have += (__u32)head;
    if (length > have && length - have > e->tailroom) return -1;
    e->tailroom -= length - have;
    p->end = (__u8 *)p->data + length;
    return 0;
}
#endif

#endif
