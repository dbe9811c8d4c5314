// SPDX-License-Identifier: Apache-2.0
// What a standby costs: a million pins told in whole, by the source, sessions and sink that lbd runs, over two UDP sockets of
// the loopback, at several bounds of the rate and with messages lost; and then one new pin, from its confirmation until
// the other table has it. Every pin is looked for at the end. Prints one JSON object.
#include <poll.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <ctime>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <vector>

#include "ctl/ha/peer_socket.h"
#include "ctl/lbd/sync_sink.h"
#include "ctl/lbd/sync_source.h"
#include "tests/simulation/dice.h"
#include "tests/support/moving_pool.h"

namespace fairlead::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using simulation::Dice;
using test::MovingPool;

constexpr std::uint16_t kPort = 29'437;
constexpr std::uint32_t kSlots = 65'536;
constexpr auto kPatience = std::chrono::seconds(120);
constexpr int kReceiveBuffer = 4 << 20;

double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// One of the two: tables, what tells them or takes them, and a socket on an address of its own.
struct Node {
    Node(const test::MovingPoolShape& shape, const char* own, const char* other, std::uint64_t nonce,
         std::uint64_t rate)
        : pool(shape),
          transitions(pool.writer(), tables::make_grace(pool.tables()).value()),
          source(pool.tables(), pool.writer()),
          sink(pool.tables(), pool.writer(), transitions,
               [this](std::uint32_t id) { (void)transitions.set_following({id}); }),
          session(options(nonce, rate, pool.tables().limits().pins), source, sink, Clock::now()),
          peer(IpAddress::parse(other).value()),
          socket(
              ha::PeerSocket::open({"lo", 1, IpAddress::parse(own).value(), kPort, sync::kMessageBytes, kReceiveBuffer})
                  .value()) {}

    static sync::SessionOptions options(std::uint64_t nonce, std::uint64_t rate, std::uint32_t pins) {
        sync::SessionOptions options{.key = {}, .nonce = nonce, .name = "node", .common = {.pins = pins}};
        options.bytes_per_second = rate;
        return options;
    }

    void send(Dice& dice, double loss) {
        for (int i = 0; i < 64; ++i) {
            const auto message = session.next(Clock::now());
            if (!message) return;
            bytes += message->size();
            ++messages;
            if (!dice.chance(loss)) (void)socket.send(peer, *message);
        }
    }
    void receive() {
        for (int i = 0; i < 256; ++i) {
            const auto message = socket.receive();
            if (!message) return;
            session.received(message->bytes, Clock::now());
        }
    }

    MovingPool pool;
    Transitions transitions;
    SyncSource source;
    SyncSink sink;
    sync::Session session;
    IpAddress peer;
    ha::PeerSocket socket;
    std::uint64_t bytes = 0, messages = 0;
};

