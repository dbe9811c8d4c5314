// SPDX-License-Identifier: Apache-2.0
// Who is believed, and when a stream begins anew.
#include "ctl/sync/session.h"

#include <gtest/gtest.h>

#include <numeric>

#include "ctl/sync/message.h"
#include "tests/unit/ctl/sync/session_pair.h"

namespace fairlead::sync {
namespace {

std::uint64_t all_refused(const SessionStatus& status) {
    return std::accumulate(status.refused.begin(), status.refused.end(), std::uint64_t{0});
}

TEST(SyncSession, TwoFindEachOtherAndTellEachOther) {
    SessionPair pair;
    EXPECT_FALSE(pair.status(0).heard);
    pair.nodes[1].tells().state = false;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.run(100ms);
    for (std::size_t node = 0; node < 2; ++node) {
        const auto status = pair.status(node);
        EXPECT_TRUE(status.heard);
        EXPECT_EQ(status.name, node == 0 ? "lb-b" : "lb-a");
        EXPECT_EQ(status.peer_interval, 20ms);
        EXPECT_EQ(status.peer_has_state, node == 1);
        EXPECT_FALSE(status.common_differs);
        EXPECT_EQ(status.streams_sent, 1U);
        EXPECT_EQ(status.streams_received, 1U);
        EXPECT_EQ(status.resent, 0U);
        EXPECT_LT(pair.now - status.current_at.value(), 40ms) << "told at least once an interval";
        EXPECT_LT(status.sent, 40U) << "and not much more often";
    }
}

TEST(SyncSession, AChangeIsToldWithinTheIntervalAndLagIsKnown) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.nodes[0].tells().change(3, 77);
    pair.run(21ms);
    EXPECT_EQ(pair.nodes[1].has().values[3], 77U);
    EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 100ms));
    pair.network.cut[0] = true;
    const auto since = pair.now;
    pair.nodes[0].tells().change(3, 78);
    pair.run(100ms);
    const auto behind = pair.status(0).behind_since;
    ASSERT_TRUE(behind.has_value());
    EXPECT_GE(*behind, since);
    EXPECT_LE(*behind, since + 21ms);
    EXPECT_FALSE(pair.status(1).behind_since.has_value());
    pair.run(1s);
    EXPECT_EQ(pair.status(0).behind_since, behind) << "it does not grow younger";
    EXPECT_GT(pair.now - pair.status(1).current_at.value(), 1s);
    EXPECT_FALSE(pair.status(1).heard);
    EXPECT_TRUE(pair.status(0).heard);
    pair.network.cut[0] = false;
    EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    EXPECT_EQ(pair.status(0).streams_sent, 1U) << "a second is not long";
}

TEST(SyncSession, NewsThatCannotWaitAreToldAtOnce) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    for (std::uint32_t value = 1; value < 40; ++value) {
        pair.nodes[0].tells().change(3, value);
        pair.nodes[0].session->hurry();
        pair.run(2ms);
        ASSERT_EQ(pair.nodes[1].has().values[3], value);
    }
}

// What is lost of a caught-up stream is told without another change to show the gap.
TEST(SyncSession, TheLastMessageMayBeLost) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.network.cut[0] = pair.network.cut[1] = true;
    pair.nodes[0].tells().change(1, 5);
    pair.run(30ms);
    pair.network.cut[0] = pair.network.cut[1] = false;
    EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    EXPECT_EQ(pair.status(0).streams_sent, 1U);
}

TEST(SyncSession, ARestartOfEitherBeginsBothStreamsAnew) {
    for (const std::size_t node : {0U, 1U}) {
        SessionPair pair;
        ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
        pair.nodes[0].tells().change(3, 77);
        pair.stop(node);
        pair.run(100ms);
        pair.start(node);
        ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 2s));
        pair.run(1s);
        EXPECT_EQ(pair.nodes[0].tells().begun, 2U);
        EXPECT_EQ(pair.nodes[1].tells().begun, 2U);
        EXPECT_EQ(pair.nodes[0].has().begun, 2U);
        EXPECT_EQ(pair.nodes[1].has().begun, 2U);
        EXPECT_TRUE(pair.both_agree());
    }
}

