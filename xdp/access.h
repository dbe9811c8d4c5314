/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The core's access to tables that are BPF maps; dataplane/core/access.h says what is supplied. A look-up in an array
 * map is inlined by the verifier; on the steady path the only call is the one that makes head room (and, on kernels
 * before 6.10, where it is not inlined, the one that asks for the CPU's number). */
#ifndef FL_XDP_ACCESS_H
#define FL_XDP_ACCESS_H

#include "xdp/maps.h"

#include "dataplane/core/access.h"

struct fl_engine {
    struct xdp_md *ctx;
    __u32 beyond; /* bytes of the frame behind data_end, where it has several buffers */
};

/* Fixed when the program is loaded; the verifier folds them. */
const volatile __u32 fl_config_port;            /* number of the port that this program is attached to */
const volatile __u32 fl_config_counter_stride;  /* FL_COUNTER_STRIDE of the tables */
const volatile __u32 fl_config_counter_backend; /* FL_COUNTER_BACKEND of index 0 */
const volatile __u32 fl_config_frames;          /* not 0: loaded so that frames of several buffers come (xdp.frags) */
const volatile __u32 fl_config_exceptions; /* not 0: fl_exceptions is the port's own, and lb-dpdk may listen there */

#define FL_X(name_, type_, count_)                                     \
    FL_INLINE type_ *fl_at_##name_(struct fl_engine *e, __u32 index) { \
        (void)e;                                                       \
        return (type_ *)bpf_map_lookup_elem(&fl_##name_, &index);      \
    }
FL_TABLE_LIST(FL_X)
#undef FL_X

FL_INLINE __u32 fl_stride(struct fl_engine *e) {
    (void)e;
    return bpf_get_smp_processor_id();
}

FL_INLINE __u32 fl_counter_stride(struct fl_engine *e) {
    (void)e;
    return fl_config_counter_stride;
}

FL_INLINE __u32 fl_counter_index_service(struct fl_engine *e, __u32 id) {
    (void)e;
    return FL_REASONS_RESERVED + id;
}

FL_INLINE __u32 fl_counter_index_backend(struct fl_engine *e, __u32 index) {
    (void)e;
    return fl_config_counter_backend + index;
}

FL_INLINE __u32 fl_ingress_port(struct fl_engine *e) {
    (void)e;
    return fl_config_port;
}

/* A socket of lb-dpdk is bound to the queue that the packet came in by. */
FL_INLINE int fl_exceptions_taken(struct fl_engine *e) {
    __u32 queue = e->ctx->rx_queue_index;
    return fl_config_exceptions && bpf_map_lookup_elem(&fl_exceptions, &queue);
}

FL_INLINE int fl_only_looks(struct fl_engine *e) {
    (void)e;
    return 0;
}

FL_INLINE __u64 fl_now_ns(struct fl_engine *e) {
    (void)e;
    return bpf_ktime_get_ns();
}

FL_INLINE __u64 fl_now_coarse_ns(struct fl_engine *e) {
    (void)e;
    return bpf_ktime_get_coarse_ns();
}

/* Opaque, or clang takes the difference apart, which is not allowed with pointers. */
FL_INLINE __u32 fl_linear(const struct fl_packet *p) {
    __u64 length = (__u64)((__u8 *)p->end - (__u8 *)p->data);
    fl_opaque(length);
    return (__u32)length;
}

FL_INLINE __u32 fl_frame_length(struct fl_engine *e, const struct fl_packet *p) { return fl_linear(p) + e->beyond; }

FL_INLINE void fl_reload(struct fl_engine *e, struct fl_packet *p) {
    p->data = (void *)(long)e->ctx->data;
    p->end = (void *)(long)e->ctx->data_end;
}

/* The packet at hand. bpf_xdp_get_buff_len() is there since Linux 5.18. */
FL_INLINE void fl_open(struct fl_engine *e, struct xdp_md *ctx, struct fl_packet *p) {
    e->ctx = ctx;
    e->beyond = 0;
    fl_reload(e, p);
    if (fl_config_frames) e->beyond = (__u32)bpf_xdp_get_buff_len(ctx) - fl_linear(p);
}

FL_INLINE int fl_resize(struct fl_engine *e, struct fl_packet *p, int head, __u32 length) {
    int tail = (int)length - (int)fl_frame_length(e, p) - head;
    if (head && bpf_xdp_adjust_head(e->ctx, -head)) return -1;
    if (tail && bpf_xdp_adjust_tail(e->ctx, tail)) return -1;
    fl_reload(e, p);
    return 0;
}

#include "dataplane/core/parse.h"

/* One for each CPU, and one packet at a time on each: a program runs to its end before the next begins. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct fl_scratch);
} fl_scratches SEC(".maps");

FL_INLINE struct fl_scratch *fl_scratch(struct fl_engine *e) {
    __u32 zero = 0;
    (void)e;
    return (struct fl_scratch *)bpf_map_lookup_elem(&fl_scratches, &zero);
}

/* The parser as functions that the verifier looks at once, whatever they are called with. They write to the scratch that
 * the caller sees, and do not move the packet. */
__attribute__((noinline)) int fl_parse_frame_apart(struct xdp_md *ctx) {
    struct fl_engine e;
    struct fl_packet p;
    struct fl_scratch *s = fl_scratch(&e);
    if (!s) return 0;
    fl_open(&e, ctx, &p);
    fl_parse_frame_step(&p, fl_frame_length(&e, &p), &s->frame);
    return 0;
}

__attribute__((noinline)) int fl_parse_ip_apart(struct xdp_md *ctx, __u32 place, __u32 family, __u32 at, __u32 limit) {
    struct fl_engine e;
    struct fl_packet p;
    struct fl_scratch *s = fl_scratch(&e);
    if (!s) return 0;
    fl_open(&e, ctx, &p);
    fl_parse_ip_step(&p, (enum fl_place)place, (__u8)family, at, limit, place == FL_PLACE_IP ? &s->ip : &s->inner);
    return 0;
}

#include "dataplane/core/pins.h"

__attribute__((noinline)) int fl_insert_pin_apart(__u64 hash, __u32 backend, __u32 state) {
    struct fl_engine e;
    const struct fl_meta *meta = fl_at_meta(&e, 0);
    return meta ? fl_insert_pin_step(&e, meta, hash, backend, state) : 0;
}

FL_INLINE int fl_insert_pin(struct fl_engine *e, const struct fl_meta *meta, __u64 hash, __u32 backend, __u32 state) {
    (void)e;
    (void)meta;
    return fl_insert_pin_apart(hash, backend, state);
}

FL_INLINE __u32 fl_run_move(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m);

#include "dataplane/core/transition.h"

/* Of the move in the scratch. (A function must use what it is called with, or clang does not pass it.) */
__attribute__((noinline)) int fl_move_apart(__u64 hash) {
    struct fl_engine e;
    const struct fl_meta *meta = fl_at_meta(&e, 0);
    struct fl_scratch *s = fl_scratch(&e);
    if (s) s->move.hash = hash;
    return meta && s ? (int)fl_move_step(&e, meta, &s->move) : (int)FL_NO_INDEX;
}

FL_INLINE __u32 fl_run_move(struct fl_engine *e, const struct fl_meta *meta, struct fl_move *m) {
    (void)e;
    (void)meta;
    return (__u32)fl_move_apart(m->hash);
}

#include "dataplane/core/capture.h"

/* Of the packet at hand and the decision in the scratch. */
__attribute__((noinline)) int fl_capture_apart(struct xdp_md *ctx, __u32 stage, __u32 verdict, __u32 port) {
    const struct fl_capture_moment moment = {(__u8)stage, (__u8)verdict, (__u16)port};
    struct fl_engine e;
    struct fl_packet p;
    struct fl_scratch *s = fl_scratch(&e);
    if (!s) return 0;
    fl_open(&e, ctx, &p);
    fl_capture_step(&e, &p, &s->decision, s, moment);
    return 0;
}

FL_INLINE void fl_capture(struct fl_engine *e, const struct fl_packet *p, const struct fl_decision *d,
                          struct fl_scratch *s, struct fl_capture_moment moment) {
    (void)p;
    (void)d;
    (void)s;
    fl_capture_apart(e->ctx, moment.stage, moment.verdict, moment.port);
}

FL_INLINE void fl_parse_frame(struct fl_engine *e, const struct fl_packet *p, struct fl_scratch *s) {
    (void)p;
    (void)s;
    fl_parse_frame_apart(e->ctx);
}

FL_INLINE void fl_parse_ip(struct fl_engine *e, const struct fl_packet *p, struct fl_scratch *s, enum fl_place place,
                           __u8 family, __u32 at, __u32 limit) {
    (void)p;
    (void)s;
    fl_parse_ip_apart(e->ctx, place, family, at, limit);
}

#endif
