// SPDX-License-Identifier: Apache-2.0
// A model of one slot under an adversary: the real core decides each packet, the real planner moves the slot, the real
// scan expires pins, and dice choose owner changes, deaths, drains, returns, retransmissions, slow answers, silences,
// floods, restarts of the controller, and engines that stop between reading the slot's word and acting upon it. A
// connection is established once its client has the SYN-ACK, and may not change its backend from then on, unless that
// died. One exception, of DESIGN section 6 ("Hard cases"): a slow handshake, one whose SYN was sent more than once or whose
// first packet came late, may still fail with that packet. One seed, one run: the same again each time.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "ctl/plan/transition.h"
#include "dataplane/tables/pin_scan.h"
#include "tests/support/moving_pool.h"

namespace fairlead::simulation {

// A rule of DESIGN section 6 that is switched off, to see that the model would notice.
enum class Without {
    kNothing,
    kLookup,             // slots in transition are steered as settled ones
    kFailToPrevious,     // a SYN whose pin finds no place goes to the owner
    kSynFollowsPin,      // a SYN always pins to the owner
    kRepair,             // a SYN in the clean-up leaves a stale pin
    kClosingPins,        // FIN takes the pin away
    kDeadIsVoid,         // dead backends are only unhealthy to the core
    kDeadIsForgotten,    // the planner does not know who is dead
    kPreviousTime,       // P := O without waiting
    kPreviousRestart,    // an owner change leaves prev_used as it was
    kPinRestart,         // an owner change leaves pin_used as it was
    kSettledPrevious,    // L := 0 while O != P
    kPinTime,            // L := 0 while pins may be alive
    kGrace,              // no grace period is waited for
    kSeenGrace,          // nor the one that a change begins with, alone
    kForgetGrace,        // nor, alone, the one after prev_used ran out
    kScanGrace,          // nor, alone, those before and after the scan
    kReviveGrace,        // the dead are shown alive at once
    kScan,               // no scan is waited for
    kLearning,           // no datagram is taken for an old flow's
    kLearningInCleanUp,  // learning only from L = 0, and not from every O = P
    kLearningForgets,    // P := O without the learning bit
    kDeadPins,           // dead backends' pins stay in the clean-up
};

struct Shape {
    const char* name;
    std::uint32_t pins = 1024;  // 8: full most of the time
    bool slow_answers = false;  // SYN-ACKs that come after the SYN was sent again
    double flood = 0;           // of each flood tuple's SYN, per second
    double spoof = 0;           // of a forged SYN for an established connection, per second
    bool datagrams = true;
    std::size_t tuples = 10;      // at most 10
    double silence = 0.2;         // how often a connection is silent for long
    std::int64_t scan_pause = 0;  // seconds between two scans
    std::int64_t scan_s = 15;     // that a scan takes
    double oversleep = 0;         // how often it is silent for longer than the idle timeout
    double stall = 0.03;          // how often an engine stops in the middle of a packet
    std::int64_t grace_s = 5;     // that a grace period takes at the most, but for those that
    double long_grace = 0.03;     // take up to 80 s
    double haste = 1;             // of changes
    double gone = 0.15;           // how often a backend fails without a time of grace
    double goes_on = 0.2;         // an engine that has stopped, per second
    double returns = 0.08;        // a failing backend, per second
    std::int64_t backends = 4;    // at most 4
    double births = 0.05;         // of a tuple's connection, per second
    std::int64_t tide =
        0;  // seconds in which storm, ebb, connections in a calm, and storm again follow; 0: always storm
};

struct Outcome {
    std::uint64_t connections = 0, established = 0, flows = 0;
    std::uint64_t broken = 0;               // established connections that changed their backend
    std::uint64_t broken_at_birth = 0;      // slow handshakes that failed: allowed
    std::uint64_t broken_flows = 0;         // of datagrams
    std::uint64_t spoofs = 0, spoofed = 0;  // forged SYNs, and connections that they broke
    std::uint64_t to_the_dead = 0;          // packets to a dead backend that is not the owner
    std::uint64_t changes = 0, settled = 0, full = 0, pins_left = 0;
    std::string first_fault;

    Outcome& operator+=(const Outcome& other);
};

class Model {
  public:
    Model(const Shape& shape, Without without, std::uint64_t seed);

    // Until as many connections have begun.
    Outcome run(std::uint64_t connections);