// All that was ever sent is sent again: in the same life of both, after one has been restarted, after the other too.
TEST(SyncSession, WhatIsReplayedChangesNothingAndIsCounted) {
    SessionPair pair;
    pair.recording = true;
    pair.network.loss = 0.2;  // some of it is new to the receiver when it is replayed
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 5s));
    for (std::uint32_t i = 0; i < 50; ++i) {
        pair.nodes[0].tells().change(i % 10, i);
        pair.run(20ms);
    }
    pair.network.loss = 0;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 5s));
    pair.recording = false;
    pair.run(3s);
    const auto replay = [&] {
        for (std::size_t to = 0; to < 2; ++to) {
            const auto before = pair.status(to);
            const auto begun = pair.nodes[to].has().begun, applied = pair.nodes[to].has().applied;
            const auto told = pair.nodes[to].tells().begun;
            for (const auto& bytes : pair.sent[1 - to]) pair.nodes[to].session->received(bytes, pair.now);
            // Its own, too.
            for (const auto& bytes : pair.sent[to]) pair.nodes[to].session->received(bytes, pair.now);
            const auto after = pair.status(to);
            EXPECT_EQ(after.received - before.received + all_refused(after) - all_refused(before),
                      pair.sent[0].size() + pair.sent[1].size());
            EXPECT_EQ(after.last_heard, before.last_heard);
            EXPECT_EQ(after.received, before.received);
            EXPECT_EQ(after.name, before.name);
            EXPECT_EQ(pair.nodes[to].has().applied, applied);
            pair.run(500ms);
            EXPECT_EQ(pair.nodes[to].has().begun, begun);
            EXPECT_EQ(pair.nodes[to].tells().begun, told);
            EXPECT_TRUE(pair.both_agree());
        }
    };
    ASSERT_GT(pair.sent[0].size(), 100U);
    // More have been sent since than the window is long.
    while (pair.status(0).sent < pair.sent[0].size() + 1100 || pair.status(1).sent < pair.sent[1].size() + 1100)
        pair.run(1s);
    replay();
    EXPECT_GT(pair.refused(0, SyncRefusal::kReplay), 100U);
    EXPECT_GT(pair.refused(0, SyncRefusal::kLoop), 100U);
    pair.start(0);
    ASSERT_TRUE(pair.run_until([&] { return pair.status(0).streams_received == 1 && pair.both_agree(); }, 5s));
    replay();
    EXPECT_GT(pair.refused(0, SyncRefusal::kStranger), 100U);
    EXPECT_GT(pair.refused(1, SyncRefusal::kStranger), 100U);
    pair.start(1);
    ASSERT_TRUE(pair.run_until([&] { return pair.status(1).streams_received == 1 && pair.both_agree(); }, 5s));
    replay();
}

// The same while nobody is there to be heard: a standby whose active is dead is not to take a recording for it.
TEST(SyncSession, ARecordingOfAnEarlierProcessIsNobody) {
    SessionPair pair;
    pair.recording = true;
    // The first process is heard by nobody else but the recorder, though it hears.
    pair.network.cut[0] = true;
    pair.run(500ms);
    pair.network.cut[0] = false;
    pair.start(0);
    const auto recorded = pair.sent[0];
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.stop(0);
    pair.run(1s);
    const auto begun = pair.nodes[1].has().begun;
    const auto received = pair.status(1).received;
    for (const auto& bytes : recorded) {
        pair.nodes[1].session->received(bytes, pair.now);
        pair.run(10ms);
    }
    EXPECT_EQ(pair.status(1).received, received);
    EXPECT_FALSE(pair.status(1).heard);
    EXPECT_EQ(pair.nodes[1].has().begun, begun);
    pair.start(0);
    EXPECT_TRUE(pair.run_until([&] { return pair.status(0).streams_received == 1 && pair.both_agree(); }, 1s))
        << "and the next one is not kept out by it";
}

