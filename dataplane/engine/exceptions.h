// SPDX-License-Identifier: Apache-2.0
// What the core cannot finish by itself, and an engine with memory of its own can: later fragments that came before their
// first wait for it, and IPv4 packets that are too big for a tunnel, and may be, are fragmented. Fragments are never put
// together: they leave as they came.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace fairlead::engine {

// Later fragments whose first has not come by, oldest first. Belongs to one worker, and owns the frames that it holds. Its
// bounds are what an outsider can make it hold: a worker's fragments are at most a few percent of the buffers.
class HeldFragments {
  public:
    static constexpr std::uint32_t kMost = 512;
    static constexpr std::uint32_t kMostBytes = 1 << 20;
    // Fragments of one datagram are sent at once and overtake each other by milliseconds; longer has no use.
    static constexpr std::uint64_t kPatienceNs = 1'000'000'000;

    struct Held {
        rte_mbuf* frame = nullptr;
        std::uint32_t port = 0;  // that it came in by, in the tables
        std::uint64_t until_ns = 0;
    };

    HeldFragments() = default;
    HeldFragments(const HeldFragments&) = delete;
    HeldFragments& operator=(const HeldFragments&) = delete;
    ~HeldFragments() {
        revisit([](const Held& held) {
            rte_pktmbuf_free(held.frame);
            return false;
        });
    }

    bool empty() const { return count_ == 0; }

    // The oldest, which is the caller's now, if a frame of this many bytes finds no room beside it. Ask until there is none.
    std::optional<Held> give_way(std::uint32_t bytes) {
        if (empty() || (count_ < kMost && bytes_ + bytes <= kMostBytes)) return std::nullopt;
        const Held oldest = held_[first_];
        bytes_ -= rte_pktmbuf_pkt_len(oldest.frame);
        first_ = (first_ + 1) % kMost;
        count_--;
        return oldest;
    }

    // After give_way() has said that there is room.
    void add(rte_mbuf* frame, std::uint32_t port, std::uint64_t now_ns) {
        held_[(first_ + count_++) % kMost] = {frame, port, now_ns + kPatienceNs};
        bytes_ += rte_pktmbuf_pkt_len(frame);
    }

    // Asks stays(held) about each, the oldest first. One that does not stay has become the asked one's.
    template <typename Stays>
    void revisit(Stays&& stays) {
        std::uint32_t kept = 0;
        for (std::uint32_t i = 0; i < count_; i++) {
            const Held held = held_[(first_ + i) % kMost];
            const std::uint32_t bytes = rte_pktmbuf_pkt_len(held.frame);
            if (stays(held))
                held_[(first_ + kept++) % kMost] = held;
            else
                bytes_ -= bytes;
        }
        count_ = kept;
    }

  private:
    std::array<Held, kMost> held_;
    std::uint32_t first_ = 0;
    std::uint32_t count_ = 0;
    std::uint32_t bytes_ = 0;
};

// Of a frame of a jumbo's size, over a link of IPv6's least MTU: and more than enough.
inline constexpr std::uint16_t kMostPieces = 16;

// Fragments the IPv4 packet of `length` bytes behind the first `l3` bytes of a frame, so that none of its pieces is of more
// than `mtu` bytes of IP (RFC 791 section 3.2). Each piece is a frame with the same front, in one segment, and the caller's;
// the frame itself is freed. 0: it could not be, and the frame is as it was.
std::uint16_t cut_to_fit(rte_mbuf* frame, std::uint16_t l3, std::uint32_t length, std::uint16_t mtu, rte_mempool* pool,
                         std::span<rte_mbuf*, kMostPieces> pieces);

}  // namespace fairlead::engine
