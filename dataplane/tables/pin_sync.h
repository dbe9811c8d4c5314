// SPDX-License-Identifier: Apache-2.0
// Pins on their way from one balancer's table to another's (DESIGN section 8): which of an active one's are new, and how a
// standby keeps what it is told. Engines use the pins meanwhile. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "dataplane/tables/tables.h"

namespace fairlead::tables {

// Pins are looked at by groups of FL_DIRTY_BUCKETS buckets: as many as one dirty byte stands for.
std::uint32_t pin_groups(const Tables& tables);

// Where engines confirmed a pin or saw its connection end since it was taken. Ordering: an engine sets the byte after it
// has changed the word, so that who takes the byte first and reads the words then misses nothing.
class DirtyPins {
  public:
    explicit DirtyPins(Tables& tables) : tables_(tables) {}

    // Appends groups, and takes them: looks at `budget` bytes at most, going round.
    void take(std::uint32_t budget, std::vector<std::uint32_t>& groups);

  private:
    Tables& tables_;
    std::uint32_t next_ = 0;
};

inline constexpr std::uint64_t kPinUnitNs = 1ULL << 32;  // of a pin's time

// A word of a bucket (dataplane/core/pins.h), and what it says.
struct PinSeen {
    std::uint32_t bucket = 0;
    std::uint64_t word = 0;
    std::uint32_t signature = 0;
    std::uint32_t backend = 0;  // global index
    std::uint32_t state = 0;    // enum fl_pin_state
    std::uint32_t age = 0;      // in units of a pin's time
};
// Appends those of a group that a standby is to have: confirmed or closing ones, of a backend that is there and not dead,
// not expired. `now_ns`: CLOCK_MONOTONIC, as all that follow.
void pins_to_tell(Tables& tables, std::uint32_t group, std::uint64_t now_ns, std::vector<PinSeen>& pins);

// Puts a pin that another node has: in the place of one of that signature in either of its buckets, else where
// fl_pin_room() says. `backend`: global index; `age` in units of a pin's time. Which place that is, counted through the
// whole table; none: there is no room.
std::optional<std::uint64_t> put_pin(Tables& tables, std::uint32_t bucket, std::uint32_t signature,
                                     std::uint32_t backend, std::uint32_t state, std::uint32_t age,
                                     std::uint64_t now_ns);

// Which places were told of since a stream began; what was not, and belongs to a pool that follows that stream, goes when
// the stream has told all. A bit a place.
class PinMarks {
  public:
    explicit PinMarks(const Tables& tables);
    void clear();
    void mark(std::uint64_t place);
    // Takes away what is not marked, of backends of which `follows` (by pool id) is true, by compare-and-exchange; at most
    // `groups` groups from `from` on. How many went.
    std::uint64_t sweep(Tables& tables, std::uint32_t from, std::uint32_t groups,
                        const std::function<bool(std::uint32_t pool)>& follows);

  private:
    bool is_marked(std::uint64_t place) const;

    std::vector<std::uint64_t> bits_;
};

}  // namespace fairlead::tables