// Nor what answered this process long ago, though nobody was heard since.
TEST(SyncSession, AnOldAnswerProvesNothing) {
    SessionPair pair;
    pair.recording = true;
    pair.network.cut[0] = true;
    pair.run(1s);
    pair.stop(0);
    const auto recorded = pair.sent[0];
    pair.run(3s);
    for (const auto& bytes : recorded) pair.nodes[1].session->received(bytes, pair.now);
    EXPECT_EQ(pair.status(1).received, 0U);
    EXPECT_EQ(pair.refused(1, SyncRefusal::kStranger), recorded.size());
    EXPECT_GT(recorded.size(), 20U);
}

TEST(SyncSession, StrangersAreAnsweredAtALimitedRate) {
    SessionPair pair;
    pair.recording = true;
    pair.run(500ms);
    const auto recorded = pair.sent[0];
    pair.stop(0);
    pair.run(10ms);
    pair.start(1);
    const auto before = pair.status(1).sent;
    for (int i = 0; i < 1000; ++i) {
        pair.nodes[1].session->received(recorded[static_cast<std::size_t>(i) % recorded.size()], pair.now);
        pair.run(1ms);
    }
    // A second: 50 by the interval, 20 answers, one more each.
    EXPECT_LE(pair.status(1).sent - before, 72U);
    EXPECT_EQ(pair.refused(1, SyncRefusal::kStranger), 1000U);
}

TEST(SyncSession, ForgedAndForeignMessagesChangeNothing) {
    SessionPair pair;
    pair.recording = true;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    const auto before = pair.status(1);
    auto& session = *pair.nodes[1].session;
    auto forged = pair.sent[0].back();
    forged.back() ^= 1;
    session.received(forged, pair.now);
    session.received({}, pair.now);
    session.received(Bytes(2000, 'F'), pair.now);
    session.received(Bytes(100, 'F'), pair.now);
    EXPECT_EQ(pair.refused(1, SyncRefusal::kMac), 1U);
    EXPECT_EQ(pair.refused(1, SyncRefusal::kLength), 2U);
    EXPECT_EQ(pair.refused(1, SyncRefusal::kMagic), 1U);
    EXPECT_EQ(pair.status(1).received, before.received);
    EXPECT_EQ(pair.status(1).last_heard, before.last_heard);
}

TEST(SyncSession, NodesOfDifferentKeysNeverHearEachOther) {
    SessionPair pair;
    pair.nodes[1].options.key.bytes[31] ^= 1;
    pair.start(1);
    pair.run(2s);
    for (std::size_t node = 0; node < 2; ++node) {
        EXPECT_FALSE(pair.status(node).heard);
        EXPECT_EQ(pair.status(node).received, 0U);
        EXPECT_GT(pair.refused(node, SyncRefusal::kMac), 50U);
        EXPECT_EQ(pair.nodes[node].has().begun, 0U);
    }
}

TEST(SyncSession, WhereCommonDiffersNothingIsTold) {
    SessionPair pair;
    pair.nodes[1].options.common.key_id ^= 1;
    pair.start(1);
    pair.run(1s);
    for (std::size_t node = 0; node < 2; ++node) {
        const auto status = pair.status(node);
        EXPECT_TRUE(status.heard && status.common_differs);
        EXPECT_GT(pair.refused(node, SyncRefusal::kCommon), 20U);
        EXPECT_EQ(pair.nodes[node].has().begun + pair.nodes[node].tells().begun, 0U);
        EXPECT_FALSE(status.name.empty());
    }
    // As they become alike, and again another, while a stream runs.
    for (int round = 0; round < 3; ++round) {
        pair.nodes[1].session->set_common(pair.nodes[0].options.common);
        ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 2s)) << round;
        EXPECT_FALSE(pair.status(0).common_differs);
        const auto told = pair.nodes[0].has().begun;
        auto other = pair.nodes[0].options.common;
        other.pins *= 2;
        pair.nodes[1].session->set_common(other);
        pair.nodes[0].tells().change(1, static_cast<std::uint32_t>(round) + 100);
        pair.run(500ms);
        EXPECT_TRUE(pair.status(0).common_differs && pair.status(1).common_differs);
        EXPECT_EQ(pair.nodes[0].has().begun, told);
        EXPECT_NE(pair.nodes[1].has().values[1], static_cast<std::uint32_t>(round) + 100);
    }
}

