// SPDX-License-Identifier: Apache-2.0
// The state machine, event by event, at exact times. vrrp_simulation_test.cpp has two of them talk.
#include "ctl/ha/vrrp_instance.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "tests/unit/ctl/ha/adverts.h"

namespace fairlead::ha {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{1000s};
const IpAddress kThis = ip("192.0.2.2");
const IpAddress kLower = ip("192.0.2.1");
const IpAddress kHigher = ip("192.0.2.3");
constexpr Centiseconds kSecond{100};

// Does what the instance says, on a network that always works unless told otherwise.
class Node {
  public:
    explicit Node(InstanceSettings settings = {})
        : instance([&] {
              settings.address = kThis;
              return settings;
          }()) {}

    Node& ready() {
        run(instance.set_ready(true, now));
        return *this;
    }
    Node& start() {
        run(instance.start(now));
        return *this;
    }
    // Runs timers up to and including `until`.
    void until(TimePoint end) {
        for (;;) {
            const auto next = instance.next_timer();
            if (!next || *next > end) break;
            now = std::max(now, *next);
            run(instance.timer(now));
        }
        now = end;
    }
    void wait(Duration time) { until(now + time); }
    // Not one instruction is run meanwhile.
    void pause(Duration time) {
        now += time;
        run(instance.timer(now));
    }
    void hear(const IpAddress& source, std::uint8_t priority, Centiseconds interval = kSecond) {
        run(instance.advert_received(source, priority, interval, now));
    }
    void run(const Actions& actions) {
        if (actions.withdraw) role_until = {};
        if (actions.advert) {
            adverts.push_back(*actions.advert);
            if (sending) advert_times.push_back(now);
            EXPECT_FALSE(*actions.advert == kPriorityStop && active()) << "gives up while active";
        }
        if (actions.role_until) role_until = *actions.role_until;
        announcements += actions.announce ? 1 : 0;
        if (actions.change) changes.push_back(*actions.change);
        if (actions.advert) run(instance.advert_sent(sending, now, now));
        if (actions.farewell) adverts.push_back(kPriorityStop);
    }
    bool active() const { return now < role_until; }
    RoleReason reason() const { return instance.last_change().reason; }
    // Counts from here.
    void forget() {
        adverts.clear();
        advert_times.clear();
        changes.clear();
        announcements = 0;
    }

    VrrpInstance instance;
    TimePoint now = kStart;
    TimePoint role_until;
    bool sending = true;
    std::vector<std::uint8_t> adverts;
    std::vector<TimePoint> advert_times;
    std::vector<StateChange> changes;
    int announcements = 0;
};

Node started(InstanceSettings settings = {}) {
    Node node(settings);
    node.ready().start();
    return node;
}

Node active(InstanceSettings settings = {}) {
    Node node = started(settings);
    node.wait(10s);
    EXPECT_TRUE(node.active());
    node.forget();
    return node;
}

Duration skew(std::uint8_t priority, Duration interval) { return (256 - priority) * interval / 256; }

// --- start, silence, takeover ---

TEST(VrrpInstance, TakesOverAfterThreeIntervalsAndSkew) {
    struct Case {
        std::uint8_t priority;
        Centiseconds interval;
    };
    for (const auto& [priority, interval] :
         {Case{100, kSecond}, {254, kSecond}, {1, kSecond}, {100, Centiseconds(1)}, {200, Centiseconds(4095)}}) {
        Node node = started({.priority = priority, .advert_interval = interval});
        EXPECT_EQ(node.instance.state(), State::kBackup);
        const auto down = kStart + 3 * Duration(interval) + skew(priority, interval);
        node.until(down - 1ns);
        EXPECT_EQ(node.instance.state(), State::kBackup);
        EXPECT_TRUE(node.adverts.empty());
        node.until(down);
        EXPECT_EQ(node.instance.state(), State::kActive) << int{priority};
        EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{priority});
        EXPECT_EQ(node.reason(), RoleReason::kSilence);
        // Another that came up with it may do the same at this moment.
        EXPECT_FALSE(node.active());
        node.until(down + std::min<Duration>(Duration(interval) / 4, 5ms));
        EXPECT_EQ(node.role_until, down + 3 * Duration(interval));
        EXPECT_EQ(node.announcements, 1);
    }
}

