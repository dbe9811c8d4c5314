// SPDX-License-Identifier: Apache-2.0
// The state machine of one VRRP instance (RFC 9568 section 6) and of the lease behind its role word (DESIGN section 8).
// Pure: it does no I/O, allocates nothing and takes the time as an argument. Not thread-safe.
//
// Each event returns what the caller has to do. Rules for the caller:
//   - after a pause, adverts that have arrived are given in before the timer is: what waits in a socket has been heard;
//   - an advert that was asked for is sent at once and advert_sent() called with the time *before* the send;
//   - `withdraw` is done before the advert is sent: whoever hears it may be active.
//
// Where this does more than the RFC, and why:
//   - A node is active only by adverts that were sent: the role word is the time before the send plus three intervals.
//     The peer's timer starts when the advert arrives, and adds skew. A node that was paused, or could not send, for two
//     and a half intervals steps down instead of renewing: half an interval is left for an advert that travels slowly.
//   - Who preempts a live node is active only when the other has said that it yielded, or its lease has run out: it may
//     have crashed, with its word still good, before it heard. (Peers without leases are given a moment instead.)
//   - A backup that was paused begins to listen anew: the adverts of that time may be lost. Whoever handed over on demand
//     therefore takes the role back only after three down intervals of silence, not one: the other may be such a backup.
//   - Who yields says so, with one more advert and then one of priority 0: a winner that had not heard of it learns that
//     there were two, and announces again.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "ctl/ha/named_enum.h"
#include "ctl/ha/vrrp_packet.h"

namespace fairlead::ha {

using TimePoint = std::chrono::steady_clock::time_point;  // CLOCK_MONOTONIC
using Duration = std::chrono::steady_clock::duration;

enum class State : std::uint8_t { kInitialize, kBackup, kActive };
std::string_view to_string(State state);  // "initialize", "backup", "active"

// Why a state was entered: X(symbol, "name", "phrase").
#define FAIRLEAD_ROLE_REASONS(X)                                                          \
    X(kNone, "none", "not started")                                                       \
    X(kStarted, "started", "started, and listens for an active node")                     \
    X(kOwner, "owner", "owns the addresses (priority 255)")                               \
    X(kSilence, "silence", "no advert for the down interval")                             \
    X(kPeerStopped, "peer_stopped", "the active node gave up (priority 0)")               \
    X(kPreempted, "preempted", "the active node had a lower priority")                    \
    X(kYielded, "yielded", "another node has the better claim")                           \
    X(kLeaseLost, "lease_lost", "could not renew its lease: paused, or nothing was sent") \
    X(kFault, "fault", "a tracked fault forbids to be active")                            \
    X(kFailover, "failover", "an operator handed over")                                   \
    X(kExternal, "external", "another program decided")                                   \
    X(kStopped, "stopped", "stopped")

FAIRLEAD_NAMED_ENUM(RoleReason, FAIRLEAD_ROLE_REASONS, phrase_of)

struct InstanceSettings {
    std::uint8_t priority = 100;        // 1 to 254; 255 = owner of the addresses
    Centiseconds advert_interval{100};  // kIntervalMinimum to kIntervalMaximum
    bool preempt = true;                // take over from a live node of lower priority ...
    Duration preempt_delay{};           // ... that has been heard for so long
    bool peers_have_leases = true;      // they are Fairlead nodes, and not of another make
    IpAddress address = {};             // that adverts are sent from: of equal priorities the higher address wins
    bool operator==(const InstanceSettings&) const = default;
};

// What tracked things say: interface down, engine not attached, no eligible backend.
struct Tracking {
    std::uint8_t penalty = 0;  // taken off the priority, which stays at least 1
    bool fault = false;        // must not be active at all
    auto operator<=>(const Tracking&) const = default;
};

struct StateChange {
    State from = State::kInitialize;
    State to = State::kInitialize;
    RoleReason reason = RoleReason::kNone;
    TimePoint at;
    IpAddress peer;  // whose advert, or silence, it was; unspecified if nobody's
    std::uint8_t peer_priority = 0;
};

// What the caller does, in this order.
struct Actions {
    bool withdraw = false;                // store 0 in the role word, and stop announcing
    std::optional<std::uint8_t> advert;   // send one with this priority ...
    bool farewell = false;                // ... and then one with priority 0
    std::optional<TimePoint> role_until;  // store
    bool announce = false;                // begin to announce the VIPs, anew if it goes on already
    std::optional<StateChange> change;    // already made; for the log
};

struct PeerAdvert {
    IpAddress address;
    std::uint8_t priority = 0;
    Centiseconds interval{};
    TimePoint at;
};

struct InstanceCounters {
    std::uint64_t sent = 0;  // adverts, those of priority 0 included
    std::uint64_t send_failures = 0;
    std::uint64_t received = 0;  // adverts that were believed
    std::uint64_t became_active = 0;
    std::uint64_t split_brains = 0;  // times that another node was found active beside this one, which stayed active
};

class VrrpInstance {
  public:
    explicit VrrpInstance(const InstanceSettings& settings) : settings_(settings) {}