// What it means may have changed twice before the other node hears of it.
TEST(SyncSession, ACommonThatChangesBeginsBothStreamsAnew) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    auto other = pair.nodes[0].options.common;
    ++other.steering;
    pair.nodes[1].session->set_common(other);
    pair.nodes[1].session->set_common(pair.nodes[0].options.common);
    pair.run(2s);
    EXPECT_TRUE(pair.both_agree());
    for (auto& node : pair.nodes) {
        EXPECT_EQ(node.tells().begun, 2U);
        EXPECT_EQ(node.has().begun, 2U);
    }
}

TEST(SyncSession, RestartAndAskAgainBeginOneStreamEach) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.nodes[0].session->restart();
    pair.nodes[0].session->restart();
    pair.run(2s);
    EXPECT_EQ(pair.nodes[0].tells().begun, 2U);
    EXPECT_EQ(pair.nodes[1].has().begun, 2U);
    pair.nodes[1].session->ask_again();
    pair.run(2s);
    EXPECT_EQ(pair.nodes[0].tells().begun, 3U);
    EXPECT_EQ(pair.nodes[1].has().begun, 3U);
    EXPECT_EQ(pair.nodes[1].tells().begun, 1U) << "the other way is not touched";
    EXPECT_TRUE(pair.both_agree());
}

TEST(SyncSession, WhatCannotBeReadIsCountedAndAskedForOnceASecond) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.nodes[1].has().readable = false;
    pair.nodes[0].tells().change(1, 1);
    pair.run(10s);
    EXPECT_GE(pair.nodes[0].tells().begun, 8U);
    EXPECT_LE(pair.nodes[0].tells().begun, 12U);
    EXPECT_GE(pair.refused(1, SyncRefusal::kContent), 8U);
    EXPECT_LE(pair.refused(1, SyncRefusal::kContent), 12U);
    EXPECT_GT(pair.now - pair.status(1).current_at.value(), 5s);
    pair.nodes[1].has().readable = true;
    EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 3s));
}

// What is told in such a time would be told again, in the new stream.
TEST(SyncSession, NothingIsTakenFromTheSourceForAPeerThatIsAway) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.network.cut[0] = pair.network.cut[1] = true;
    pair.run(3s);
    const auto asked = pair.nodes[0].tells().asked;
    pair.nodes[0].tells().change(1, 1);
    pair.run(3s);
    EXPECT_EQ(pair.nodes[0].tells().asked, asked);
    EXPECT_TRUE(pair.status(0).behind_since.has_value());
}

TEST(SyncSession, ANewStreamIsAsFarBehindAsTheOneBefore) {
    SessionPair pair;
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 1s));
    pair.network.cut[0] = true;
    pair.nodes[0].tells().change(1, 1);
    pair.run(100ms);
    const auto behind = pair.status(0).behind_since;
    pair.nodes[0].session->restart();
    pair.run(50ms);
    EXPECT_EQ(pair.status(0).streams_sent, 2U);
    EXPECT_TRUE(behind.has_value());
    EXPECT_EQ(pair.status(0).behind_since, behind);
}

TEST(SyncSession, ASilentPeerCostsAWindowAndNoMore) {
    SessionPair pair(1, 200'000);
    for (auto& node : pair.nodes) node.options.window = 64;
    pair.start(0);
    pair.start(1);
    ASSERT_TRUE(pair.run_until([&] { return pair.status(0).heard && pair.status(1).heard; }, 1s));
    pair.network.cut[1] = true;
    pair.run(100ms);
    auto& source = pair.nodes[0].tells();
    const auto asked = source.asked;
    const auto bytes = pair.nodes[0].bytes;
    pair.run(10s);
    EXPECT_LE(source.asked, asked + 200) << "no more is taken from the source than the window holds";
    EXPECT_LT(pair.nodes[0].bytes - bytes, 1'000'000U) << "and what is held is not sent for ever";
    pair.network.cut[1] = false;
    EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 10s));
}

}  // namespace
}  // namespace fairlead::sync