TEST(VrrpInstance, TheOwnerWaitsForNobody) {
    Node node = started({.priority = 255});
    EXPECT_EQ(node.instance.state(), State::kActive);
    EXPECT_EQ(node.reason(), RoleReason::kOwner);
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{255});
    Node other(InstanceSettings{.priority = 255});
    other.start();
    EXPECT_EQ(other.instance.state(), State::kBackup);  // its checks have not reported
    other.wait(5s);
    other.ready();
    other.wait(skew(255, 1s));
    EXPECT_EQ(other.instance.state(), State::kActive);
}

TEST(VrrpInstance, AdvertisesAtEvenDistances) {
    Node node = active({.advert_interval = Centiseconds(10)});
    node.wait(1s);
    ASSERT_GE(node.advert_times.size(), 10U);
    for (std::size_t i = 1; i < node.advert_times.size(); ++i)
        EXPECT_EQ(node.advert_times[i] - node.advert_times[i - 1], 100ms);
    EXPECT_EQ(node.role_until, node.advert_times.back() + 300ms);
    EXPECT_TRUE(node.changes.empty());
}

TEST(VrrpInstance, AnAdvertHoldsABackupBack) {
    Node node = started();
    for (int i = 0; i < 20; ++i) {
        node.wait(2900ms);
        node.hear(kHigher, 150);
    }
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(3s + skew(100, 1s) - 1ns);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(1ns);
    EXPECT_EQ(node.instance.state(), State::kActive);
    EXPECT_EQ(node.instance.last_change().peer, kHigher);
    EXPECT_EQ(node.instance.last_change().peer_priority, 150);
}

TEST(VrrpInstance, LearnsTheActivesInterval) {
    Node node = started({.advert_interval = kSecond});
    node.hear(kHigher, 150, Centiseconds(5));
    node.wait(150ms + skew(100, 50ms) - 1ns);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(1ns);
    EXPECT_EQ(node.instance.state(), State::kActive);
    EXPECT_EQ(node.role_until, node.now + 3s);  // its own lease goes by what it advertises itself
}

// --- priority 0 ---

TEST(VrrpInstance, PriorityZeroIsFollowedBySkewAlone) {
    Node node = started();
    node.hear(kHigher, 150);
    node.wait(500ms);
    node.hear(kHigher, kPriorityStop);
    node.wait(skew(100, 1s) - 1ns);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(1ns);
    EXPECT_EQ(node.instance.state(), State::kActive);
    EXPECT_EQ(node.reason(), RoleReason::kPeerStopped);
    EXPECT_EQ(node.announcements, 1);
}

TEST(VrrpInstance, StoppingWithdrawsAndSaysPriorityZero) {
    Node node = active();
    node.wait(100ms);
    const auto actions = node.instance.stop(node.now);
    EXPECT_TRUE(actions.withdraw);
    EXPECT_EQ(actions.advert, kPriorityStop);
    ASSERT_TRUE(actions.change);
    EXPECT_EQ(actions.change->from, State::kActive);
    EXPECT_EQ(actions.change->to, State::kInitialize);
    EXPECT_EQ(actions.change->reason, RoleReason::kStopped);
    node.run(actions);
    node.hear(kLower, 50);
    EXPECT_FALSE(node.instance.next_timer());
    Node backup = started();
    backup.run(backup.instance.stop(backup.now));
    EXPECT_TRUE(backup.adverts.empty());
}

TEST(VrrpInstance, TheActiveAnswersPriorityZero) {
    Node node = active();
    node.wait(500ms);
    node.forget();
    node.hear(kHigher, kPriorityStop);
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{100});
    EXPECT_TRUE(node.active());
    for (int i = 0; i < 100; ++i) node.hear(kHigher, kPriorityStop);
    EXPECT_EQ(node.adverts.size(), 1U);  // nobody makes it send more
}

