// SPDX-License-Identifier: Apache-2.0
// The core's packet access for DPDK's buffers: a packet is an mbuf, and room for an outer header is its headroom.
// To be included before anything else that brings dataplane/tables/memory_access.h in.
#pragma once

#if (defined(FL_MEMORY_ACCESS_H) || defined(FL_PARSE_H)) && !defined(FL_MEMORY_OWN_RESIZE)
#error "include dataplane/engine headers first: the packet access of memory_access.h is chosen by who comes first"
#endif
#define FL_MEMORY_OWN_RESIZE

// No verifier limits how far a chain of IPv6 extension headers is followed here: twice as many bytes, of what a tunnel carries
// or an ICMP error quotes too, are what an offset can reach (FL_OFFSET_MASK).
#define FL_MAX_EXTENSIONS 64
#define FL_MAX_EXTENSION_BYTES 896

#include <rte_mbuf.h>

#include <cstddef>
#include <cstdint>

#include "dataplane/tables/memory_access.h"

namespace fairlead::engine {

// A view of one mbuf in one segment. Does not own it.
struct MbufPacket : fl_packet {
    __rte_always_inline explicit MbufPacket(rte_mbuf* buffer) : fl_packet{}, mbuf(buffer) { refresh(); }

    __rte_always_inline void refresh() {
        data = rte_pktmbuf_mtod(mbuf, void*);
        end = static_cast<char*>(data) + rte_pktmbuf_data_len(mbuf);
    }

    rte_mbuf* mbuf;
};

// rte_pktmbuf_prepend() for one segment; the compiler keeps that one out of line, and each tunnelled packet comes by.
__rte_always_inline bool grow_head(rte_mbuf* mbuf, std::uint16_t bytes) {
    if (bytes > rte_pktmbuf_headroom(mbuf)) return false;
    mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off - bytes);
    // Both lengths by one store; what has room in front fits a buffer, whose size is 16 bits, so nothing is carried over.
    static_assert(offsetof(rte_mbuf, data_len) == offsetof(rte_mbuf, pkt_len) + sizeof(std::uint32_t));
    auto* lengths = reinterpret_cast<unsigned char*>(mbuf) + offsetof(rte_mbuf, pkt_len);
    fl_store64(lengths, fl_load64(lengths) + (bytes | std::uint64_t{bytes} << 32));
    return true;
}

}  // namespace fairlead::engine

FL_INLINE int fl_resize(fl_engine*, fl_packet* packet, int head, __u32 length) {
    auto* own = static_cast<fairlead::engine::MbufPacket*>(packet);
    const __u32 had = static_cast<__u32>(static_cast<char*>(own->end) - static_cast<char*>(own->data));
    if (head > 0 && !fairlead::engine::grow_head(own->mbuf, static_cast<std::uint16_t>(head))) return -1;
    if (head < 0 && !rte_pktmbuf_adj(own->mbuf, static_cast<std::uint16_t>(-head))) return -1;
    own->data = static_cast<char*>(own->data) - head;
    if (fl_likely(length == had + static_cast<__u32>(head))) return 0;
    if (length > UINT16_MAX) return -1;
    const __u32 have = rte_pktmbuf_data_len(own->mbuf);
    if (length > have && !rte_pktmbuf_append(own->mbuf, static_cast<std::uint16_t>(length - have))) return -1;
    if (length < have && rte_pktmbuf_trim(own->mbuf, static_cast<std::uint16_t>(have - length))) return -1;
    own->refresh();
    return 0;
}

#include "dataplane/core/stages.h"
