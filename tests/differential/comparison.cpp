// SPDX-License-Identifier: Apache-2.0
#include "tests/differential/comparison.h"

#include <cstdlib>
#include <iomanip>
#include <sstream>
#include <stdexcept>

namespace fairlead::test {
namespace {

constexpr std::size_t kPlantedByte = 26,
                      kPlantedBit = 0x10;  // of an IPv4 source or an IPv6 one: always part of the flow

std::string verdict_name(const Steered& steered) {
    switch (steered.verdict) {
        case FL_VERDICT_PASS:
            return "pass";
        case FL_VERDICT_DROP:
            return "drop";
        case FL_VERDICT_TRANSMIT:
            return steered.port == 1 ? "transmit" : "redirect";
        case FL_VERDICT_EXCEPTION:
            return "exception";
    }
    return "?";
}

std::string encapsulation_name(const fl_decision& d) {
    if (d.action == FL_ACTION_LOCAL) return "local";
    if (!d.outer) return "l2dsr";
    const auto families = std::to_string(d.family) + "in" + std::to_string(d.outer);
    return (d.forward == FL_FORWARD_GUE ? "gue_" : "ipip_") + families;
}

}  // namespace

// One engine, and tables of its own.
struct Comparison::Side {
    Side(SteerEngine& engine_in, const fl_limits& limits)
        : engine(engine_in), tables(engine.make_tables(limits)), grace(tables::make_grace(tables).value()) {
        auto made = tables::TableWriter::create(tables, *grace);
        if (!made) throw std::runtime_error(made.error().message);
        writer.emplace(std::move(*made));
    }
    ~Side() { engine.leave(); }

    std::vector<std::uint64_t> counters() const {
        const fl_limits& limits = tables.limits();
        const std::size_t stride = FL_COUNTER_STRIDE(&limits);
        std::vector<std::uint64_t> sums(3 * stride);
        std::size_t at = 0;
        for (const fl_counter& counter : std::as_const(tables).counters()) {
            sums[at] += counter.packets;
            sums[at + 1] += counter.bytes;
            sums[at + 2] += counter.syns;
            if ((at += 3) == sums.size()) at = 0;
        }
        return sums;
    }