class Pair {
  public:
    Pair(std::uint32_t pins, std::uint64_t rate_mbit, double loss)
        : loss_(loss),
          active_(shape(pins, false), "127.0.0.1", "127.0.0.2", 1, rate_mbit * 125'000),
          standby_(shape(pins, true), "127.0.0.2", "127.0.0.1", 2, rate_mbit * 125'000) {
        Dice random(7);
        const auto now = tables::monotonic_ns();
        const auto buckets = static_cast<std::uint32_t>(active_.pool.tables().pins().size());
        while (told_.size() < pins) {
            const auto bucket = random.below(buckets);
            const auto signature = static_cast<std::uint32_t>(random.bits());
            const auto backend = static_cast<std::uint16_t>(random.below(kBackends));
            if (!told_.emplace(std::pair(bucket, signature), backend).second) continue;
            if (!put(bucket, signature, backend, now)) throw std::runtime_error("the table of pins is full");
        }
        standby_.sink.allow({standby_.pool.id()});
        active_.source.set_pools({{active_.pool.id(), pool()}});
    }

    Json run() {
        const auto begin = Clock::now();
        const auto cpu = cpu_seconds();
        until([&] { return standby_.sink.whole() && !standby_.sink.step(); });
        const auto seconds = seconds_since(begin), used = cpu_seconds() - cpu;
        Json result{{"seconds", seconds},
                    {"megabytes", static_cast<double>(active_.bytes) / 1e6},
                    {"mbit_per_s", static_cast<double>(active_.bytes) * 8e-6 / seconds},
                    {"messages", active_.messages},
                    {"resent", active_.session.status(Clock::now()).resent},
                    {"cpu_seconds", used},
                    {"applied", standby_.sink.pins_applied()},
                    {"missing", missing()}};
        result["new_pin_ms"] = new_pin_ms();
        return result;
    }

  private:
    static constexpr std::uint16_t kBackends = 8;
    static test::MovingPoolShape shape(std::uint32_t pins, bool reversed) {
        return {.backends = kBackends, .slots = kSlots, .pins = 2 * pins, .reversed = reversed};
    }

    ToldPool pool() const {
        ToldPool told{{active_.pool.id(), kSlots, FL_POOL_ALL_DOWN_RESET, {}, "web"}, {}};
        for (std::uint16_t i = 0; i < kBackends; ++i)
            told.backends.push_back(
                {{active_.pool.id(), i, FL_FORWARD_L2DSR,
                  IpAddress::parse("203.0.113." + std::to_string(i + 1)).value(), "b" + std::to_string(i)},
                 {.pool = active_.pool.id(), .index = i, .verdict = 1, .weight = {}, .up_for_ms = {}}});
        return told;
    }
    bool put(std::uint32_t bucket, std::uint32_t signature, std::uint16_t backend, std::uint64_t now) {
        return tables::put_pin(active_.pool.tables(), bucket, signature, active_.pool.global_index(backend),
                               FL_PIN_CONFIRMED, 0, now)
            .has_value();
    }

    // As lbd's loop does it, of both.
    template <typename Done>
    void until(Done done) {
        std::vector<std::uint32_t> groups;
        tables::DirtyPins dirty(active_.pool.tables());
        Clock::time_point compared;
        for (const auto begin = Clock::now(); !done();) {
            if (Clock::now() - begin > kPatience) throw std::runtime_error("the standby was not told in time");
            groups.clear();
            dirty.take(tables::pin_groups(active_.pool.tables()), groups);
            active_.source.add_dirty(groups, 0);
            if (seconds_since(compared) > 0.02) active_.source.compare_slots(), compared = Clock::now();
            active_.send(dice_, loss_);
            standby_.receive();
            standby_.send(dice_, loss_);
            active_.receive();
            const auto wake = std::min(active_.session.wake(Clock::now()), standby_.session.wake(Clock::now()));
            const auto wait = std::chrono::ceil<std::chrono::milliseconds>(wake - Clock::now()).count();
            pollfd ready[] = {{active_.socket.fd(), POLLIN, 0}, {standby_.socket.fd(), POLLIN, 0}};
            if (wait > 0) (void)poll(ready, 2, static_cast<int>(std::min<long>(wait, 20)));
        }
    }

    std::uint64_t missing() {
        std::uint64_t count = 0;
        auto engine = standby_.pool.tables().engine();
        const auto& meta = standby_.pool.tables().meta();
        for (const auto& [where, backend] : told_) {
            __u64 word = 0;
            fl_find_pin(&engine, &meta, static_cast<__u64>(where.second) << 32 | where.first, &word);
            const auto expected = standby_.pool.global_index(static_cast<std::uint16_t>(kBackends - 1 - backend));
            count += !word || FL_PIN_BACKEND(word) != expected;
        }
        return count;
    }

    // A connection is confirmed by the core, and then the other table is looked at.
    double new_pin_ms() {
        active_.pool.set_words(FL_SLOT_WORD(1, 0, 1, 0));
        until([&] { return standby_.pool.word(kSlots - 1) != FL_SLOT_SETTLED(0) && !behind(); });
        const test::FlowPackets flow(4711, MovingPool::kPort);
        auto engine = active_.pool.engine();
        engine.now_ns = engine.now_coarse_ns = tables::monotonic_ns();
        active_.pool.to(engine, flow.syn);
        active_.pool.to(engine, flow.data);
        const auto before = standby_.sink.pins_applied();
        const auto begin = Clock::now();
        until([&] { return standby_.sink.pins_applied() > before; });
        return seconds_since(begin) * 1e3;
    }
    bool behind() const { return active_.session.status(Clock::now()).behind_since.has_value(); }

    double loss_;
    Dice dice_{1};
    Node active_, standby_;
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint16_t> told_;
};

}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) {
    using namespace fairlead::bench;
    std::uint32_t pins = 1'000'000;
    CLI::App app("what it costs to tell a standby a table of pins");
    app.add_option("--pins", pins)->check(CLI::Range(1'000U, 4'000'000U));
    CLI11_PARSE(app, argc, argv);
    try {
        Json result;
        result["rate_100_mbit"] = Pair(pins, 100, 0).run();
        result["rate_1000_mbit"] = Pair(pins, 1'000, 0).run();
        result["loss_5_percent"] = Pair(pins, 100, 0.05).run();
        result["settings"] = {{"pins", pins}, {"slots", kSlots}};
        std::cout << result.dump(2) << "\n";
    } catch (const std::exception& error) {
        std::cerr << "sync-bench: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
