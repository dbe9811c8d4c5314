// SPDX-License-Identifier: Apache-2.0
#include "dataplane/engine/exceptions.h"

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_ip_frag.h>

#include <cstring>

namespace fairlead::engine {
namespace {
constexpr std::uint16_t kMostFront = 64;  // Ethernet and its tags
constexpr std::uint16_t kLeastMtu = 68;   // RFC 791 section 3.2: every module must forward so much unfragmented

// A piece comes as its header and a reference to the frame's bytes: puts it into one segment, with its checksum and front.
bool complete(rte_mbuf* piece, std::span<const std::uint8_t> front) {
    if (rte_pktmbuf_linearize(piece) != 0) return false;
    auto* header = rte_pktmbuf_mtod(piece, rte_ipv4_hdr*);
    header->hdr_checksum = 0;
    header->hdr_checksum = rte_ipv4_cksum(header);
    piece->ol_flags = 0;
    char* start = rte_pktmbuf_prepend(piece, static_cast<std::uint16_t>(front.size()));
    if (start) std::memcpy(start, front.data(), front.size());
    return start != nullptr;
}
}  // namespace

std::uint16_t cut_to_fit(rte_mbuf* frame, std::uint16_t l3, std::uint32_t length, std::uint16_t mtu, rte_mempool* pool,
                         std::span<rte_mbuf*, kMostPieces> pieces) {
    if (l3 > kMostFront || mtu < kLeastMtu || rte_pktmbuf_data_len(frame) < l3 + length) return 0;
    std::array<std::uint8_t, kMostFront> bytes;
    std::memcpy(bytes.data(), rte_pktmbuf_mtod(frame, void*), l3);
    const std::span<const std::uint8_t> front(bytes.data(), l3);
    // What pads the frame is no part of the packet.
    rte_pktmbuf_trim(frame, static_cast<std::uint16_t>(rte_pktmbuf_data_len(frame) - l3 - length));
    rte_pktmbuf_adj(frame, l3);
    int made = rte_ipv4_fragment_packet(frame, pieces.data(), kMostPieces, mtu, pool, pool);
    bool whole = made > 0;
    for (int i = 0; i < made; i++) whole = complete(pieces[static_cast<std::size_t>(i)], front) && whole;
    if (whole) {
        rte_pktmbuf_free(frame);
        return static_cast<std::uint16_t>(made);
    }
    for (int i = 0; i < made; i++) rte_pktmbuf_free(pieces[static_cast<std::size_t>(i)]);
    rte_pktmbuf_prepend(frame, l3);  // over the bytes that are there still
    return 0;
}

}  // namespace fairlead::engine
