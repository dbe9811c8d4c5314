// SPDX-License-Identifier: Apache-2.0
// Two HA threads, each in its namespace, over a veth. (What happens when a process dies is tests/interop's.)
#include "ctl/ha/ha_thread.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <functional>

#include "dataplane/tables/tables.h"
#include "tests/unit/ctl/ha/adverts.h"
#include "tests/unit/ctl/ha/namespace_pair.h"

namespace fairlead::ha {
namespace {

using namespace std::chrono_literals;

class HaThreadTest : public ::testing::Test {
  protected:
    struct Node {
        std::unique_ptr<HaThread> thread;
        fl_role role{};

        bool active() const {
            const auto word = tables::load_word(role.active_until_ns);
            return role_word(std::chrono::steady_clock::now()) < word;
        }
        HaGroupStatus status() const { return thread->status().at(0); }
    };

    void SetUp() override {
        if (!NamespacePair::allowed()) GTEST_SKIP() << "needs root for network namespaces";
        pair_.emplace();
        for (auto* node : {&here_, &there_}) {
            auto made = HaThread::create();
            ASSERT_TRUE(made) << made.error().message;
            node->thread = std::move(*made);
        }
    }
    void TearDown() override {
        here_.thread.reset();
        there_.thread.reset();
    }

    // The group's VIPs are 192.0.2.10 and 2001:db8::10, whichever family carries its adverts.
    HaGroup group(Node& node, bool v4, std::uint8_t priority) const {
        const bool here = &node == &here_;
        const char* interface = here ? "left" : "right";
        const auto ifindex = NamespacePair::index_of(interface);
        const auto source = ip(std::string(v4 ? "192.0.2." : "fe80::") + (here ? "2" : "3"));
        const auto mac = MacAddress::parse(here ? "02:00:5e:00:53:02" : "02:00:5e:00:53:03").value();
        return {.name = "all",
                .vrid = 51,
                .role = &node.role,
                .settings = {.priority = priority, .advert_interval = Centiseconds(10)},
                .socket = {interface, ifindex, source, {}},
                .vips = {ip("192.0.2.10"), ip("2001:db8::10")},
                .ports = {{ifindex, mac}}};
    }
    Result<void> configure(Node& node, std::vector<HaGroup> groups) {
        return node.thread->configure(std::move(groups));
    }
    void configure_both(bool v4 = true, const std::function<void(HaGroup&)>& change = [](HaGroup&) {}) {
        auto first = group(here_, v4, 150);
        change(first);
        ASSERT_TRUE(configure(here_, {first}));
        pair_->in_there([&] {
            auto second = group(there_, v4, 100);
            change(second);
            ASSERT_TRUE(configure(there_, {second}));
        });
    }
    static bool wait_for(const std::function<bool()>& condition) {
        const auto ceiling = std::chrono::steady_clock::now() + 20s;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > ceiling) return false;
            ::poll(nullptr, 0, 2);
        }
        return true;
    }

    std::optional<NamespacePair> pair_;
    Node here_;
    Node there_;
};

TEST_F(HaThreadTest, TheBetterOneIsActiveAndHandsOverWhenItStops) {
    for (const bool v4 : {true, false}) {
        configure_both(v4);
        EXPECT_FALSE(here_.active());
        here_.thread->set_ready(true);
        there_.thread->set_ready(true);
        ASSERT_TRUE(wait_for([&] { return here_.active() && there_.status().peer; }));
        EXPECT_FALSE(there_.active());
        const auto seen = there_.status();
        EXPECT_EQ(seen.peer->priority, 150);
        EXPECT_EQ(seen.peer->address, ip(v4 ? "192.0.2.2" : "fe80::2"));
        EXPECT_FALSE(seen.peer_addresses_differ);
        EXPECT_EQ(here_.status().counters.became_active, 1U);

        ASSERT_TRUE(configure(here_, {}));  // the group is gone: it is handed over
        EXPECT_FALSE(here_.active());
        ASSERT_TRUE(wait_for([&] { return there_.active(); }));
        EXPECT_EQ(there_.status().last_change.reason, RoleReason::kPeerStopped);
        pair_->in_there([&] { ASSERT_TRUE(configure(there_, {})); });
        here_.thread->set_ready(false);
        there_.thread->set_ready(false);
    }
}

