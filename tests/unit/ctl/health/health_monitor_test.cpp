// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/health_monitor.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <map>
#include <optional>

#include "tests/unit/ctl/health/loopback_server.h"

namespace fairlead::health {
namespace {

using namespace std::chrono_literals;
using testing::BoundSocket;

TargetKey target(std::uint16_t port, std::chrono::milliseconds interval = 20ms) {
    TargetKey key;
    key.address = IpAddress::parse("127.0.0.1").value();
    key.check.port = port;
    key.check.interval = interval;
    key.check.timeout = 10s;
    key.check.rise = 2;
    key.check.fall = 2;
    return key;
}

// Answers each probe from the event loop with what the test set for its port.
class FakeRunner : public ProbeRunner {
  public:
    explicit FakeRunner(boost::asio::io_context& io) : io_(io) {}
    void start(TargetId id, const TargetKey& key, Done done) override {
        EXPECT_TRUE(running_.emplace(id, std::move(done)).second) << "overlapping probes";
        most_running_ = std::max(most_running_, running_.size());
        ++starts_[key.check.port];
        if (answers_.contains(key.check.port))
            boost::asio::post(io_, [this, id, result = answers_[key.check.port]] { answer(id, result); });
    }
    void cancel(TargetId id) override {
        EXPECT_EQ(running_.erase(id), 1U);
        ++cancelled_;
    }
    void answer(TargetId id, const ProbeResult& result) {
        const auto found = running_.find(id);
        if (found == running_.end()) return;
        const Done done = std::move(found->second);
        running_.erase(found);
        done(result);
    }

    std::map<std::uint16_t, ProbeResult> answers_;
    std::map<std::uint16_t, int> starts_;
    std::map<TargetId, Done> running_;
    std::size_t most_running_ = 0;
    int cancelled_ = 0;

  private:
    boost::asio::io_context& io_;
};

const ProbeResult kOk{Outcome::kOk, {}, 1ms};
const ProbeResult kFailed{Outcome::kFailed, "connection refused", 1ms};

// Runs the loop until the condition holds; a test that never gets there fails on the ceiling.
template <typename Condition>
bool run_until(boost::asio::io_context& io, Condition condition) {
    const auto ceiling = std::chrono::steady_clock::now() + 30s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > ceiling) return false;
        io.restart();
        io.run_one_for(100ms);
    }
    return true;
}

TEST(HealthMonitor, TellsEachChangeOnce) {
    boost::asio::io_context io;
    FakeRunner runner(io);
    HealthMonitor monitor(io, runner, {});
    std::vector<std::string> told;
    int results = 0;
    monitor.on_change([&](const TargetKey& key, Verdict from, Verdict to, const std::string& reason) {
        EXPECT_EQ(monitor.verdict(key), to);
        told.push_back(std::string(to_string(from)) + ">" + std::string(to_string(to)) + ": " + reason);
    });
    monitor.on_result([&](const TargetKey&, const ProbeResult&, const CheckState& state) {
        EXPECT_EQ(state.results(), static_cast<std::uint64_t>(++results));
    });
    runner.answers_[80] = kOk;
    monitor.set_targets({{target(80)}, {target(80)}});
    EXPECT_FALSE(monitor.all_reported());
    ASSERT_TRUE(run_until(io, [&] { return results >= 3; }));
    EXPECT_TRUE(monitor.all_reported());
    runner.answers_[80] = kFailed;
    ASSERT_TRUE(run_until(io, [&] { return told.size() >= 2; }));
    runner.answers_[80] = kOk;
    ASSERT_TRUE(run_until(io, [&] { return told.size() >= 3; }));
    EXPECT_EQ(told, (std::vector<std::string>{"unknown>up: first check passed",
                                              "up>down: connection refused (2 failed in a row)",
                                              "down>up: 2 passed in a row"}));
    EXPECT_EQ(runner.most_running_, 1U);
}

