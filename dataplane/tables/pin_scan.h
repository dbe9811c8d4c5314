// SPDX-License-Identifier: Apache-2.0
// The controller's way round the pins (dataplane/core/pins.h): takes away what is expired or void, by compare-and-exchange,
// so that an engine's touch wins, and counts what stays. A call looks at so many buckets and no more, so that 2^26 pins
// stall nobody. One thread; engines use the pins meanwhile.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include "dataplane/tables/tables.h"

namespace fairlead::tables {

struct PinCounts {
    std::array<std::uint64_t, 4> by_state{};  // enum fl_pin_state; free places among them
    std::uint64_t expired = 0;                // taken away, void ones among them
    std::vector<std::uint32_t> by_backend;    // by global index, as many as there are backends in the tables

    std::uint64_t used() const {
        return by_state[FL_PIN_PROBATION] + by_state[FL_PIN_CONFIRMED] + by_state[FL_PIN_CLOSING];
    }
};

class PinScan {
  public:
    // `tables` must outlive it and not move.
    explicit PinScan(Tables& tables);

    // Goes on, up to the end of the table, by at most `buckets`. `now_ns`: CLOCK_MONOTONIC, coarse or not, not older than two
    // minutes.
    void run(std::uint32_t buckets, std::uint64_t now_ns);

    // Pools, by id, whose pins do not age: instead of being taken away they are given the present time, but for void ones,
    // and for those on probation, which nobody but this node's engines makes and a flood would fill the table with. A pool
    // that is held no more keeps that until the next scan to begin is done: so no pin of it is found expired for the time
    // that it was held.
    void hold(const std::set<std::uint32_t>& pools);
    bool holds() const;  // any, those that are held no more but keep it yet among them

    // Complete scans begun and ended since this object was made; differ by one in the middle of a scan.
    std::uint64_t begun() const { return begun_; }
    std::uint64_t done() const { return done_; }

    // What the last complete scan found; of a table that others change meanwhile, and so of no one moment.
    const PinCounts& counts() const { return complete_; }

    std::uint32_t buckets() const;

  private:
    void look_at(fl_engine& engine, fl_pin_bucket& bucket, std::uint32_t now);
    bool is_held(std::uint64_t word) const;
    void begin();

    Tables& tables_;
    PinCounts complete_, present_;
    std::uint64_t begun_ = 0, done_ = 0;
    std::uint32_t next_ = 0;
    std::vector<std::uint64_t>
        held_through_;  // by pool id: the last scan to hold its pins in, counted as begun_; 0: none
};

}  // namespace fairlead::tables