// --- preemption ---

TEST(VrrpInstance, PreemptsALowerPriority) {
    Node node = started();
    const auto down = kStart + 3s + skew(100, 1s);
    for (int i = 0; i < 3; ++i) {
        node.wait(900ms);
        node.hear(kHigher, 50);
    }
    node.until(down);
    EXPECT_EQ(node.instance.state(), State::kActive);
    EXPECT_EQ(node.reason(), RoleReason::kPreempted);
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{100});
    // The other may not have heard it yet.
    EXPECT_FALSE(node.active());
    EXPECT_EQ(node.announcements, 0);
    node.wait(1ms);
    node.hear(kHigher, kPriorityStop);
    EXPECT_TRUE(node.active());
    EXPECT_EQ(node.announcements, 1);
    EXPECT_EQ(node.role_until, down + 1ms + 3s);
    EXPECT_EQ(node.instance.counters().split_brains, 0U);
}

TEST(VrrpInstance, WhoIsPreemptedAndSaysNothingKeepsItsLease) {
    Node node = started();
    for (int i = 0; i < 3; ++i) {
        node.wait(1s);
        node.hear(kHigher, 50);
    }
    // It may have been killed just now.
    const auto lease_of_the_other = node.now + 3s + Duration(1s) / 64;  // clocks may drift
    node.until(lease_of_the_other - 1ns);
    EXPECT_EQ(node.instance.state(), State::kActive);
    EXPECT_FALSE(node.active());
    node.wait(1ns);
    EXPECT_TRUE(node.active());
    EXPECT_EQ(node.announcements, 1);
}

TEST(VrrpInstance, WhoIsPreemptedAndHasNotHeardKeepsItsNewLease) {
    Node node = started();
    while (node.instance.state() == State::kBackup) {
        node.hear(kHigher, 50);
        node.wait(1s);
    }
    node.hear(kHigher, 50);  // it was paused, and is again
    node.wait(2999ms);
    EXPECT_FALSE(node.active());
    node.wait(1s);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, APeerWithoutALeaseIsGivenAMoment) {
    Node node = started({.peers_have_leases = false});
    const auto down = kStart + 3s + skew(100, 1s);
    for (int i = 0; i < 3; ++i) {
        node.wait(1s);
        node.hear(kHigher, 50);
    }
    node.until(down + 5ms - 1ns);
    EXPECT_EQ(node.instance.state(), State::kActive);
    EXPECT_FALSE(node.active());
    node.wait(1ns);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, TakesOverAtOnceFromANodeThatItHeard) {
    Node node = started();
    node.hear(kHigher, 150);
    node.wait(3s + skew(100, 1s));
    EXPECT_TRUE(node.active());
    EXPECT_EQ(node.announcements, 1);
}

TEST(VrrpInstance, DoesNotWaitForWhoIsSilentMeanwhile) {
    Node node = started({.preempt_delay = 10s});
    for (int i = 0; i < 10; ++i) {
        node.hear(kHigher, 50);
        node.wait(1s);
    }
    node.wait(4s);  // it died before it could be preempted
    EXPECT_EQ(node.reason(), RoleReason::kSilence);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, DoesNotPreemptWhereToldNotTo) {
    Node node = started({.preempt = false});
    for (int i = 0; i < 20; ++i) {
        node.wait(1s);
        node.hear(kHigher, 50);
    }
    EXPECT_EQ(node.instance.state(), State::kBackup);
}

TEST(VrrpInstance, PreemptsAfterTheDelay) {
    Node node = started({.preempt_delay = 5s});
    const auto first = node.now;
    while (node.instance.state() == State::kBackup && node.now < first + 20s) {
        node.hear(kHigher, 50);
        node.wait(1s);
    }
    // The last advert that was followed is the one before the delay's end.
    const auto became = node.instance.last_change().at;
    EXPECT_GE(became, first + 5s);
    EXPECT_LE(became, first + 5s + 3s + skew(100, 1s));
}

