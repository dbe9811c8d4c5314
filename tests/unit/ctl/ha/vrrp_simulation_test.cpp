// SPDX-License-Identifier: Apache-2.0
// Two instances on a network that delays, loses and parts, with clocks that drift, nodes that are paused and nodes that
// crash. What is checked is the role words alone, in the order of true time, as an engine would read them:
//
//   crash, pause, drift    on a network that loses nothing: never two active
//   loss                   two until an advert reaches the node with the worse claim
//   partition              two until it heals, plus one interval; and whoever stays active has announced last
//   any                    none for at most the down timer plus one interval, once all is quiet
//
// A failure prints its seed; FAIRLEAD_SEED=N runs that one alone, FAIRLEAD_RUNS=N so many.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "ctl/ha/vrrp_instance.h"
#include "tests/unit/ctl/ha/adverts.h"

namespace fairlead::ha {
namespace {

using namespace std::chrono_literals;

using Random = std::mt19937_64;

Duration draw(Random& random, Duration least, Duration most) {
    return Duration(std::uniform_int_distribution<std::int64_t>(least.count(), most.count())(random));
}
bool chance(Random& random, double probability) { return std::uniform_real_distribution<>(0, 1)(random) < probability; }

struct Faults {
    double loss = 0;
    bool partitions = false;
    bool pauses = false;
    bool crashes = false;
};

struct World {
    Duration interval{};
    Duration flight{};  // the longest
    Faults faults;
    TimePoint now{1000s};
    std::optional<TimePoint> parted_until;
};

// One machine: an instance, its clock, its role word. `now` of the world is true time, local() the machine's.
struct Machine {
    IpAddress address;
    InstanceSettings settings;
    double drift = 1;
    std::optional<VrrpInstance> instance;  // none: crashed
    TimePoint role_until;                  // local; what an engine reads, whether or not lbd lives
    TimePoint paused_until;
    TimePoint last_announcement;

    TimePoint local(TimePoint time) const {
        return TimePoint(
            Duration(static_cast<std::int64_t>(static_cast<double>(time.time_since_epoch().count()) * drift)));
    }
    TimePoint true_time(TimePoint time) const {
        return TimePoint(
            Duration(static_cast<std::int64_t>(static_cast<double>(time.time_since_epoch().count()) / drift) + 1));
    }
    bool active(TimePoint time) const { return local(time) < role_until; }
};

class Simulation {
  public:
    Simulation(std::uint64_t seed, const Faults& faults) : random_(seed) {
        constexpr std::array<int, 4> kIntervals = {1, 5, 10, 100};
        const Centiseconds interval(kIntervals[random_() % kIntervals.size()]);
        world_.interval = interval;
        world_.flight = std::min<Duration>(world_.interval / 20, 1ms);
        world_.faults = faults;
        const bool preempt = chance(random_, 0.7);
        for (std::size_t i = 0; i < 2; ++i) {
            auto& machine = machines_.at(i);
            machine.address = ip(i == 0 ? "192.0.2.2" : "192.0.2.3");
            machine.settings = {.priority = static_cast<std::uint8_t>(i == 0 ? 150 : 100),
                                .advert_interval = interval,
                                .preempt = preempt,
                                .preempt_delay = chance(random_, 0.3) ? 5 * world_.interval : Duration(0),
                                .address = machine.address};
            machine.drift = std::uniform_real_distribution<>(0.9998, 1.0002)(random_);
            boot(machine);
        }
    }

    // Runs for so many intervals. Nothing is wrong if the text is empty.
    std::string run(int intervals) {
        const auto end = world_.now + intervals * world_.interval;
        quiet_from_ = end - 30 * world_.interval;
        while (world_.now < end && wrong_.empty()) step();
        if (wrong_.empty()) check_the_end();
        return wrong_;
    }

    Duration longest_double() const { return longest_double_; }

  private:
    struct Packet {
        std::size_t to = 0;
        IpAddress source;
        std::uint8_t priority = 0;
    };

    void boot(Machine& machine) {
        machine.instance.emplace(machine.settings);
        act(machine, machine.instance->set_ready(true, machine.local(world_.now)));
        act(machine, machine.instance->start(machine.local(world_.now)));
    }

    void step() {
        const auto [time, index] = next_event();
        observe(time);
        world_.now = time;
        if (index == kPacket) {
            const auto packet = packets_.begin()->second;
            packets_.erase(packets_.begin());
            deliver(packet);
        } else if (index == kFault) {
            next_fault_ = world_.now + draw(random_, world_.interval, 20 * world_.interval);
            if (world_.now < quiet_from_) make_fault();
        } else {
            wake(machines_.at(index));
        }
    }

