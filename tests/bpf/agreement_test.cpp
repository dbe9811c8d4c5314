// SPDX-License-Identifier: Apache-2.0
// The core says the same in plain memory as in the XDP programs, for every frame: the verdict, each byte, each counter.
// Frames come from a seed, which is printed with a failure; FAIRLEAD_SEED and FAIRLEAD_FRAMES replay or go further.
// tests/differential has the DPDK engine beside them, and tables of chance.
#include <gtest/gtest.h>

#include <random>

#include "tests/bpf/frames.h"
#include "tests/bpf/sandbox.h"
#include "tests/differential/comparison.h"

namespace fairlead::test {
namespace {

enum class Entry { kSteer, kUnwrap };

class Agreement : public testing::TestWithParam<Entry> {
  protected:
    void SetUp() override { FAIRLEAD_NEEDS_ROOT(); }
};

// A green run is known to have gone everywhere.
void expect_coverage(const std::vector<std::uint64_t>& counters, Tally& tally, Entry entry) {
    if (entry != Entry::kSteer) {
        EXPECT_GT(counters[3 * FL_REASON_DECAPSULATED], 0U);
        EXPECT_GT(counters[3 * FL_REASON_DECAP_REFUSED], 0U);
        return;
    }
    for (std::size_t reason = 0; reason < FL_REASON_COUNT; ++reason) {
        // The rate limit is out of reach by choice, head room never ends, nobody takes exceptions, and INTERNAL would
        // be a defect.
        if (reason == FL_REASON_ANSWER_LIMITED || reason == FL_REASON_NO_HEADROOM || reason == FL_REASON_EXCEPTION)
            continue;
        if (reason == FL_REASON_INTERNAL)
            EXPECT_EQ(counters[3 * reason], 0U);
        else
            EXPECT_GT(counters[3 * reason], 0U) << "no frame ended as " << reason_name(static_cast<fl_reason>(reason));
    }
    for (std::size_t event = FL_EVENTS_AT; event < FL_EVENT_END; ++event) {
        // The table is large enough: who gives way is a matter of the clock, which the two sides read one after another.
        // The rest is lb-dpdk's.
        if (event != FL_EVENT_PIN_INSERTED && event != FL_EVENT_PREVIOUS)
            EXPECT_EQ(counters[3 * event], 0U) << "event " << event;
        else
            EXPECT_GT(counters[3 * event], 0U) << "event " << event;
    }
    for (const char* verdict : {"drop", "pass", "transmit", "redirect"})
        EXPECT_GT(tally["verdict"][verdict], 0U) << verdict;
}

TEST_P(Agreement, OfVerdictBytesAndCounters) {
    const Sandbox sandbox;
    const bool unwrap_only = GetParam() == Entry::kUnwrap;
    const auto memory = make_memory_engine(), kernel = make_kernel_engine();
    Tally tally;
    Comparison comparison({memory.get(), kernel.get()}, small_limits(), fill_tables, unwrap_only, tally);

    const std::uint64_t seed = environment("FAIRLEAD_SEED", std::random_device{}());
    const std::uint64_t frames = environment("FAIRLEAD_FRAMES", unwrap_only ? 100'000 : 1'000'000);
    SCOPED_TRACE("FAIRLEAD_SEED=" + std::to_string(seed));
    FrameMaker maker(seed);
    for (std::uint64_t number = 0; number < frames; ++number) {
        if (number == frames / 2) comparison.change(unsettle);  // from here on: slots in transition, and pins
        if (number == frames / 10 * 9)                          // the last tenth: VIPs on one VLAN alone
            comparison.change([](tables::TableWriter& writer) { set_own_vlan(writer, kVlan); });
        const Frame frame = maker.next();
        ASSERT_EQ(comparison.run(std::span(&frame, 1)), "") << "frame " << number;
        if (number % 64 == 0 || number + 1 == frames) {
            ASSERT_EQ(comparison.compare_counters(), "") << "up to frame " << number << dump(frame);
        }
    }
    expect_coverage(comparison.counters(), tally, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Programs, Agreement, testing::Values(Entry::kSteer, Entry::kUnwrap),
                         [](const auto& info) { return info.param == Entry::kSteer ? "Steer" : "Decap"; });

}  // namespace
}  // namespace fairlead::test
