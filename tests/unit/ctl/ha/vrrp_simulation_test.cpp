// SPDX-License-Identifier: Apache-2.0
// Two nodes on a network that delays, loses and parts, with clocks that drift, nodes that are paused and nodes that crash,
// and an operator who hands over. With two groups, each node is the better one for one of them, and faults meet both. What
// is checked is the role words alone, group by group, in the order of true time, as an engine would read them:
//
//   crash, pause, drift    on a network that loses nothing: never two active
//   loss                   two until an advert reaches the node with the worse claim
//   partition              two until it heals, plus one interval; and whoever stays active has announced last
//   any                    none for at most the down timer plus one interval, once all is quiet and no operator handed over
//   a hand-over            stays, if the other node was there within five intervals
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
#include <vector>

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
    bool hand_overs = false;
    std::size_t groups = 1;
};

struct World {
    Duration interval{};  // the longest of all groups'
    Duration flight{};    // the longest
    Faults faults;
    TimePoint now{1000s};
    std::optional<TimePoint> parted_until;
};

// A group on one machine.
struct Member {
    InstanceSettings settings;
    std::optional<VrrpInstance> instance;  // none: crashed
    TimePoint role_until;                  // local; what an engine reads, whether or not lbd lives
    TimePoint last_announcement;
};

// One machine: its clock, and an instance with its role word for each group. `now` of the world is true time, local() the
// machine's.
struct Machine {
    IpAddress address;
    double drift = 1;
    std::vector<Member> members;
    bool crashed = false;
    TimePoint paused_until;

    TimePoint local(TimePoint time) const {
        return TimePoint(
            Duration(static_cast<std::int64_t>(static_cast<double>(time.time_since_epoch().count()) * drift)));
    }
    TimePoint true_time(TimePoint time) const {
        return TimePoint(
            Duration(static_cast<std::int64_t>(static_cast<double>(time.time_since_epoch().count()) / drift) + 1));
    }
    bool active(std::size_t group, TimePoint time) const { return local(time) < members[group].role_until; }
};

// What is known of a group on both machines.
struct Watch {
    std::size_t better = 0;  // the machine of higher priority
    Duration interval{};
    bool handed_over = false;            // ever
    const Machine* handed_by = nullptr;  // an operator told it to, and none has taken over yet ...
    TimePoint handed_at = {};            // ... since then
    TimePoint worse_heard = {};
    std::optional<TimePoint> double_since = std::nullopt;
    std::optional<TimePoint> none_since = std::nullopt;
};

class Simulation {
  public:
    Simulation(std::uint64_t seed, const Faults& faults) : random_(seed) {
        constexpr std::array<int, 4> kIntervals = {1, 5, 10, 100};
        constexpr std::array<int, 3> kMultiples = {1, 2, 5};
        Centiseconds interval(kIntervals[random_() % kIntervals.size()]);
        world_.flight = std::min<Duration>(Duration(interval) / 20, 1ms);
        world_.faults = faults;
        machines_[0].address = ip("192.0.2.2");
        machines_[1].address = ip("192.0.2.3");
        for (auto& machine : machines_) machine.drift = std::uniform_real_distribution<>(0.9998, 1.0002)(random_);
        for (std::size_t group = 0; group < faults.groups; ++group) {
            add_group(group % 2, interval);
            interval *= kMultiples[random_() % kMultiples.size()];
        }
        for (auto& machine : machines_) boot(machine);
    }

    // Runs for so many intervals. Nothing is wrong if the text is empty.
    std::string run(int intervals) {
        const auto end = world_.now + intervals * world_.interval;
        quiet_from_ = end - 30 * world_.interval;
        while (world_.now < end && wrong_.empty()) step();
        for (std::size_t group = 0; group < watches_.size() && wrong_.empty(); ++group) check_the_end(group);
        return wrong_;
    }

  private:
    struct Packet {
        std::size_t to = 0;
        std::size_t group = 0;
        IpAddress source;
        std::uint8_t priority = 0;
    };

    void add_group(std::size_t better, Centiseconds interval) {
        watches_.push_back({.better = better, .interval = interval});
        world_.interval = std::max<Duration>(world_.interval, interval);
        const bool preempt = chance(random_, 0.7);
        for (std::size_t i = 0; i < machines_.size(); ++i) {
            auto& machine = machines_.at(i);
            Member member;
            member.settings = {.priority = static_cast<std::uint8_t>(i == better ? 150 : 100),
                               .advert_interval = interval,
                               .preempt = preempt,
                               .preempt_delay = chance(random_, 0.3) ? 5 * Duration(interval) : Duration(0),
                               .address = machine.address};
            machine.members.push_back(std::move(member));
        }
    }

    void boot(Machine& machine) {
        machine.crashed = false;
        for (std::size_t group = 0; group < machine.members.size(); ++group) {
            auto& member = machine.members[group];
            member.instance.emplace(member.settings);
            act(machine, group, member.instance->set_ready(true, machine.local(world_.now)));
            act(machine, group, member.instance->start(machine.local(world_.now)));
        }
    }