TEST(VrrpInstance, TheDelayBeginsAgainWithABetterNode) {
    Node node = started({.preempt_delay = 5s});
    for (int i = 0; i < 40; ++i) {
        node.hear(kHigher, i % 4 == 3 ? 200 : 50);
        node.wait(1s);
    }
    EXPECT_EQ(node.instance.state(), State::kBackup);
}

TEST(VrrpInstance, OfEqualPrioritiesTheHigherAddressWins) {
    Node node = active();
    node.hear(kLower, 100);
    EXPECT_EQ(node.instance.state(), State::kActive);
    node.hear(kHigher, 100);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    Node backup = started();
    for (int i = 0; i < 10; ++i) {
        backup.wait(1s);
        backup.hear(kLower, 100);  // equal is not lower: who is active stays it
    }
    EXPECT_EQ(backup.instance.state(), State::kBackup);
}

TEST(VrrpInstance, YieldsToABetterNodeAndSaysSo) {
    Node node = active();
    node.wait(50ms);
    node.forget();
    node.hear(kLower, 101, Centiseconds(10));
    EXPECT_FALSE(node.active());
    EXPECT_EQ(node.reason(), RoleReason::kYielded);
    EXPECT_EQ(node.instance.last_change().peer, kLower);
    // The winner may not have heard of this node.
    EXPECT_EQ(node.adverts, (std::vector<std::uint8_t>{100, kPriorityStop}));
    node.wait(300ms + skew(100, 100ms));  // by the winner's interval
    EXPECT_TRUE(node.active());
}

// --- held back ---

TEST(VrrpInstance, WhoIsNotReadyTakesNothing) {
    Node node;
    node.start();
    node.wait(60s);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    EXPECT_TRUE(node.adverts.empty());
    node.ready();
    node.wait(skew(100, 1s) - 1ns);  // of several that become ready together, the best is first
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(1ns + 5ms);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, WhoIsNotReadyDoesNotPreempt) {
    Node node;
    node.start();
    for (int i = 0; i < 10; ++i) {
        node.hear(kHigher, 50);
        node.wait(1s);
    }
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.ready();
    for (int i = 0; i < 5; ++i) {
        node.hear(kHigher, 50);
        node.wait(1s);
    }
    EXPECT_EQ(node.reason(), RoleReason::kPreempted);
}

TEST(VrrpInstance, ReadinessLostIsOfNoMatterToTheActive) {
    Node node = active();
    node.run(node.instance.set_ready(false, node.now));
    node.wait(10s);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, AFaultHandsOverAndHoldsBack) {
    Node node = active();
    node.run(node.instance.set_tracking({.penalty = 0, .fault = true}, node.now));
    EXPECT_FALSE(node.active());
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{kPriorityStop});
    EXPECT_EQ(node.reason(), RoleReason::kFault);
    node.wait(60s);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.run(node.instance.set_tracking({}, node.now));
    node.wait(skew(100, 1s) + 5ms);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, TrackingLowersThePriority) {
    Node node = active();
    node.run(node.instance.set_tracking({.penalty = 30, .fault = false}, node.now));
    node.wait(1s);
    EXPECT_EQ(node.adverts.back(), 70);
    node.run(node.instance.set_tracking({.penalty = 200, .fault = false}, node.now));
    node.wait(1s);
    EXPECT_EQ(node.adverts.back(), 1);  // 0 would say that it stops
    node.hear(kLower, 2);
    EXPECT_EQ(node.reason(), RoleReason::kYielded);
}

// --- operator ---

TEST(VrrpInstance, WhoHandedOverDoesNotTakeBack) {
    Node node = active();
    node.run(node.instance.give_up(node.now));
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{kPriorityStop});
    EXPECT_EQ(node.reason(), RoleReason::kFailover);
    for (int i = 0; i < 20; ++i) {
        node.wait(500ms);
        node.hear(kHigher, 50);
    }
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(10s);  // but when the other dies, it does
    EXPECT_TRUE(node.active());
    EXPECT_FALSE(node.instance.released());
}