TEST(HealthMonitor, KeepsWithinItsPlaces) {
    boost::asio::io_context io;
    FakeRunner runner(io);  // answers nothing by itself, so that the places fill whatever the machine's speed
    HealthMonitor monitor(io, runner, {.jitter_seed = 1, .max_in_flight = 3});
    std::vector<TargetSpec> specs;
    for (std::uint16_t port = 1; port <= 30; ++port) specs.push_back({target(port, 5ms)});
    monitor.set_targets(specs);
    while (!monitor.all_reported()) {
        ASSERT_TRUE(run_until(io, [&] { return runner.running_.size() == 3; }));
        // Time enough for the others to be due as well.
        const auto later = std::chrono::steady_clock::now() + 10ms;
        ASSERT_TRUE(run_until(io, [&] { return std::chrono::steady_clock::now() > later; }));
        ASSERT_EQ(runner.running_.size(), 3U);
        std::vector<TargetId> ids;
        for (const auto& [id, done] : runner.running_) ids.push_back(id);
        for (const TargetId id : ids) runner.answer(id, kOk);
    }
    EXPECT_EQ(runner.most_running_, 3U);
}

TEST(HealthMonitor, CancelsProbesOfTargetsThatAreGone) {
    boost::asio::io_context io;
    FakeRunner runner(io);  // never answers port 81
    runner.answers_[80] = kOk;
    HealthMonitor monitor(io, runner, {});
    monitor.set_targets({{target(80)}, {target(81)}});
    ASSERT_TRUE(run_until(io, [&] { return runner.starts_[81] == 1 && monitor.verdict(target(80)) == Verdict::kUp; }));
    monitor.set_targets({{target(80)}});
    EXPECT_EQ(runner.cancelled_, 1);
    EXPECT_EQ(monitor.verdict(target(80)), Verdict::kUp);
    EXPECT_TRUE(monitor.all_reported());
    const int before = runner.starts_[80];
    ASSERT_TRUE(run_until(io, [&] { return runner.starts_[80] > before; }));  // goes on
    monitor.stop();
    EXPECT_EQ(monitor.size(), 0U);
    EXPECT_TRUE(runner.running_.empty());
}

TEST(HealthMonitor, ACallbackMayReplaceTheTargets) {
    boost::asio::io_context io;
    FakeRunner runner(io);
    runner.answers_[80] = kFailed;
    runner.answers_[81] = kOk;
    HealthMonitor monitor(io, runner, {});
    monitor.on_change([&](const TargetKey& key, Verdict, Verdict, const std::string&) {
        if (key.check.port == 80) monitor.set_targets({{target(81)}});
    });
    monitor.set_targets({{target(80)}});
    ASSERT_TRUE(run_until(io, [&] { return monitor.verdict(target(81)) == Verdict::kUp; }));
    EXPECT_EQ(monitor.verdict(target(80)), Verdict::kUnknown);
    EXPECT_EQ(monitor.size(), 1U);
}

TEST(HealthMonitor, AnAdoptedVerdictStandsBeforeTheFirstResult) {
    boost::asio::io_context io;
    FakeRunner runner(io);
    runner.answers_[80] = kFailed;
    HealthMonitor monitor(io, runner, {});
    monitor.set_targets({{target(80), Verdict::kUp}});
    EXPECT_TRUE(monitor.all_reported());
    EXPECT_EQ(monitor.verdict(target(80)), Verdict::kUp);
    ASSERT_TRUE(run_until(io, [&] { return monitor.verdict(target(80)) == Verdict::kDown; }));
    EXPECT_EQ(monitor.state(target(80))->results(), 2U);
}

TEST(HealthMonitor, MayEndWhileProbesRun) {
    boost::asio::io_context io;
    FakeRunner runner(io);
    {
        HealthMonitor monitor(io, runner, {});
        monitor.set_targets({{target(80)}});
        ASSERT_TRUE(run_until(io, [&] { return runner.starts_[80] == 1; }));
    }
    EXPECT_TRUE(runner.running_.empty());
    io.restart();
    io.run();
}

TEST(HealthMonitor, FollowsARealListener) {
    boost::asio::io_context io;
    std::optional<BoundSocket> server(std::in_place);
    server->listen(64);
    const TargetKey key = target(server->port());
    HealthMonitor monitor(io);
    std::vector<std::string> reasons;
    monitor.on_change(
        [&](const TargetKey&, Verdict, Verdict, const std::string& reason) { reasons.push_back(reason); });
    monitor.set_targets({{key}});
    ASSERT_TRUE(run_until(io, [&] { return monitor.verdict(key) == Verdict::kUp; }));
    server.reset();
    ASSERT_TRUE(run_until(io, [&] { return monitor.verdict(key) == Verdict::kDown; }));
    ASSERT_EQ(reasons.size(), 2U);
    EXPECT_TRUE(reasons[1].starts_with("connection refused") || reasons[1].starts_with("connection reset"))
        << reasons[1];
}

}  // namespace
}  // namespace fairlead::health