    void step() {
        const auto [time, index] = next_event();
        for (std::size_t group = 0; group < watches_.size(); ++group) observe(group, time);
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
        if (machine.crashed) return machine.paused_until;  // when it boots again
        std::optional<TimePoint> next;
        for (const auto& member : machine.members) {
            const auto timer = member.instance->next_timer();
            if (timer && (!next || *timer < *next)) next = timer;
        }
        if (!next) return std::nullopt;
        return std::max(machine.true_time(*next), machine.paused_until);
    }

    void wake(Machine& machine) {
        if (machine.crashed) return boot(machine);
        const auto local = machine.local(world_.now);
        for (std::size_t group = 0; group < machine.members.size(); ++group) {
            auto& instance = *machine.members[group].instance;
            const auto timer = instance.next_timer();
            if (timer && *timer <= local) act(machine, group, instance.timer(local));
        }
    }

    void deliver(const Packet& packet) {
        auto& machine = machines_.at(packet.to);
        // What arrives at a machine that is frozen whole is lost.
        if (machine.crashed || world_.now < machine.paused_until) return;
        if (world_.parted_until && world_.now < *world_.parted_until) return;
        auto& member = machine.members[packet.group];
        act(machine, packet.group,
            member.instance->advert_received(packet.source, packet.priority, member.settings.advert_interval,
                                             machine.local(world_.now)));
        auto& watch = watches_[packet.group];
        if (packet.to != watch.better && packet.priority != kPriorityStop) watch.worse_heard = world_.now;
    }

    // A single run tells its story.
    void say(const Machine& machine, const std::string& what) const {
        if (!trace_) return;
        const auto intervals = std::chrono::duration<double>(world_.now.time_since_epoch() - 1000s) / world_.interval;
        std::printf("%9.4f %s: %s\n", intervals, machine.address.to_string().c_str(), what.c_str());
    }

    void act(Machine& machine, std::size_t group, const Actions& actions) {
        auto& member = machine.members[group];
        const auto local = machine.local(world_.now);
        const auto said = [&](const std::string& what) { say(machine, "group " + std::to_string(group) + " " + what); };
        if (actions.change)
            said(std::string(to_string(actions.change->to)) + ", " + std::string(to_string(actions.change->reason)));
        if (actions.change) check_hand_over(machine, group, *actions.change);
        if (actions.advert) said("sends " + std::to_string(*actions.advert));
        if (actions.announce) said("announces");
        if (actions.withdraw) member.role_until = {};
        if (actions.advert) send(machine, group, *actions.advert);
        if (actions.role_until) member.role_until = *actions.role_until;
        if (actions.announce) member.last_announcement = world_.now;
        if (actions.advert) act(machine, group, member.instance->advert_sent(true, local, local));
        if (actions.farewell) send(machine, group, kPriorityStop);
    }

    void send(const Machine& machine, std::size_t group, std::uint8_t priority) {
        const std::size_t to = &machine == machines_.data() ? 1 : 0;
        const auto arrival = world_.now + draw(random_, world_.flight / 10, world_.flight);
        const bool lost = chance(random_, world_.faults.loss) && world_.now < quiet_from_;
        if (!lost) packets_.emplace(arrival, Packet{to, group, machine.address, priority});
    }

    void make_fault() {
        auto& machine = machines_.at(random_() % 2);
        const auto duration = draw(random_, world_.interval / 2, 12 * world_.interval);
        const auto kind = random_() % (world_.faults.hand_overs ? 4 : 3);
        if (kind == 3) return hand_over(machine, random_() % watches_.size());
        disturbed_until_ = std::max(disturbed_until_, world_.now + duration);
        say(machine, "fault " + std::to_string(kind) + " for " +
                         std::to_string(std::chrono::duration<double>(duration) / world_.interval) + " intervals");
        switch (kind) {
            case 0:
                if (world_.faults.pauses) machine.paused_until = std::max(machine.paused_until, world_.now + duration);
                break;
            case 1:
                if (world_.faults.crashes) crash(machine, duration);
                break;
            default:
                if (world_.faults.partitions) world_.parted_until = world_.now + duration;
        }
    }

    void crash(Machine& machine, Duration duration) {
        const bool stopped = !machine.crashed && chance(random_, 0.3);
        for (std::size_t group = 0; group < machine.members.size(); ++group) {
            auto& instance = machine.members[group].instance;
            if (stopped) act(machine, group, instance->stop(machine.local(world_.now)));
            instance.reset();
        }
        machine.crashed = true;
        machine.paused_until = std::max(machine.paused_until, world_.now + duration);
    }

