// SPDX-License-Identifier: Apache-2.0
// The core says the same in plain memory as in the XDP program, for every frame: the verdict, each byte, each counter.
// Frames come from a seed, which is printed with a failure; FAIRLEAD_SEED and FAIRLEAD_FRAMES replay or go further.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <time.h>

#include <cstdlib>
#include <iomanip>
#include <optional>
#include <sstream>

#include "dataplane/tables/grace.h"
#include "dataplane/tables/memory_access.h"
// After the access it is to use.
#include "dataplane/core/steer.h"
#include "tests/bpf/frames.h"
#include "tests/bpf/sandbox.h"
#include "xdp/program.h"

namespace fairlead::xdp {
namespace {

using test::Frame;
using test::Sandbox;

constexpr std::uint32_t kHeadroom = 256;   // XDP_PACKET_HEADROOM
constexpr std::uint32_t kTailroom = 1000;  // less than what BPF_PROG_TEST_RUN leaves after the largest frame here
constexpr std::uint64_t kSecond = 1'000'000'000;

std::uint64_t environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::uint64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

std::string dump(const Frame& frame) {
    std::ostringstream text;
    for (std::size_t at = 0; at < frame.size() && at < 160; ++at)
        text << (at % 16 ? " " : "\n  ") << std::hex << std::setw(2) << std::setfill('0') << int{frame[at]};
    return text.str();
}

// One set of tables, filled like the other.
struct Side {
    explicit Side(tables::Tables owned) : tables(std::move(owned)), grace(tables::make_grace(tables).value()) {
        auto made = tables::TableWriter::create(tables, *grace);
        EXPECT_TRUE(made.has_value()) << made.error().message;
        if (!made) return;
        writer.emplace(std::move(*made));
        test::fill_tables(*writer);
    }

    // Sums over all CPUs, by index within a stride.
    std::vector<std::uint64_t> counters() const {
        const fl_limits& limits = tables.limits();
        const std::size_t stride = FL_COUNTER_STRIDE(&limits);
        std::vector<std::uint64_t> sums(3 * stride);
        const auto all = tables.counters();
        for (std::size_t at = 0; at < all.size(); ++at) {
            sums[3 * (at % stride)] += all[at].packets;
            sums[3 * (at % stride) + 1] += all[at].bytes;
            sums[3 * (at % stride) + 2] += all[at].syns;
        }
        return sums;
    }

    tables::Tables tables;
    std::unique_ptr<tables::GracePeriod> grace;
    std::optional<tables::TableWriter> writer;
};

enum class Entry { kSteer, kUnwrap };

TestRun in_memory(const Side& side, Entry entry, const Frame& frame) {
    std::vector<std::uint8_t> room(kHeadroom + frame.size() + kTailroom);
    std::copy(frame.begin(), frame.end(), room.begin() + kHeadroom);
    fl_engine engine = side.tables.engine();
    engine.ingress_port = test::kOwnPort;
    engine.now_ns = engine.now_coarse_ns = now_ns();
    engine.headroom = kHeadroom;
    engine.tailroom = kTailroom;
    fl_packet packet{room.data() + kHeadroom, room.data() + kHeadroom + frame.size()};
    std::uint32_t port = 0;
    const fl_verdict verdict = entry == Entry::kSteer ? fl_steer(&engine, &packet, &port) : fl_unwrap(&engine, &packet);
    TestRun result;
    result.frame.assign(static_cast<std::uint8_t*>(packet.data), static_cast<std::uint8_t*>(packet.end));
    switch (verdict) {
        case FL_VERDICT_PASS:
            result.verdict = XDP_PASS;
            break;
        case FL_VERDICT_DROP:
            result.verdict = XDP_DROP;
            break;
        case FL_VERDICT_TRANSMIT:
            result.verdict = port == test::kOwnPort ? XDP_TX : XDP_REDIRECT;
            break;
        case FL_VERDICT_EXCEPTION:
            result.verdict = XDP_REDIRECT;
            break;
    }
    return result;
}

class Agreement : public testing::TestWithParam<Entry> {
  protected:
    void SetUp() override { FAIRLEAD_NEEDS_ROOT(); }