TEST_F(HaThreadTest, StoppingTheThreadHandsOver) {
    configure_both();
    here_.thread->set_ready(true);
    there_.thread->set_ready(true);
    ASSERT_TRUE(wait_for([&] { return here_.active() && there_.status().peer; }));
    here_.thread->stop();
    EXPECT_FALSE(here_.active());
    ASSERT_TRUE(wait_for([&] { return there_.active(); }));
    EXPECT_EQ(there_.status().last_change.reason, RoleReason::kPeerStopped);
}

TEST_F(HaThreadTest, FailoverTrackingAndHistory) {
    configure_both();
    here_.thread->set_ready(true);
    there_.thread->set_ready(true);
    ASSERT_TRUE(wait_for([&] { return here_.active() && there_.status().peer; }));
    EXPECT_FALSE(there_.thread->give_up(0));
    ASSERT_TRUE(here_.thread->give_up(0));
    ASSERT_TRUE(wait_for([&] { return there_.active(); }));
    EXPECT_FALSE(here_.active());
    EXPECT_TRUE(here_.status().released);
    there_.thread->set_tracking(0, {.penalty = 0, .fault = true});
    ASSERT_TRUE(wait_for([&] { return here_.active(); }));
    EXPECT_FALSE(there_.active());

    const auto status = here_.status();
    std::vector<RoleReason> reasons;
    for (std::uint64_t i = 0; i < status.changes; ++i) reasons.push_back(status.history.at(i).reason);
    EXPECT_EQ(reasons, (std::vector{RoleReason::kStarted, RoleReason::kSilence, RoleReason::kFailover,
                                    RoleReason::kPeerStopped}));
    pollfd changed{here_.thread->changes_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&changed, 1, 0), 1);
}

TEST_F(HaThreadTest, AReloadKeepsTheState) {
    configure_both();
    here_.thread->set_ready(true);
    ASSERT_TRUE(wait_for([&] { return here_.active(); }));
    auto changed = group(here_, true, 180);
    changed.vips.push_back(ip("192.0.2.11"));
    ASSERT_TRUE(configure(here_, {changed}));
    EXPECT_TRUE(here_.active());
    ASSERT_TRUE(
        wait_for([&] { return there_.status().peer_addresses_differ && there_.status().peer->priority == 180; }));
    EXPECT_EQ(here_.status().changes, 2U);
    auto broken = group(here_, true, 180);
    broken.socket.interface = "nope";
    EXPECT_FALSE(configure(here_, {broken}));
    EXPECT_TRUE(here_.active());  // what ran runs on
}

TEST_F(HaThreadTest, TheChecksumFollowsThePeer) {
    auto without = group(here_, true, 150);
    without.pseudo_header = false;
    ASSERT_TRUE(configure(here_, {without}));
    pair_->in_there([&] { ASSERT_TRUE(configure(there_, {group(there_, true, 100)})); });
    here_.thread->set_ready(true);
    there_.thread->set_ready(true);
    ASSERT_TRUE(wait_for([&] { return here_.active() && there_.status().peer; }));
    ASSERT_TRUE(here_.thread->give_up(0));
    ASSERT_TRUE(wait_for([&] { return there_.active() && here_.status().peer; }));
    EXPECT_EQ(here_.status().refused, (std::array<std::uint64_t, kAdvertRefusals>{}));
}

TEST_F(HaThreadTest, StrangersChangeNothingAndAreCounted) {
    configure_both();
    here_.thread->set_ready(true);
    ASSERT_TRUE(wait_for([&] { return here_.active(); }));
    const auto counted = [&](AdvertRefusal refusal) {
        return here_.status().refused.at(static_cast<std::size_t>(refusal));
    };

    auto stranger = group(there_, true, 254);
    stranger.vrid = 52;
    stranger.name = "other";
    pair_->in_there([&] { ASSERT_TRUE(configure(there_, {stranger})); });
    there_.thread->set_ready(true);
    ASSERT_TRUE(wait_for([&] { return counted(AdvertRefusal::kVrid) > 0; }));

    stranger = group(there_, true, 254);
    stranger.name = "another";
    stranger.vips = {ip("198.51.100.10")};
    pair_->in_there([&] { ASSERT_TRUE(configure(there_, {stranger})); });
    ASSERT_TRUE(wait_for([&] { return counted(AdvertRefusal::kAddresses) > 0; }));
    EXPECT_TRUE(here_.active());

    auto choosy = group(here_, true, 150);
    choosy.socket.peers = {ip("192.0.2.77")};
    ASSERT_TRUE(configure(here_, {choosy}));
    auto uninvited = group(there_, true, 254);
    uninvited.socket.peers = {ip("192.0.2.2")};
    pair_->in_there([&] { ASSERT_TRUE(configure(there_, {uninvited})); });
    ASSERT_TRUE(wait_for([&] { return counted(AdvertRefusal::kPeer) > 0; }));
    EXPECT_TRUE(here_.active());
}

