/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The shared tables as BPF maps (DESIGN section 4), one for each entry of FL_TABLE_LIST that a program touches, and what
 * only the kernel side has. The loader replaces the arrays by the pinned ones before the program is loaded; sizes here
 * only let the object stand alone. */
#ifndef FL_XDP_MAPS_H
#define FL_XDP_MAPS_H

#include <linux/bpf.h>

#include "dataplane/core/layout.h"

#include <bpf/bpf_helpers.h>

#define FL_X(name_, type_, count_)         \
    struct {                               \
        __uint(type, BPF_MAP_TYPE_ARRAY);  \
        __uint(map_flags, BPF_F_MMAPABLE); \
        __uint(max_entries, 1);            \
        __type(key, __u32);                \
        __type(value, type_);              \
    } fl_##name_ SEC(".maps");
FL_TABLE_LIST(FL_X)
#undef FL_X

/* Port number -> interface to transmit by, where that is not the one the packet came in by. */
struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u32);
} fl_devices SEC(".maps");

/* Receive queue -> socket of lb-dpdk, of one interface. */
struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, FL_MAX_QUEUES);
    __type(key, __u32);
    __type(value, __u32);
} fl_exceptions SEC(".maps");

#endif