// The other one is paused just when it should take over, and so listens for a down interval first: it is not to find that
// the operator's wish was taken back meanwhile.
TEST(VrrpInstance, AHandOverWaitsForWhoWasPaused) {
    Node node = active({.priority = 150});
    Node other = started();
    other.until(node.now);
    other.hear(kHigher, 150);
    node.run(node.instance.give_up(node.now));
    other.hear(kHigher, kPriorityStop);
    other.pause(800ms);
    node.wait(800ms);
    const auto deadline = node.now + 3s + skew(100, 1s);
    while (node.now < deadline && other.instance.state() != State::kActive) {
        node.wait(10ms);
        other.wait(10ms);
    }
    EXPECT_EQ(other.instance.state(), State::kActive);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{kPriorityStop});
}

// The last words of a node that yielded are still on their way when this one hands over.
TEST(VrrpInstance, WhatWasOnItsWayIsNoReasonToTakeBack) {
    Node node = active();
    node.run(node.instance.give_up(node.now));
    const auto until = node.now + 3 * (3s + skew(100, 1s));
    node.hear(kLower, 50);
    node.hear(kLower, kPriorityStop);
    node.until(until - 1ns);
    EXPECT_EQ(node.instance.state(), State::kBackup);
}

// ... but whoever did take over, and then gives it back, need not wait.
TEST(VrrpInstance, WhoHandedOverTakesItWhenItIsGivenBack) {
    Node node = active();
    node.run(node.instance.give_up(node.now));
    for (int i = 0; i < 3; ++i) {
        node.wait(500ms);
        node.hear(kHigher, 50);
    }
    node.hear(kHigher, kPriorityStop);
    node.wait(skew(100, 1s));
    EXPECT_TRUE(node.active());
    EXPECT_EQ(node.reason(), RoleReason::kPeerStopped);
}

// A pause of whoever handed over does not shorten that.
TEST(VrrpInstance, WhoHandedOverAndIsPausedWaitsAsLong) {
    Node node = active();
    node.run(node.instance.give_up(node.now));
    const auto until = node.now + 3 * (3s + skew(100, 1s));
    node.pause(1s);
    node.until(until - 1ns);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(1ns);
    EXPECT_EQ(node.instance.state(), State::kActive);
}

TEST(VrrpInstance, HandingOverToNobodyComesBack) {
    Node node = active();
    node.run(node.instance.give_up(node.now));
    node.wait(3 * (3s + skew(100, 1s)) - 1ns);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(1ns + 5ms);
    EXPECT_TRUE(node.active());
    Node backup = started();
    const auto actions = backup.instance.give_up(backup.now);
    EXPECT_FALSE(actions.advert || actions.withdraw || actions.change);
}

TEST(VrrpInstance, ANewConfigKeepsTheState) {
    Node node = active();
    node.wait(100ms);
    auto settings = node.instance.settings();
    settings.priority = 222;
    settings.advert_interval = Centiseconds(10);
    node.run(node.instance.reconfigure(settings, node.now));
    EXPECT_TRUE(node.active());
    node.forget();
    node.wait(1s);
    EXPECT_TRUE(node.active());
    EXPECT_TRUE(node.changes.empty());
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>(10, 222));
    EXPECT_EQ(node.role_until, node.now + 300ms);
}

// --- leases, pauses ---

TEST(VrrpInstance, WithoutASendThereIsNoRole) {
    Node node = started();
    node.sending = false;
    node.wait(60s);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    EXPECT_EQ(node.changes.size(), 1U);  // started: it does not flap
    EXPECT_EQ(node.role_until, TimePoint{});
    EXPECT_GT(node.instance.counters().send_failures, 10U);
    node.sending = true;
    node.wait(1s);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, StepsDownWhenItCannotSend) {
    Node node = active();
    node.sending = false;
    node.wait(3s);
    EXPECT_FALSE(node.active());
    EXPECT_EQ(node.instance.state(), State::kBackup);
    EXPECT_EQ(node.reason(), RoleReason::kLeaseLost);
}

