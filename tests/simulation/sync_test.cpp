// SPDX-License-Identifier: Apache-2.0
// Two balancers and a bad network between them: the active one changes owners and states, opens connections and ends them;
// messages are lost, doubled and late; either process is started anew; roles change. Once it is quiet, both steer every
// live flow alike (DESIGN section 8). Real core, real transitions, real sessions; the sessions' clock is the simulation's.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ctl/lbd/sync_sink.h"
#include "ctl/lbd/sync_source.h"
#include "tests/simulation/dice.h"
#include "tests/support/moving_pool.h"

namespace fairlead::simulation {
namespace {

using namespace std::chrono_literals;
using sync::TimePoint;
using test::MovingPool;

constexpr std::uint16_t kBackends = 5, kFlows = 400;
constexpr std::uint32_t kSlots = 64;
constexpr auto kStep = 5ms;
constexpr int kSteps = 600, kQuietSteps = 800;  // 3 s of changes, 4 s of none

struct Wire {
    TimePoint due;
    std::vector<std::uint8_t> bytes;
};

// A balancer: tables and process. What belongs to the process goes with it.
class Node {
  public:
    Node(bool reversed, TimePoint now, std::uint64_t nonce)
        : reversed_(reversed),
          pool_({.backends = kBackends, .slots = kSlots, .pins = 4096, .reversed = reversed}),
          transitions_(pool_.writer(), tables::make_grace(pool_.tables()).value()),
          dirty_(pool_.tables()) {
        owners_.assign(kSlots, here(0));
        EXPECT_TRUE(transitions_.retarget(pool_.id(), owners_));
        start(now, nonce);
    }

    void start(TimePoint now, std::uint64_t nonce) {
        session_.reset();
        source_ = std::make_unique<SyncSource>(pool_.tables(), pool_.writer());
        sink_ = std::make_unique<SyncSink>(pool_.tables(), pool_.writer(), transitions_, [this](std::uint32_t pool) {
            EXPECT_TRUE(transitions_.set_following({pool}));
        });
        const sync::Common common{.key_id = 7, .pins = pool_.tables().limits().pins};
        session_.emplace(
            sync::SessionOptions{.key = {}, .nonce = nonce, .name = reversed_ ? "b" : "a", .common = common}, *source_,
            *sink_, now);
        set_active(active_);
    }

    void set_active(bool active) {
        active_ = active;
        if (active) {
            sink_->allow({});
            EXPECT_TRUE(transitions_.set_following({}));
            EXPECT_TRUE(transitions_.retarget(pool_.id(), owners_));
        } else if (sink_->allow({pool_.id()})) {
            session_->ask_again();
        }
        tell();
    }
    bool active() const { return active_; }

    void move(Dice& dice) {
        const auto to = static_cast<std::uint16_t>(dice.below(kBackends));
        for (auto& owner : owners_)
            if (dice.below(3) == 0) owner = here(to);
        EXPECT_TRUE(transitions_.retarget(pool_.id(), owners_));
    }
    void set_state(std::uint16_t backend, fl_backend_state state) {
        states_.at(backend) = state;
        pool_.set_state(here(backend), state);
        EXPECT_TRUE(transitions_.retarget(pool_.id()));
        tell();
    }
    void send_through(const test::Bytes& frame) {
        auto engine = engine_now();
        pool_.to(engine, frame);
    }
    std::string looks(const test::Bytes& frame) {
        auto engine = engine_now();
        engine.only_looks = 1;
        const auto index = pool_.to(engine, frame);
        return index == MovingPool::kNobody ? "nobody" : "b" + std::to_string(here(static_cast<std::uint16_t>(index)));
    }

    void step(TimePoint now, std::deque<Wire>& out, Dice& dice) {
        take_states();
        feed();
        while (sink_->step()) continue;
        transitions_.step();
        for (int i = 0; i < 64; ++i) {
            const auto message = session_->next(now);
            if (!message) break;
            // One in twenty is lost, one in twenty doubled, one in ten late.
            const auto fate = dice.below(100);
            const auto late = fate >= 90 ? kStep * static_cast<int>(1 + dice.below(8)) : 0ms;
            for (int copies = fate < 5 ? 0 : fate < 10 ? 2 : 1; copies > 0; --copies)
                out.push_back({now + late, {message->begin(), message->end()}});
        }
    }
    void receive(const Wire& wire, TimePoint now) { session_->received(wire.bytes, now); }
    sync::SessionStatus status(TimePoint now) const { return session_->status(now); }
    const SyncSink& sink() const { return *sink_; }
    const std::array<fl_backend_state, kBackends>& states() const { return states_; }

