// SPDX-License-Identifier: Apache-2.0
// Two sessions, a source and a sink each, and a network between them that loses, doubles, delays and reorders, on a clock of
// its own. What is told is a table of numbers, as pins: key, value, and the place in the stream where the pool would be.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <tuple>
#include <vector>

#include "ctl/sync/records.h"
#include "ctl/sync/session.h"
#include "tests/simulation/dice.h"

namespace fairlead::sync {

using Bytes = std::vector<std::uint8_t>;
using std::chrono::nanoseconds;
using namespace std::chrono_literals;

class TestSource : public Source {
  public:
    explicit TestSource(std::size_t size = 0) : values(size) {}
    void begin() override {
        ++begun;
        sequence_ = 0;
        queue_.clear();
        for (std::uint32_t key = 0; key < values.size(); ++key) queue_.push_back(key);
    }
    std::size_t fill(std::span<std::uint8_t> room) override {
        ++asked;
        RecordWriter writer(room);
        while (!queue_.empty()) {
            const Pin pin{queue_.front(), values[queue_.front()], sequence_, 0, 0, 2};
            if (writer.add_pins({&pin, 1}) == 0) break;
            ++sequence_;
            queue_.pop_front();
        }
        return writer.size();
    }
    bool has_state() const override { return state; }
    void change(std::uint32_t key, std::uint32_t value) {
        values.at(key) = value;
        queue_.push_back(key);
    }

    std::vector<std::uint32_t> values;
    std::size_t begun = 0, asked = 0;
    bool state = true;

  private:
    std::deque<std::uint32_t> queue_;
    std::uint32_t sequence_ = 0;
};

class TestSink : public Sink {
  public:
    void begin() override {
        ++begun;
        expected_ = 0;
        values.clear();
    }
    bool apply(std::span<const std::uint8_t> records) override {
        ++applied;
        return readable && read_records(records, [&](const Record& record) {
                   for (const auto& pin : std::get<PinsRecord>(record).pins) {
                       EXPECT_EQ(pin.pool, expected_++) << "each record once, and in order";
                       values[pin.bucket] = pin.signature;
                   }
               });
    }
    bool has(const TestSource& source) const {
        if (values.size() != source.values.size()) return false;
        for (const auto& [key, value] : values)
            if (source.values[key] != value) return false;
        return true;
    }

    std::map<std::uint32_t, std::uint32_t> values;
    std::size_t begun = 0, applied = 0;
    bool readable = true;

  private:
    std::uint32_t expected_ = 0;
};

struct Network {
    double loss = 0, doubling = 0;
    nanoseconds delay = 100us, jitter{0};
    bool cut[2] = {false, false};  // what node 0 sends, what node 1 sends
    std::size_t queue = SIZE_MAX;  // messages on their way; more are lost
};

class SessionPair {
  public:
    struct Node {
        SessionOptions options;
        std::unique_ptr<Source> source;
        std::unique_ptr<Sink> sink;
        std::unique_ptr<Session> session;
        std::uint64_t bytes = 0;
        TestSource& tells() { return dynamic_cast<TestSource&>(*source); }
        TestSink& has() { return dynamic_cast<TestSink&>(*sink); }
    };

    explicit SessionPair(std::uint64_t seed = 1, std::size_t size = 10) : dice(seed) {
        for (std::size_t i = 0; i < 2; ++i) {
            nodes[i].options.key.bytes.fill(0x5a);
            nodes[i].options.name = i == 0 ? "lb-a" : "lb-b";
            nodes[i].options.common = {1, 0x1a2b3c4d, 4096};
            nodes[i].source = std::make_unique<TestSource>(size);
            nodes[i].sink = std::make_unique<TestSink>();
        }
        start(0);
        start(1);
    }

    // The process of this node is another: nothing is left of the last one but what its sink has got.
    void start(std::size_t node) {
        auto& at = nodes[node];
        at.options.nonce = ++nonce_;
        at.session = std::make_unique<Session>(at.options, *at.source, *at.sink, now);
    }
    void stop(std::size_t node) { nodes[node].session.reset(); }

    void run(nanoseconds duration) {
        const auto end = now + duration;
        while (true) {
            deliver();
            auto wake = end;
            for (std::size_t node = 0; node < 2; ++node) wake = std::min(wake, send(node));
            if (!flying_.empty()) wake = std::min(wake, flying_.top().at);
            now = std::max(now, wake);
            if (now >= end) return;
        }
    }
    // Until it holds, at steps of a millisecond.
    template <typename Condition>
    bool run_until(Condition condition, nanoseconds most) {
        const auto end = now + most;
        while (!condition() && now < end) run(1ms);
        return condition();
    }
    bool both_agree() {
        for (std::size_t node = 0; node < 2; ++node)
            if (!nodes[1 - node].has().has(nodes[node].tells()) || status(node).behind_since) return false;
        return true;
    }
    SessionStatus status(std::size_t node) { return nodes[node].session->status(now); }
    std::uint64_t refused(std::size_t node, SyncRefusal why) {
        return status(node).refused.at(static_cast<std::size_t>(why));
    }

    std::array<Node, 2> nodes;
    Network network;
    simulation::Dice dice;
    TimePoint now{std::chrono::hours{1}};
    bool recording = false;
    std::array<std::vector<Bytes>, 2> sent;

  private:
    struct Flying {
        TimePoint at;
        std::uint64_t order;
        std::size_t to;
        Bytes bytes;
        bool operator<(const Flying& other) const { return std::tie(other.at, other.order) < std::tie(at, order); }
    };

    void deliver() {
        while (!flying_.empty() && flying_.top().at <= now) {
            const auto flying = flying_.top();
            flying_.pop();
            if (nodes[flying.to].session) nodes[flying.to].session->received(flying.bytes, now);
        }
    }
    TimePoint send(std::size_t node) {
        auto& from = nodes[node];
        if (!from.session) return TimePoint::max();
        while (const auto bytes = from.session->next(now)) {
            EXPECT_LE(bytes->size(), kMessageBytes);
            from.bytes += bytes->size();
            if (recording) sent[node].emplace_back(bytes->begin(), bytes->end());
            const int copies = network.cut[node] || flying_.size() >= network.queue || dice.fraction() < network.loss
                                   ? 0
                               : dice.fraction() < network.doubling ? 2
                                                                    : 1;
            for (int i = 0; i < copies; ++i) {
                const auto late = nanoseconds(
                    static_cast<std::int64_t>(dice.fraction() * static_cast<double>(network.jitter.count())));
                flying_.push({now + network.delay + late, ++order_, 1 - node, {bytes->begin(), bytes->end()}});
            }
        }
        const auto wake = from.session->wake(now);
        EXPECT_GT(wake, now) << "what says that there is nothing to send is not to be asked again at once";
        return std::max(wake, now + 1us);
    }

    std::priority_queue<Flying> flying_;
    std::uint64_t order_ = 0, nonce_ = 1000;
};

}  // namespace fairlead::sync