    SteerEngine& engine;
    tables::Tables tables;
    std::unique_ptr<tables::GracePeriod> grace;
    std::optional<tables::TableWriter> writer;
};

Comparison::Comparison(const std::vector<SteerEngine*>& engines, const fl_limits& limits, const Fill& fill,
                       bool unwrap_only, Tally& tally)
    : unwrap_only_(unwrap_only), tally_(tally) {
    for (SteerEngine* engine : engines) {
        sides_.push_back(std::make_unique<Side>(*engine, limits));
        fill(*sides_.back()->writer);
    }
}

Comparison::~Comparison() = default;

void Comparison::change(const Fill& change) {
    for (auto& side : sides_) change(*side->writer);
}

void Comparison::plant(const PlantedFault& fault) {
    fault_ = fault;
    if (fault.where != PlantedFault::Where::kTables) return;
    for (fl_nexthop& hop : sides_[fault.side]->tables.nexthops())
        if (hop.word) tables::store_word(hop.word, hop.word ^ kPlantedBit);
}

std::string Comparison::run(std::span<const Frame> frames) {
    const std::uint64_t now = tables::monotonic_ns();
    std::vector<Frame> damaged;
    const auto given = [&](std::size_t side) {
        if (!fault_ || fault_->where != PlantedFault::Where::kFrame || fault_->side != side) return frames;
        damaged.assign(frames.begin(), frames.end());
        for (Frame& frame : damaged)
            if (frame.size() > kPlantedByte) frame[kPlantedByte] ^= kPlantedBit;
        return std::span<const Frame>(damaged);
    };
    Side& memory = *sides_[0];
    const auto expected = memory.engine.run_burst(memory.tables, given(0), unwrap_only_, now);
    for (const Steered& steered : expected) count(steered);
    for (std::size_t side = 1; side < sides_.size(); ++side)
        if (auto difference = run_side(side, given(side), expected, now); !difference.empty()) return difference;
    return "";
}

std::string Comparison::run_side(std::size_t number, std::span<const Frame> frames, std::span<const Steered> expected,
                                 std::uint64_t now_ns) {
    Side& side = *sides_[number];
    const auto is_kept = [&](std::size_t at) { return side.engine.finishes_exceptions() && expected[at].exception; };
    for (std::size_t from = 0, to; from < frames.size(); from = to) {
        to = from + 1;
        while (!is_kept(from) && to < frames.size() && !is_kept(to)) ++to;
        if (is_kept(from)) ++tally_["exception"][reason_name(static_cast<fl_reason>(expected[from].decision->reason))];
        SteerEngine& engine = is_kept(from) ? sides_[0]->engine : side.engine;
        auto difference =
            run_part(side, engine, frames.subspan(from, to - from), expected.subspan(from, to - from), now_ns);
        if (!difference.empty()) return difference;
    }
    return "";
}

std::string Comparison::run_part(Side& side, SteerEngine& engine, std::span<const Frame> frames,
                                 std::span<const Steered> expected, std::uint64_t now_ns) {
    const auto actual = engine.run_burst(side.tables, frames, unwrap_only_, now_ns);
    for (std::size_t at = 0; at < frames.size(); ++at) {
        const Steered& memory = expected[at];
        // What is left of a dropped frame is nobody's business.
        if (verdict_name(actual[at]) == verdict_name(memory) &&
            (memory.verdict == FL_VERDICT_DROP || actual[at].bytes == memory.bytes))
            continue;
        const char* why = memory.decision ? reason_name(static_cast<fl_reason>(memory.decision->reason)) : "";
        return std::string(side.engine.name()) + " differs, frame " + std::to_string(at) + " of " +
               std::to_string(frames.size()) + dump(frames[at]) + "\nmemory: " + verdict_name(memory) + " (" + why +
               ")" + dump(memory.bytes) + "\n" + side.engine.name() + ": " + verdict_name(actual[at]) +
               dump(actual[at].bytes);
    }
    return "";
}

void Comparison::count(const Steered& expected) {
    ++tally_["verdict"][verdict_name(expected)];
    if (!expected.decision) return;
    const fl_decision& d = *expected.decision;
    if (d.action == FL_ACTION_FORWARD || d.action == FL_ACTION_LOCAL)
        ++tally_["encapsulation"][encapsulation_name(d)];
    else
        ++tally_["reason"][reason_name(static_cast<fl_reason>(d.reason))];
}

std::string Comparison::compare_counters() const {
    const auto memory = counters();
    for (std::size_t number = 1; number < sides_.size(); ++number) {
        const auto actual = sides_[number]->counters();
        for (std::size_t at = 0; at < memory.size(); ++at)
            if (actual[at] != memory[at])
                return std::string(sides_[number]->engine.name()) + " counts " + std::to_string(actual[at]) +
                       " where " + std::to_string(memory[at]) + " were, at counter " + std::to_string(at / 3) +
                       ", word " + std::to_string(at % 3);
    }
    return "";
}

std::vector<std::uint64_t> Comparison::counters() const { return sides_[0]->counters(); }

std::string dump(const Frame& frame) {
    std::ostringstream text;
    for (std::size_t at = 0; at < frame.size() && at < 160; ++at)
        text << (at % 16 ? " " : "\n  ") << std::hex << std::setw(2) << std::setfill('0') << int{frame[at]};
    return text.str();
}

std::uint64_t environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

const char* reason_name(fl_reason reason) {
    static constexpr const char* kNames[] = {
#define FL_X(symbol, class, name, help) name,
        FL_REASON_LIST(FL_X)
#undef FL_X
    };
    return kNames[reason];
}

}  // namespace fairlead::test