    static constexpr std::size_t kWorse = 1;  // machines_[0] has the higher priority
    static constexpr std::size_t kPacket = 10, kFault = 11;

    std::pair<TimePoint, std::size_t> next_event() const {
        std::pair<TimePoint, std::size_t> next{next_fault_, kFault};
        if (!packets_.empty() && packets_.begin()->first < next.first) next = {packets_.begin()->first, kPacket};
        for (std::size_t i = 0; i < machines_.size(); ++i) {
            const auto time = wake_time(machines_.at(i));
            if (time && *time < next.first) next = {*time, i};
        }
        return {std::max(next.first, world_.now), next.second};
    }

    std::optional<TimePoint> wake_time(const Machine& machine) const {
        if (!machine.instance) return machine.paused_until;  // when it boots again
        const auto timer = machine.instance->next_timer();
        if (!timer) return std::nullopt;
        return std::max(machine.true_time(*timer), machine.paused_until);
    }

    void wake(Machine& machine) {
        if (machine.instance)
            act(machine, machine.instance->timer(machine.local(world_.now)));
        else
            boot(machine);
    }

    void deliver(const Packet& packet) {
        auto& machine = machines_.at(packet.to);
        // What arrives at a machine that is frozen whole is lost.
        if (!machine.instance || world_.now < machine.paused_until) return;
        if (world_.parted_until && world_.now < *world_.parted_until) return;
        act(machine, machine.instance->advert_received(packet.source, packet.priority, machine.settings.advert_interval,
                                                       machine.local(world_.now)));
        if (packet.to == kWorse && packet.priority != kPriorityStop) worse_heard_ = world_.now;
    }

    // A single run tells its story.
    void say(const Machine& machine, const std::string& what) const {
        if (!trace_) return;
        const auto intervals = std::chrono::duration<double>(world_.now.time_since_epoch() - 1000s) / world_.interval;
        std::printf("%9.4f %s: %s\n", intervals, machine.address.to_string().c_str(), what.c_str());
    }

    void act(Machine& machine, const Actions& actions) {
        const auto local = machine.local(world_.now);
        if (actions.change)
            say(machine,
                std::string(to_string(actions.change->to)) + ", " + std::string(to_string(actions.change->reason)));
        if (actions.advert) say(machine, "sends " + std::to_string(*actions.advert));
        if (actions.announce) say(machine, "announces");
        if (actions.withdraw) machine.role_until = {};
        if (actions.advert) send(machine, *actions.advert);
        if (actions.role_until) machine.role_until = *actions.role_until;
        if (actions.announce) machine.last_announcement = world_.now;
        if (actions.advert) act(machine, machine.instance->advert_sent(true, local, local));
        if (actions.farewell) send(machine, kPriorityStop);
    }

    void send(const Machine& machine, std::uint8_t priority) {
        const std::size_t to = &machine == machines_.data() ? 1 : 0;
        const auto arrival = world_.now + draw(random_, world_.flight / 10, world_.flight);
        const bool lost = chance(random_, world_.faults.loss) && world_.now < quiet_from_;
        if (!lost) packets_.emplace(arrival, Packet{to, machine.address, priority});
    }

    void make_fault() {
        auto& machine = machines_.at(random_() % 2);
        const auto duration = draw(random_, world_.interval / 2, 12 * world_.interval);
        disturbed_until_ = std::max(disturbed_until_, world_.now + duration);
        const auto kind = random_() % 3;
        say(machine, "fault " + std::to_string(kind) + " for " +
                         std::to_string(std::chrono::duration<double>(duration) / world_.interval) + " intervals");
        switch (kind) {
            case 0:
                if (world_.faults.pauses) machine.paused_until = std::max(machine.paused_until, world_.now + duration);
                break;
            case 1:
                if (!world_.faults.crashes) break;
                if (machine.instance && chance(random_, 0.3))
                    act(machine, machine.instance->stop(machine.local(world_.now)));
                machine.instance.reset();
                machine.paused_until = std::max(machine.paused_until, world_.now + duration);
                break;
            default:
                if (world_.faults.partitions) world_.parted_until = world_.now + duration;
        }
    }

