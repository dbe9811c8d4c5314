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
};

/* Fixed when the program is loaded; the verifier folds them. */
const volatile __u32 fl_config_port;            /* number of the port that this program is attached to */
const volatile __u32 fl_config_counter_stride;  /* FL_COUNTER_STRIDE of the tables */
const volatile __u32 fl_config_counter_backend; /* FL_COUNTER_BACKEND of index 0 */

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

FL_INLINE __u64 fl_now_ns(struct fl_engine *e) {
    (void)e;
    return bpf_ktime_get_ns();
}

FL_INLINE __u64 fl_now_coarse_ns(struct fl_engine *e) {
    (void)e;
    return bpf_ktime_get_coarse_ns();
}

FL_INLINE int fl_resize(struct fl_engine *e, struct fl_packet *p, int head, __u32 length) {
    int tail = (int)length - (int)(__u32)((__u8 *)p->end - (__u8 *)p->data) - head;
    if (head && bpf_xdp_adjust_head(e->ctx, -head)) return -1;
    if (tail && bpf_xdp_adjust_tail(e->ctx, tail)) return -1;
    p->data = (void *)(long)e->ctx->data;
    p->end = (void *)(long)e->ctx->data_end;
    return 0;
}

#endif
