// SPDX-License-Identifier: Apache-2.0
// A model of one slot under an adversary: the real core decides each packet, the real planner moves the slot, the real
// scan expires pins, and dice choose owner changes, deaths, drains, returns, retransmissions, slow answers, silences,
// floods, restarts of the controller, and engines that stop between reading the slot's word and acting upon it. A
// connection may not change its backend unless that died. One seed, one run: the same again each time.
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
    kScan,               // no scan is waited for
    kLearning,           // no datagram is taken for an old flow's
    kLearningInCleanUp,  // learning only from L = 0, and not from every O = P
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
    std::int64_t scan_pause = 0;  // seconds between two scans, of 15 each
};

struct Outcome {
    std::uint64_t connections = 0, established = 0, flows = 0;
    std::uint64_t broken = 0;               // established connections that changed their backend
    std::uint64_t broken_at_birth = 0;      // handshakes that ended at another backend than they began: allowed
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
        std::uint64_t id = 0, packets = 0;
        int after_fin = -1;  // packets still to be sent
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
    struct Stalled {  // an engine has read the word, and goes on later
        std::uint32_t word;
        std::uint64_t ticket, id;
        std::size_t tuple;
        Kind kind;
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
    std::uint64_t* pin_of(const Tuple& tuple);
    bool bears_forged_syn(const Tuple& tuple);
    void send(std::size_t tuple, Kind kind, std::uint64_t id);
    void process(std::size_t tuple, Kind kind, std::uint64_t id);
    void resume(std::uint64_t ticket, double probability);
    void answer(std::size_t tuple, int backend);
    void deliver(std::size_t tuple, int backend);
    void deliver_datagram(std::size_t tuple, int backend);
    bool excused(const Connection& connection) const;
    void fault(const Connection& connection, std::size_t tuple, int backend, const char* what);
    void advance_connection(std::size_t tuple);
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
    std::deque<std::string> log_;
    Outcome outcome_;
};

}  // namespace fairlead::simulation
