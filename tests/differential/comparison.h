// SPDX-License-Identifier: Apache-2.0
// Engines held against plain memory: the same frames over tables that were filled alike must end alike, in verdict, in each
// byte and in each counter. Exceptions, which an engine may finish on purpose, are kept from it and counted; plain memory steers
// them by that engine's tables, as the XDP program in front of it would, so that what they leave there is left there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tables/grace.h"
#include "dataplane/tables/writer.h"
#include "tests/support/steer_engine.h"

namespace fairlead::test {

using Frame = std::vector<std::uint8_t>;

// One bit that is other for one of the engines, to see that it would be seen.
struct PlantedFault {
    enum class Where { kFrame, kTables };
    Where where;
    std::size_t side;  // number of the engine; plain memory is 0
};

// How often each way of ending was met: by "verdict", by "encapsulation", by "reason"; and what was kept from an engine that
// finishes exceptions, by "exception".
using Tally = std::map<std::string, std::map<std::string, std::uint64_t>>;

class Comparison {
  public:
    using Fill = std::function<void(tables::TableWriter&)>;

    // Plain memory and these engines, which outlive it. `tally` goes on from one comparison to the next.
    Comparison(const std::vector<SteerEngine*>& engines, const fl_limits& limits, const Fill& fill, bool unwrap_only,
               Tally& tally);
    ~Comparison();

    // The same change in all tables.
    void change(const Fill& change);
    void plant(const PlantedFault& fault);

    // "" or what differs, of frames that arrive together (at most SteerEngine::kMostAtOnce).
    std::string run(std::span<const Frame> frames);
    // "" or which counters differ. Looks at all of them.
    std::string compare_counters() const;
    // Packets, bytes and SYNs by index within a stride, of plain memory.
    std::vector<std::uint64_t> counters() const;

  private:
    struct Side;
    std::string run_side(std::size_t number, std::span<const Frame> frames, std::span<const Steered> expected,
                         std::uint64_t now_ns);
    std::string run_part(Side& side, SteerEngine& engine, std::span<const Frame> frames,
                         std::span<const Steered> expected, std::uint64_t now_ns);
    void count(const Steered& expected);

    std::vector<std::unique_ptr<Side>> sides_;
    bool unwrap_only_;
    Tally& tally_;
    std::optional<PlantedFault> fault_;
};

std::string dump(const Frame& frame);

// From FAIRLEAD_SEED, FAIRLEAD_FRAMES and the like.
std::uint64_t environment(const char* name, std::uint64_t otherwise);

const char* reason_name(fl_reason reason);

}  // namespace fairlead::test