    Actions start(TimePoint now);
    Actions stop(TimePoint now);
    Actions timer(TimePoint now);  // not before next_timer(); harmless at any time
    Actions advert_received(const IpAddress& source, std::uint8_t priority, Centiseconds interval, TimePoint now);
    Actions advert_sent(bool sent, TimePoint before, TimePoint now);

    // Not ready (no first full round of checks yet): does not take over. Starts as not ready.
    Actions set_ready(bool ready, TimePoint now);
    Actions set_tracking(const Tracking& tracking, TimePoint now);
    // Hands over, and does not preempt whoever takes over until active again by another's silence.
    Actions give_up(TimePoint now);
    Actions reconfigure(const InstanceSettings& settings, TimePoint now);

    std::optional<TimePoint> next_timer() const;

    State state() const { return state_; }
    const StateChange& last_change() const { return last_change_; }
    std::uint8_t effective_priority() const;
    // Until when this node may act as the active one; nothing when it may not.
    std::optional<TimePoint> lease() const;
    bool held_back() const { return !ready_ || tracking_.fault; }
    bool ready() const { return ready_; }
    const Tracking& tracking() const { return tracking_; }
    bool released() const { return released_; }
    bool split() const { return split_.has_value(); }
    const std::optional<PeerAdvert>& peer() const { return peer_; }  // the last advert that was believed
    const InstanceCounters& counters() const { return counters_; }
    const InstanceSettings& settings() const { return settings_; }

  private:
    enum class Since : std::uint8_t { kOwnClock, kAdvert };  // what a backup's wait began with

    struct Claim {  // an advert that will make this node active when it has been sent
        RoleReason reason = RoleReason::kNone;
        std::optional<TimePoint> role_from;  // another node is live: see the member of that name
    };

    Actions begin(TimePoint now);
    void enter(State state, RoleReason reason, TimePoint now, Actions& actions);
    void wait_as_backup(TimePoint now);
    void wait_until(TimePoint down_at, Since since);
    void leave_active(RoleReason reason, TimePoint now, Actions& actions);
    void hand_over(RoleReason reason, TimePoint now, Actions& actions);
    void claim(TimePoint now, Actions& actions);
    TimePoint yielded_by(const PeerAdvert& advert, TimePoint now) const;
    void become_active(Claim claim, TimePoint now, Actions& actions);
    void backup_timer(TimePoint now, Actions& actions);
    void active_timer(TimePoint now, Actions& actions);
    void heard_as_backup(const PeerAdvert& advert);
    void heard_as_active(const PeerAdvert& advert, Actions& actions);
    void heard_rival(const PeerAdvert& advert, Actions& actions);
    void heard_stop(TimePoint now, Actions& actions);
    void begin_role(Actions& actions);
    void answer(TimePoint& last, TimePoint now, Actions& actions);
    void send(std::uint8_t priority, TimePoint now, Actions& actions);
    bool follows(const PeerAdvert& advert);
    bool better_than_this(const PeerAdvert& advert) const;
    void eligibility_changed(bool was_held_back, TimePoint now);
    Duration interval() const { return settings_.advert_interval; }
    Duration skew() const;
    Duration down_interval() const { return 3 * active_interval_ + skew(); }

    InstanceSettings settings_;
    State state_ = State::kInitialize;
    StateChange last_change_;
    bool ready_ = false;
    Tracking tracking_;
    bool released_ = false;
    TimePoint released_at_;
    std::optional<PeerAdvert> peer_;
    InstanceCounters counters_;
    TimePoint last_run_;

    // As backup.
    Duration active_interval_{};        // the active node's, learned from its adverts
    std::optional<TimePoint> down_at_;  // nothing: it has run out, but this node is held back
    Since since_ = Since::kOwnClock;
    int listened_again_ = 0;                // times that down_at_ was moved for a pause
    std::optional<TimePoint> lower_since_;  // a live node of lower priority is heard, and may be preempted
    std::optional<Claim> claim_;

    // As active.
    TimePoint next_advert_;
    TimePoint last_advert_;  // before the last send that worked ...
    Duration advertised_{};  // ... and the interval that it named
    TimePoint active_since_;
    std::optional<TimePoint> role_from_;  // the other may not have yielded until then
    TimePoint last_answer_to_rival_;
    TimePoint last_answer_to_stop_;
    std::optional<TimePoint> split_;  // the last advert of another node that thinks itself active
};

// The role word (fl_role.active_until_ns) of a lease.
inline std::uint64_t role_word(TimePoint until) {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(until.time_since_epoch()).count());
}

}  // namespace fairlead::ha