  private:
    static constexpr std::uint16_t kBackends = 4;
    static constexpr std::size_t kTuples = 10, kUdpTuples = 4, kFloodTuples = 24;
    static constexpr std::int64_t kIdle = 40, kFailureGrace = 8, kNever = -1'000'000;

    enum class Kind { kSyn, kData, kFin, kDatagram };
    enum class Stage { kNone, kSynSent, kOpen };
    struct Connection {
        Stage stage = Stage::kNone;
        int backend = -1;
        std::int64_t start = 0, last = 0, next = 0;
        std::uint64_t id = 0, packets = 0, syns = 0;
        bool slow = false;    // its handshake
        bool pinned = false;  // the last time
        int after_fin = -1;   // packets still to be sent
    };
    struct Backend {
        bool failing = false, drained = false, gone = false, dead = false;
        std::int64_t failing_since = 0, last_dead = kNever;
        std::uint64_t death_ticket = 0;
    };
    struct Tuple {
        Tuple(std::uint16_t port, std::uint64_t hash) : packets(port, test::MovingPool::kPort), hash(hash) {}
        test::FlowPackets packets;
        std::uint64_t hash;
    };
    struct Answer {
        std::int64_t at;
        int backend;
        std::size_t tuple;
        std::uint64_t id;
    };
    struct Found {
        std::uint32_t place = 0;
        __u64 pin = 0;
        int backend = 0;
        std::optional<std::int64_t> touched_at;
    };
    struct Stalled {  // an engine has read the word, and goes on later
        std::uint32_t word;
        std::uint64_t ticket, id;
        std::size_t tuple;
        Kind kind;
        std::optional<Found> found;  // what it is to follow; none: it has not looked for a pin yet
    };

    bool chance(double probability) { return std::generate_canonical<double, 32>(random_) < probability; }
    std::int64_t below(std::int64_t bound) {
        return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
    }

    void find_tuples();
    void note(const std::string& what);

    plan::SlotsView view();
    plan::TransitionClock clock() const;
    void apply(const std::vector<plan::SlotChange>& changes);
    void retarget();
    void choose_owner();
    void advance_controller();
    void advance_backends();
    void advance_graces();

    int decide(const Tuple& tuple, Kind kind);
    void drop_pin(const Tuple& tuple);
    std::optional<Found> find_pin(const Tuple& tuple);
    void touch(const Tuple& tuple, Kind kind, Found& found);
    int follow(const Tuple& tuple, Kind kind, Found& found);
    bool is_storm() const;
    bool is_ebb() const;
    std::uint64_t* pin_of(const Tuple& tuple);
    bool bears_forged_syn(const Tuple& tuple);
    void send(std::size_t tuple, Kind kind, std::uint64_t id);
    void process(std::size_t tuple, Kind kind, std::uint64_t id, std::optional<Found> found);
    void resume(std::uint64_t ticket, double probability);
    void answer(std::size_t tuple, int backend);
    bool lost_its_pin(const Connection& connection) const;
    std::int64_t handled_at(const std::optional<Found>& held) const;
    void deliver(std::size_t tuple, int backend, const std::optional<Found>& held);
    void deliver_datagram(std::size_t tuple, int backend, const std::optional<Found>& held);
    bool excused(const Connection& connection) const;
    void fault(const Connection& connection, std::size_t tuple, int backend, const char* what);
    void advance_connection(std::size_t tuple);
    std::int64_t silence();
    void advance_flow(std::size_t tuple);
    void step();

    Shape shape_;
    Without without_;
    std::uint64_t seed_;
    std::mt19937_64 random_;
    test::MovingPool pool_;
    fl_engine engine_;
    tables::PinScan scan_;
    std::optional<plan::SlotTransitions> planner_;
    std::uint32_t slot_ = 0;
    std::vector<bool> dead_;
    std::vector<std::uint32_t> words_;
    std::vector<fl_stamp> stamps_;
    std::uint16_t owner_ = 0;
    std::int64_t now_ = 0, grace_ends_ = 0, scan_pauses_until_ = 0;
    plan::Turns graces_;
    std::vector<Tuple> tuples_;  // TCP, UDP, flood
    std::vector<Connection> connections_{kTuples + kUdpTuples};
    std::array<Backend, kBackends> backends_{};
    std::vector<Answer> answers_;
    std::vector<Stalled> stalled_;
    std::uint64_t ids_ = 0;
    std::uint8_t how_ = FL_PINNED_NOT;  // the last packet's backend was found
    std::deque<std::string> log_;
    Outcome outcome_;
};

}  // namespace fairlead::simulation