    void hand_over(Machine& machine, std::size_t group) {
        if (machine.crashed || world_.now < machine.paused_until) return;
        say(machine, "is told to hand group " + std::to_string(group) + " over");
        auto& instance = *machine.members[group].instance;
        if (instance.state() == State::kActive) {
            watches_[group].handed_over = true;
            watches_[group].handed_by = &machine;
            watches_[group].handed_at = world_.now;
        }
        act(machine, group, instance.give_up(machine.local(world_.now)));
    }

    // What held from the last event to this one, at `time`: words only run out between events.
    void observe(std::size_t group, TimePoint time) {
        auto& watch = watches_[group];
        const bool first = machines_[0].active(group, world_.now);
        const bool second = machines_[1].active(group, world_.now);
        if (first && second) {
            const auto word_end = [&](const Machine& machine) {
                return machine.true_time(machine.members[group].role_until);
            };
            watch.double_since = watch.double_since.value_or(world_.now);
            check_two(watch, std::min({time, word_end(machines_[0]), word_end(machines_[1])}));
        } else {
            watch.double_since.reset();
        }
        if (!first && !second)
            check_none(watch, time);
        else
            watch.none_since.reset();
    }

    // Two are active from double_since to `end`.
    void check_two(const Watch& watch, TimePoint end) {
        const auto& faults = world_.faults;
        if (faults.loss == 0 && !faults.partitions) return fail("two active");
        if (watch.worse_heard >= *watch.double_since)
            return fail("two active although the worse one has heard the other");
        const auto healed = std::max(*watch.double_since, world_.parted_until.value_or(TimePoint{}));
        if (faults.loss == 0 && !faults.pauses && end > healed + watch.interval + 3 * world_.flight)
            fail("two active for long after the partition");
    }

    // None active although a machine that could be runs: only faults that go on excuse it.
    void check_none(Watch& watch, TimePoint time) {
        if (!watch.none_since) watch.none_since = world_.now;
        // Whoever handed over waits for three down intervals where the other did not hear of it.
        const auto handed = watch.handed_over ? watch.handed_at + 12 * watch.interval : TimePoint{};
        const auto undisturbed = std::max({*watch.none_since, disturbed_until_, handed, machines_[0].paused_until,
                                           machines_[1].paused_until, world_.parted_until.value_or(TimePoint{})});
        // Where what a preempted node says is lost, its lease is waited for.
        const auto lease = world_.faults.loss > 0 ? 3 * watch.interval : Duration(0);
        const auto bound = 4 * watch.interval + watch.interval + lease + 3 * world_.flight;
        if (time > undisturbed && time - undisturbed > bound) fail("none active for too long");
    }

    // Whoever handed over takes back in silence only where the other was not there for long.
    void check_hand_over(const Machine& machine, std::size_t group, const StateChange& change) {
        auto& watch = watches_[group];
        if (change.to != State::kActive || watch.handed_by == nullptr) return;
        const auto& other = machines_.at(&machine == machines_.data() ? 1 : 0);
        if (watch.handed_by == &machine && !loses() && other.paused_until <= watch.handed_at + 5 * watch.interval)
            fail("a hand-over was taken back");
        watch.handed_by = nullptr;
    }

    void check_the_end(std::size_t group) {
        const auto& watch = watches_[group];
        const bool first = machines_[0].active(group, world_.now);
        const bool second = machines_[1].active(group, world_.now);
        if (first == second) return fail(first ? "two active in the end" : "none active in the end");
        const auto& winner = machines_.at(first ? 0 : 1).members[group];
        const auto& other = machines_.at(first ? 1 : 0).members[group];
        // Clients believe who announced last. (A loser that is killed, or whose last words are lost, cannot say so.)
        const bool said = world_.faults.loss == 0 && !world_.faults.crashes;
        if (said && winner.last_announcement < other.last_announcement) fail("the loser announced last");
        if (winner.settings.preempt && !watch.handed_over && &winner != &machines_.at(watch.better).members[group])
            fail("the better node did not come back");
    }

    bool loses() const { return world_.faults.loss > 0 || world_.faults.partitions; }

    void fail(const std::string& what) {
        if (wrong_.empty()) wrong_ = what;
    }

    Random random_;
    World world_;
    std::array<Machine, 2> machines_;
    std::vector<Watch> watches_;  // by group
    std::multimap<TimePoint, Packet> packets_;
    TimePoint next_fault_ = world_.now;
    TimePoint quiet_from_;
    TimePoint disturbed_until_;
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

TEST(VrrpSimulation, HandOversNeverMakeTwo) {
    simulate({.loss = 0, .partitions = false, .pauses = true, .crashes = true, .hand_overs = true});
}

TEST(VrrpSimulation, OfTwoGroupsNoneIsEverActiveTwice) {
    simulate({.loss = 0, .partitions = false, .pauses = true, .crashes = true, .hand_overs = true, .groups = 2});
}

TEST(VrrpSimulation, TwoGroupsEndWell) {
    simulate({.loss = 0.1, .partitions = true, .pauses = true, .crashes = true, .hand_overs = true, .groups = 2});
}

}  // namespace
}  // namespace fairlead::ha