    // What held from the last event to this one, at `time`: words only run out between events.
    void observe(TimePoint time) {
        const bool first = machines_[0].active(world_.now);
        const bool second = machines_[1].active(world_.now);
        if (first && second) {
            const auto end = std::min({time, machines_[0].true_time(machines_[0].role_until),
                                       machines_[1].true_time(machines_[1].role_until)});
            double_since_ = double_since_.value_or(world_.now);
            longest_double_ = std::max(longest_double_, end - *double_since_);
            check_two(end);
        } else {
            double_since_.reset();
        }
        if (!first && !second)
            check_none(time);
        else
            none_since_.reset();
    }

    // Two are active from double_since_ to `end`.
    void check_two(TimePoint end) {
        const auto& faults = world_.faults;
        if (faults.loss == 0 && !faults.partitions) return fail("two active");
        if (worse_heard_ >= *double_since_) return fail("two active although the worse one has heard the other");
        const auto healed = std::max(*double_since_, world_.parted_until.value_or(TimePoint{}));
        if (faults.loss == 0 && !faults.pauses && end > healed + world_.interval + 3 * world_.flight)
            fail("two active for long after the partition");
    }

    // None active although a machine that could be runs: only faults that go on excuse it.
    void check_none(TimePoint time) {
        if (!none_since_) none_since_ = world_.now;
        const auto undisturbed = std::max({*none_since_, disturbed_until_, machines_[0].paused_until,
                                           machines_[1].paused_until, world_.parted_until.value_or(TimePoint{})});
        // Where what a preempted node says is lost, its lease is waited for.
        const auto lease = world_.faults.loss > 0 ? 3 * world_.interval : Duration(0);
        const auto bound = 4 * world_.interval + world_.interval + lease + 3 * world_.flight;
        if (time > undisturbed && time - undisturbed > bound) fail("none active for too long");
    }

    void check_the_end() {
        const bool first = machines_[0].active(world_.now);
        const bool second = machines_[1].active(world_.now);
        if (first == second) return fail(first ? "two active in the end" : "none active in the end");
        const auto& winner = machines_.at(first ? 0 : 1);
        const auto& other = machines_.at(first ? 1 : 0);
        // Clients believe who announced last. (A loser that is killed, or whose last words are lost, cannot say so.)
        const bool said = world_.faults.loss == 0 && !world_.faults.crashes;
        if (said && winner.last_announcement < other.last_announcement) fail("the loser announced last");
        if (machines_[0].settings.preempt && !first) fail("the better node did not come back");
    }

    void fail(const std::string& what) {
        if (wrong_.empty()) wrong_ = what;
    }

    Random random_;
    World world_;
    std::array<Machine, 2> machines_;
    std::multimap<TimePoint, Packet> packets_;
    TimePoint next_fault_ = world_.now;
    TimePoint quiet_from_;
    TimePoint disturbed_until_;
    TimePoint worse_heard_;
    std::optional<TimePoint> double_since_;
    std::optional<TimePoint> none_since_;
    Duration longest_double_{};
    std::string wrong_;
    bool trace_ = std::getenv("FAIRLEAD_SEED") != nullptr;
};

std::uint64_t number(const char* variable, std::uint64_t fallback) {
    const char* text = std::getenv(variable);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : fallback;
}

void simulate(const Faults& faults) {
    const std::uint64_t runs = number("FAIRLEAD_RUNS", 10'000);
    const std::uint64_t first = number("FAIRLEAD_SEED", 1);
    const std::uint64_t last = std::getenv("FAIRLEAD_SEED") != nullptr ? first : runs;
    for (auto seed = first; seed <= last; ++seed) {
        Simulation simulation(seed, faults);
        ASSERT_EQ(simulation.run(150), "") << "FAIRLEAD_SEED=" << seed;
    }
}

TEST(VrrpSimulation, CrashesPausesAndDriftNeverMakeTwo) {
    simulate({.loss = 0, .partitions = false, .pauses = true, .crashes = true});
}

TEST(VrrpSimulation, LossMakesTwoOnlyUntilTheWorseHears) {
    simulate({.loss = 0.2, .partitions = false, .pauses = false, .crashes = false});
}

TEST(VrrpSimulation, PartitionsMakeTwoOnlyUntilTheyHeal) {
    simulate({.loss = 0, .partitions = true, .pauses = false, .crashes = false});
}

TEST(VrrpSimulation, AllTogetherEndWell) {
    simulate({.loss = 0.1, .partitions = true, .pauses = true, .crashes = true});
}

}  // namespace
}  // namespace fairlead::ha