  private:
    // A backend's index here, and back: its own inverse.
    std::uint16_t here(std::uint16_t backend) const {
        return reversed_ ? static_cast<std::uint16_t>(kBackends - 1 - backend) : backend;
    }
    fl_engine engine_now() const {
        auto engine = pool_.engine();
        engine.now_ns = engine.now_coarse_ns = tables::monotonic_ns();
        return engine;
    }
    void feed() {
        std::vector<std::uint32_t> groups;
        dirty_.take(tables::pin_groups(pool_.tables()), groups);
        source_->add_dirty(groups, 0);
        source_->compare_slots();
    }
    // As the controller does with a view.
    void take_states() {
        for (const auto& name : sink_->take_changed())
            if (const auto* view = sink_->view(name))
                for (const auto& [backend, health] : view->health) {
                    const auto index = static_cast<std::uint16_t>(backend.back() - '0');
                    const auto state = health.dead                              ? FL_BACKEND_DEAD
                                       : health.verdict == plan::Verdict::kDown ? FL_BACKEND_UNHEALTHY
                                                                                : FL_BACKEND_HEALTHY;
                    states_.at(index) = state;
                    pool_.set_state(here(index), state);
                }
    }
    void tell() {
        std::map<std::uint32_t, ToldPool> pools;
        if (active_) {
            ToldPool pool{{pool_.id(), kSlots, FL_POOL_ALL_DOWN_RESET, {}, "web"}, {}};
            for (std::uint16_t i = 0; i < kBackends; ++i) {
                const auto backend = here(i);
                sync::ViewRecord view{.pool = pool_.id(), .index = i, .weight = {}, .up_for_ms = {}};
                view.verdict = states_.at(backend) == FL_BACKEND_HEALTHY ? 1 : 2;
                view.dead = states_.at(backend) == FL_BACKEND_DEAD;
                pool.backends.push_back({{pool_.id(), i, FL_FORWARD_L2DSR,
                                          IpAddress::parse("203.0.113." + std::to_string(backend + 1)).value(),
                                          "b" + std::to_string(backend)},
                                         view});
            }
            pools.emplace(pool_.id(), pool);
        }
        if (source_->set_pools(pools)) session_->restart();
    }

    bool reversed_, active_ = false;
    MovingPool pool_;
    Transitions transitions_;
    tables::DirtyPins dirty_;
    std::vector<std::uint16_t> owners_;
    std::array<fl_backend_state, kBackends> states_ = {FL_BACKEND_HEALTHY, FL_BACKEND_HEALTHY, FL_BACKEND_HEALTHY,
                                                       FL_BACKEND_HEALTHY, FL_BACKEND_HEALTHY};
    std::unique_ptr<SyncSource> source_;
    std::unique_ptr<SyncSink> sink_;
    std::optional<sync::Session> session_;
};

class Pair {
  public:
    explicit Pair(std::uint64_t seed) : dice_(seed), a_(false, now_, nonce()), b_(true, now_, nonce()) {
        a_.set_active(true);
        b_.set_active(false);
        for (std::uint16_t flow = 0; flow < kFlows; ++flow)
            flows_.emplace_back(static_cast<std::uint16_t>(20'000 + flow), MovingPool::kPort);
    }

    void run() {
        for (int i = 0; i < kSteps; ++i) {
            act();
            step();
        }
        for (int i = 0; i < kQuietSteps; ++i) step();
    }

    void expect_alike() {
        ASSERT_FALSE(live_.empty());
        ASSERT_TRUE(standby().sink().whole());
        ASSERT_FALSE(active().status(now_).behind_since);
        EXPECT_EQ(standby().states(), active().states());
        for (const auto flow : live_)
            EXPECT_EQ(standby().looks(flows_[flow].data), active().looks(flows_[flow].data)) << flow;
    }

    int moves = 0, restarts = 0, takeovers = 0;

  private:
    Node& active() { return a_.active() ? a_ : b_; }
    Node& standby() { return a_.active() ? b_ : a_; }
    std::uint64_t nonce() { return ++nonces_; }

    void act() {
        for (int i = 0; i < 4; ++i) {
            const auto flow = static_cast<std::uint16_t>(dice_.below(kFlows));
            if (live_.insert(flow).second) active().send_through(flows_[flow].syn);
            active().send_through(flows_[flow].data);
        }
        if (dice_.below(20) == 0) active().move(dice_), ++moves;
        if (dice_.below(60) == 0) {
            constexpr std::array kStates = {FL_BACKEND_HEALTHY, FL_BACKEND_UNHEALTHY, FL_BACKEND_DEAD};
            active().set_state(static_cast<std::uint16_t>(dice_.below(kBackends)), kStates.at(dice_.below(3)));
        }
        if (dice_.below(150) == 0) (dice_.below(2) ? a_ : b_).start(now_, nonce()), ++restarts;
        if (dice_.below(200) == 0) take_over();
    }

    // The active one is silent from now on, for all that the standby knows; then it hears of it.
    void take_over() {
        auto& before = active();
        auto& after = standby();
        before.set_active(false);
        after.set_active(true);
        ++takeovers;
    }

    void step() {
        now_ += kStep;
        a_.step(now_, to_b_, dice_);
        b_.step(now_, to_a_, dice_);
        deliver(to_b_, b_);
        deliver(to_a_, a_);
    }
    void deliver(std::deque<Wire>& wires, Node& node) {
        std::deque<Wire> later;
        for (auto& wire : wires) {
            if (wire.due <= now_)
                node.receive(wire, now_);
            else
                later.push_back(std::move(wire));
        }
        wires = std::move(later);
    }

    Dice dice_;
    TimePoint now_{1h};
    std::uint64_t nonces_ = 0;
    Node a_, b_;
    std::deque<Wire> to_a_, to_b_;
    std::vector<test::FlowPackets> flows_;
    std::set<std::uint16_t> live_;
};

class SyncSimulation : public testing::TestWithParam<int> {};

TEST_P(SyncSimulation, BothSteerEveryLiveFlowAlikeOnceItIsQuiet) {
    Pair pair(static_cast<std::uint64_t>(GetParam()));
    pair.run();
    pair.expect_alike();
    EXPECT_GT(pair.moves, 0);
    RecordProperty("restarts", pair.restarts);
    RecordProperty("takeovers", pair.takeovers);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SyncSimulation, testing::Range(1, 21));

}  // namespace
}  // namespace fairlead::simulation