TEST_F(HaThreadTest, TwoGroupsAreActiveOnANodeEach) {
    fl_role second_here{};
    fl_role second_there{};
    const auto second = [&](Node& node, std::uint8_t priority, fl_role* role) {
        auto made = group(node, true, priority);
        made.name = "second";
        made.vrid = 52;
        made.role = role;
        made.vips = {ip("192.0.2.20")};
        return made;
    };
    ASSERT_TRUE(configure(here_, {group(here_, true, 150), second(here_, 100, &second_here)}));
    pair_->in_there(
        [&] { ASSERT_TRUE(configure(there_, {group(there_, true, 100), second(there_, 150, &second_there)})); });
    here_.thread->set_ready(true);
    there_.thread->set_ready(true);
    ASSERT_TRUE(wait_for([&] {
        return here_.status().state == State::kActive && there_.thread->status().at(1).state == State::kActive;
    }));
    EXPECT_EQ(there_.status().state, State::kBackup);
    // The other group's adverts are not a stranger's.
    EXPECT_EQ(here_.status().refused, (std::array<std::uint64_t, kAdvertRefusals>{}));

    // A stranger's is counted once, though each group's socket gets it.
    auto stranger = group(there_, true, 254);
    stranger.name = "other";
    stranger.vrid = 53;
    pair_->in_there([&] { ASSERT_TRUE(configure(there_, {stranger})); });
    const auto of_vrid = [&](std::size_t position) {
        return here_.thread->status().at(position).refused.at(static_cast<std::size_t>(AdvertRefusal::kVrid));
    };
    ASSERT_TRUE(wait_for([&] { return of_vrid(0) > 1; }));
    EXPECT_EQ(of_vrid(1), 0U);
    ASSERT_TRUE(wait_for([&] { return here_.thread->status().at(1).state == State::kActive; }));
    here_.thread->stop();
    there_.thread->stop();  // before the words are gone
}

TEST_F(HaThreadTest, AnotherProgramDecides) {
    auto external = group(here_, true, 100);
    external.external = true;
    ASSERT_TRUE(configure(here_, {external}));
    EXPECT_FALSE(here_.active());
    ASSERT_TRUE(here_.thread->set_external(0, true));
    EXPECT_EQ(here_.role.active_until_ns, UINT64_MAX);
    EXPECT_EQ(here_.status().state, State::kActive);
    EXPECT_EQ(here_.status().counters.sent, 0U);
    ASSERT_TRUE(here_.thread->set_external(0, false));
    EXPECT_EQ(here_.role.active_until_ns, 0U);
    ASSERT_TRUE(here_.thread->set_external(0, true));
    ASSERT_TRUE(configure(here_, {}));
    EXPECT_EQ(here_.role.active_until_ns, 0U);  // whoever gets the word next begins as standby
    ASSERT_TRUE(configure(here_, {external}));
    EXPECT_FALSE(here_.thread->give_up(0));
    ASSERT_TRUE(configure(here_, {group(here_, true, 100)}));
    EXPECT_FALSE(here_.thread->set_external(0, true));
}

TEST_F(HaThreadTest, ShortIntervalsNeedRealtime) {
    auto quick = group(here_, true, 100);
    quick.settings.advert_interval = Centiseconds(1);
    const auto configured = configure(here_, {quick});
    EXPECT_EQ(configured.has_value(), here_.thread->realtime());
    if (!configured) {
        EXPECT_NE(configured.error().message.find("real-time"), std::string::npos);
    }
}

}  // namespace
}  // namespace fairlead::ha