    static UniqueFd devices() {
        UniqueFd map(bpf_map_create(BPF_MAP_TYPE_DEVMAP, "devices", 4, 4, 64, nullptr));
        const __u32 number = test::kOtherPort;
        const __u32 loopback = 1;
        EXPECT_EQ(bpf_map_update_elem(map.get(), &number, &loopback, BPF_ANY), 0);
        return map;
    }
};

// How often each way of ending was met, so that a green run is known to have gone everywhere.
struct Coverage {
    std::array<std::uint64_t, 5> verdicts{};
    std::uint64_t forwarded = 0;
};

void expect_coverage(const Side& side, const Coverage& coverage, Entry entry) {
    if (entry != Entry::kSteer) {
        EXPECT_GT(side.counters()[3 * FL_REASON_DECAPSULATED], 0U);
        EXPECT_GT(side.counters()[3 * FL_REASON_DECAP_REFUSED], 0U);
        return;
    }
    const char* names[] = {
#define FL_X(symbol, class, name, help) name,
        FL_REASON_LIST(FL_X)
#undef FL_X
    };
    const auto counters = side.counters();
    for (std::size_t reason = 0; reason < FL_REASON_COUNT; ++reason) {
        // The rate limit is out of reach by choice, head room never ends, nobody takes exceptions, and INTERNAL would
        // be a defect.
        if (reason == FL_REASON_ANSWER_LIMITED || reason == FL_REASON_NO_HEADROOM || reason == FL_REASON_EXCEPTION)
            continue;
        if (reason == FL_REASON_INTERNAL)
            EXPECT_EQ(counters[3 * reason], 0U);
        else
            EXPECT_GT(counters[3 * reason], 0U) << "no frame ended as " << names[reason];
    }
    for (std::size_t event = FL_EVENTS_AT; event < FL_EVENT_END; ++event) {
        // The table is large enough: who gives way is a matter of the clock, which the two sides read one after another.
        // The rest is lb-dpdk's.
        if (event != FL_EVENT_PIN_INSERTED && event != FL_EVENT_PREVIOUS)
            EXPECT_EQ(counters[3 * event], 0U) << "event " << event;
        else
            EXPECT_GT(counters[3 * event], 0U) << "event " << event;
    }
    for (const std::uint32_t verdict : {XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT})
        EXPECT_GT(coverage.verdicts[verdict], 0U) << verdict;
}

TEST_P(Agreement, OfVerdictBytesAndCounters) {
    Sandbox sandbox;
    Side memory(tables::Tables::create_anonymous(test::small_limits()).value());
    Side kernel(sandbox.make_tables());
    if (HasFailure()) return;
    const UniqueFd map = devices();
    const auto kind = GetParam() == Entry::kSteer ? ProgramKind::kSteer : ProgramKind::kDecap;
    const auto program = Program::load(kernel.tables, kind, test::kOwnPort, {.devices = map.get()});
    ASSERT_TRUE(program.has_value()) << program.error().message;

    const std::uint64_t seed = environment("FAIRLEAD_SEED", std::random_device{}());
    const std::uint64_t frames = environment("FAIRLEAD_FRAMES", GetParam() == Entry::kSteer ? 1'000'000 : 100'000);
    SCOPED_TRACE("FAIRLEAD_SEED=" + std::to_string(seed));
    test::FrameMaker maker(seed);
    Coverage coverage;
    for (std::uint64_t number = 0; number < frames; ++number) {
        if (number == frames / 2)  // from here on: slots in transition, and pins
            for (auto* side : {&memory, &kernel}) test::unsettle(*side->writer);
        if (number == frames / 10 * 9)  // the last tenth: VIPs on one VLAN alone
            for (auto* side : {&memory, &kernel}) test::set_own_vlan(*side->writer, test::kVlan);
        const Frame frame = maker.next();
        const TestRun expected = in_memory(memory, GetParam(), frame);
        const auto actual = test_run(program->fd(), frame);
        ASSERT_TRUE(actual.has_value()) << actual.error().message;
        ASSERT_EQ(actual->verdict, expected.verdict) << "frame " << number << dump(frame);
        ASSERT_LT(actual->verdict, coverage.verdicts.size());
        ++coverage.verdicts[actual->verdict];
        if (actual->verdict != XDP_DROP) {  // what is left of a dropped frame is nobody's business
            ASSERT_EQ(actual->frame, expected.frame) << "frame " << number << dump(frame) << "\nmemory"
                                                     << dump(expected.frame) << "\nkernel" << dump(actual->frame);
        }
        if (number % 64 == 0 || number + 1 == frames) {
            ASSERT_EQ(kernel.counters(), memory.counters()) << "up to frame " << number << dump(frame);
        }
    }
    expect_coverage(kernel, coverage, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Programs, Agreement, testing::Values(Entry::kSteer, Entry::kUnwrap),
                         [](const auto& info) { return info.param == Entry::kSteer ? "Steer" : "Decap"; });

}  // namespace
}  // namespace fairlead::xdp
