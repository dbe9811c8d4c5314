/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the including engine supplies to the core, at compile time; no function pointers.
 *
 * Before any other core header an engine includes its own access header, which defines `struct fl_engine` (its
 * per-packet or per-burst context) and these, all static __always_inline:
 *
 *   struct X *fl_at_NAME(struct fl_engine *e, __u32 index)   for each table of FL_TABLE_LIST: the element, or NULL when
 *                                                            the index is not in the table
 *   __u32 fl_stride(struct fl_engine *e)                     this CPU's or worker's stride of counters and throttles
 *   __u32 fl_counter_index_service(e, id), fl_counter_index_backend(e, index), fl_counter_stride(e)
 *   __u32 fl_ingress_port(struct fl_engine *e)               port number that the packet came in by
 *   __u64 fl_now_ns(struct fl_engine *e)                     CLOCK_MONOTONIC, precise: compared with roles
 *   __u64 fl_now_coarse_ns(struct fl_engine *e)              the same clock, at most a tick old: stamps, throttles
 *   int fl_exceptions_taken(struct fl_engine *e)             true: lb-dpdk takes what this engine hands over
 *   int fl_only_looks(struct fl_engine *e)                   true: nothing is to be written but throttles
 *   __u32 fl_frame_length(e, p)                              bytes of the frame, with what lies in further buffers
 *   int fl_resize(struct fl_engine *e, struct fl_packet *p, int head, __u32 length)
 *       moves the packet's start by `head` bytes (positive = room in front, negative = cut) and makes its length
 *       `length` bytes; refreshes p->data and p->end; 0, or -1 with the packet unusable.
 *   struct fl_scratch *fl_scratch(struct fl_engine *e)       room for what is worked out about one packet, or NULL
 *   void fl_parse_frame(e, p, s), void fl_parse_ip(e, p, s, place, family, at, limit)
 *       the steps of dataplane/core/parse.h, which an engine may run inline or as functions of their own (the BPF
 *       verifier then looks at them once, and not at each place that they are used).
 *   int fl_insert_pin(e, meta, hash, backend, state)         likewise, of dataplane/core/pins.h
 *   __u32 fl_run_move(e, meta, m)                            likewise, of dataplane/core/transition.h; m is the scratch's
 *   void fl_capture(e, p, d, s, moment)                      likewise, of dataplane/core/capture.h; of a packet that is
 *                                                            finished with its decision in the scratch, where apart
 *
 * xdp/access.h (BPF maps) and dataplane/tables/memory_access.h (mapped memory: DPDK, tests, lbctl) are the two there
 * are. */
#ifndef FL_ACCESS_H
#define FL_ACCESS_H

#include "dataplane/core/layout.h"

/* A frame from its Ethernet header on. All headers that matter lie in one piece, from data to end; where a driver hands
 * out several buffers, what follows `end` is only counted (fl_frame_length). */
struct fl_packet {
    void *data;
    void *end;
};

/* True when `length` bytes from `at` lie inside the packet. The verifier learns the bound from this comparison. */
#define fl_inside(p, at, length) ((__u8 *)(at) + (length) <= (__u8 *)(p)->end)

/* The same of what lengths have shown to be inside already: the verifier must see it once more, others need not look, for
 * their frames are in one piece (fl_frame_length() is what lies between data and end). */
#ifdef __bpf__
#define fl_still_inside(p, at, length) fl_inside(p, at, length)
#else
#define fl_still_inside(p, at, length) ((void)(p), (void)(at), 1)
#endif

#endif