TEST(VrrpInstance, APauseEndsTheLease) {
    for (const auto& [pause, stays] : {std::pair<Duration, bool>{2400ms, true}, {2500ms, false}, {60s, false}}) {
        Node node = active();
        node.until(node.instance.next_timer().value());  // just sent
        node.pause(pause);
        EXPECT_EQ(node.active(), stays);
        EXPECT_EQ(node.instance.state() == State::kActive, stays);
        if (!stays) {
            EXPECT_EQ(node.reason(), RoleReason::kLeaseLost);
        }
        // Whoever became active meanwhile is heard before this node could be again.
        if (!stays) {
            node.hear(kHigher, 150);
            EXPECT_EQ(node.instance.state(), State::kBackup);
            EXPECT_EQ(node.adverts.size(), 1U);  // the one before the pause
        }
    }
}

TEST(VrrpInstance, APausedBackupListensBeforeItTakesOver) {
    Node node = started();
    node.hear(kHigher, 150);
    node.wait(100ms);
    node.pause(10s);  // whatever was sent meanwhile is lost
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(3s + skew(100, 1s) - 1ns);
    EXPECT_EQ(node.instance.state(), State::kBackup);
    node.wait(1ns);
    EXPECT_EQ(node.instance.state(), State::kActive);
}

TEST(VrrpInstance, ABackupThatIsPausedAllTheTimeStillTakesOver) {
    Node node = started();
    for (int i = 0; i < 5; ++i) node.pause(4s);
    EXPECT_EQ(node.instance.state(), State::kActive);
}

// --- split brain ---

TEST(VrrpInstance, ARivalIsAnsweredCountedAndTheVipsAnnouncedAgain) {
    Node node = active();
    node.wait(500ms);
    node.forget();
    node.hear(kHigher, 50);
    EXPECT_EQ(node.adverts, std::vector<std::uint8_t>{100});  // at once
    EXPECT_EQ(node.announcements, 1);
    EXPECT_EQ(node.instance.counters().split_brains, 1U);
    EXPECT_TRUE(node.instance.split());
    for (int i = 0; i < 5; ++i) {
        node.wait(1s);
        node.hear(kHigher, 50);
    }
    EXPECT_EQ(node.instance.counters().split_brains, 1U);  // the same
    EXPECT_EQ(node.announcements, 1);
    node.wait(3s);
    EXPECT_FALSE(node.instance.split());
    EXPECT_EQ(node.announcements, 2);
    node.hear(kHigher, 50);
    EXPECT_EQ(node.instance.counters().split_brains, 2U);
    EXPECT_TRUE(node.active());
}

TEST(VrrpInstance, APreemptedNodesLastAdvertIsNoSplit) {
    Node node = started();
    while (node.instance.state() == State::kBackup) {
        node.hear(kHigher, 50);
        node.wait(100ms);
    }
    node.hear(kHigher, 50);
    EXPECT_EQ(node.instance.counters().split_brains, 0U);
}

TEST(VrrpInstance, InstancesAreIndependent) {
    Node first = started({.priority = 200});
    Node second = started({.priority = 50});
    for (int i = 0; i < 10; ++i) {
        second.hear(kHigher, 100);
        first.wait(1s);
        second.wait(1s);
    }
    EXPECT_TRUE(first.active());
    EXPECT_FALSE(second.active());
}

TEST(VrrpInstance, EveryReasonHasAName) {
    std::set<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(RoleReason::kStopped); ++i) {
        names.insert(to_string(static_cast<RoleReason>(i)));
        EXPECT_FALSE(phrase_of(static_cast<RoleReason>(i)).empty());
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(RoleReason::kStopped) + 1);
}

}  // namespace
}  // namespace fairlead::ha
