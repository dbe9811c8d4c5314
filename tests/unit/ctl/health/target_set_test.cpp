// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/target_set.h"

#include <gtest/gtest.h>

namespace fairlead::health {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{100s};
constexpr std::size_t kAll = 1000;

TargetKey target(const char* address, std::uint16_t port = 80) {
    TargetKey key;
    key.address = IpAddress::parse(address).value();
    key.check.port = port;
    key.check.interval = 1000ms;
    key.check.rise = 1;
    key.check.fall = 2;
    return key;
}

const ProbeResult kOk{Outcome::kOk, {}, 1ms};
const ProbeResult kFailed{Outcome::kFailed, "connection refused", 1ms};

TEST(TargetSet, SameCheckOfSameAddressRunsOnce) {
    TargetSet set(1);
    EXPECT_TRUE(set.set_targets({{target("192.0.2.1")}, {target("192.0.2.1")}, {target("192.0.2.2")}}, kStart).empty());
    EXPECT_EQ(set.size(), 2U);
    EXPECT_EQ(set.take_due(kStart + 1s, kAll).size(), 2U);
}

TEST(TargetSet, DifferentChecksOfOneAddressAreApart) {
    TargetKey slow = target("192.0.2.1");
    slow.check.interval = 5000ms;
    TargetSet set(1);
    set.set_targets({{target("192.0.2.1")}, {slow}, {target("192.0.2.1", 81)}}, kStart);
    EXPECT_EQ(set.size(), 3U);
}

TEST(TargetSet, KnownTargetsKeepTheirStateAcrossAChange) {
    TargetSet set(1);
    const TargetKey kept = target("192.0.2.1");
    const TargetKey gone = target("192.0.2.2");
    set.set_targets({{kept}, {gone}}, kStart);
    TargetId gone_id = 0;
    for (const Launch& launch : set.take_due(kStart + 100ms, kAll)) {
        if (launch.key == kept)
            EXPECT_TRUE(set.record(launch.id, kOk, kStart + 100ms));
        else
            gone_id = launch.id;
    }
    const auto due = set.next_due();
    ASSERT_TRUE(due);
    // A seed does not overrule what has been seen.
    EXPECT_EQ(set.set_targets({{kept, Verdict::kDown}, {target("192.0.2.3")}}, kStart + 200ms),
              std::vector<TargetId>{gone_id});
    EXPECT_EQ(set.verdict(kept), Verdict::kUp);
    EXPECT_EQ(set.state(kept)->results(), 1U);
    EXPECT_EQ(set.verdict(gone), Verdict::kUnknown);
    EXPECT_EQ(set.state(gone), nullptr);
    EXPECT_FALSE(set.record(gone_id, kFailed, kStart + 300ms));  // a late result
    EXPECT_EQ(set.unreported(), 1U);
    // The kept one runs when it was to run before.
    const auto launches = set.take_due(*due, kAll);
    EXPECT_TRUE(std::any_of(launches.begin(), launches.end(), [&](const Launch& l) { return l.key == kept; }));
}

TEST(TargetSet, AllReportedWaitsForEveryUnknownTarget) {
    TargetSet set(1);
    EXPECT_TRUE(set.all_reported());
    set.set_targets({{target("192.0.2.1")}, {target("192.0.2.2")}, {target("192.0.2.3"), Verdict::kUp}}, kStart);
    EXPECT_EQ(set.unreported(), 2U);
    EXPECT_EQ(set.verdict(target("192.0.2.3")), Verdict::kUp);
    for (const Launch& launch : set.take_due(kStart + 1s, kAll)) {
        if (launch.key == target("192.0.2.1")) set.record(launch.id, kOk, kStart + 1s);
        if (launch.key == target("192.0.2.2")) {
            EXPECT_FALSE(set.all_reported());
            set.record(launch.id, {Outcome::kInconclusive, "no descriptor", 0ms}, kStart + 1s);
            EXPECT_FALSE(set.all_reported());
        }
    }
    ASSERT_EQ(set.unreported(), 1U);
    for (const Launch& launch : set.take_due(kStart + 2s, kAll))
        if (launch.key == target("192.0.2.2"))
            set.record(launch.id, {Outcome::kTimedOut, "timed out", 500ms}, kStart + 2s);
    EXPECT_TRUE(set.all_reported());
    EXPECT_EQ(set.verdict(target("192.0.2.2")), Verdict::kDown);
}

TEST(TargetSet, RemovingAnUnreportedTargetLetsTheRestReport) {
    TargetSet set(1);
    set.set_targets({{target("192.0.2.1"), Verdict::kUp}, {target("192.0.2.2")}}, kStart);
    EXPECT_FALSE(set.all_reported());
    set.set_targets({{target("192.0.2.1")}}, kStart);
    EXPECT_TRUE(set.all_reported());
}

TEST(TargetSet, ATargetRemovedAndAddedAgainStartsAnew) {
    TargetSet set(1);
    set.set_targets({{target("192.0.2.1")}}, kStart);
    const TargetId first = set.take_due(kStart + 1s, kAll).at(0).id;
    set.set_targets({}, kStart + 1s);
    set.set_targets({{target("192.0.2.1")}}, kStart + 1s);
    EXPECT_FALSE(set.record(first, kOk, kStart + 1s));  // the old probe's result is not the new target's
    EXPECT_EQ(set.verdict(target("192.0.2.1")), Verdict::kUnknown);
    EXPECT_NE(set.take_due(kStart + 2s, kAll).at(0).id, first);
}

TEST(TargetSet, NamesItsTargetsForALog) {
    TargetKey http = target("2001:db8::1", 9869);
    http.check.type = config::CheckType::kHttp;
    http.check.path = "/up";
    EXPECT_EQ(http.to_string(), "http [2001:db8::1]:9869/up");
    EXPECT_EQ(target("192.0.2.1", 2633).to_string(), "tcp 192.0.2.1:2633");
}

}  // namespace
}  // namespace fairlead::health
