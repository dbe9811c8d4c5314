// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/vrrp_instance.h"

#include <algorithm>
#include <array>

namespace fairlead::ha {

namespace {

using namespace std::chrono_literals;

// How long a lease lasts from the send, and until when it is renewed, in intervals. See the header.
constexpr Duration lease_of(Duration interval) { return 3 * interval; }
constexpr Duration renewal_of(Duration interval) { return 5 * interval / 2; }
// How much the end of another node's lease may differ by its clock: half a percent of three intervals.
constexpr Duration drift_of(Duration interval) { return interval / 64; }
// From the first advert of a node to its becoming active, where another may be active or become it: the advert's way.
constexpr Duration handover_of(Duration interval) { return std::min<Duration>(interval / 4, 5ms); }
// A backup is awake so often, to know of a pause that may have cost it an advert, and calls this one.
constexpr Duration awake_of(Duration interval) { return interval / 4; }
constexpr Duration pause_of(Duration interval) { return 3 * interval / 8; }
// A backup that is paused all the time still takes over, some intervals later.
constexpr int kListenAgainLimit = 4;
// Who handed over is the last to take back: whoever takes over may have been paused, and so listen anew first.
constexpr int kDownIntervalsAfterHandOver = 3;
// Answers to others' adverts are not closer to each other: nobody makes this node send many.
constexpr Duration answer_gap_of(Duration interval) { return interval / 8; }

}  // namespace

std::string_view to_string(State state) {
    constexpr std::array<std::string_view, 3> kNames = {"initialize", "backup", "active"};
    return kNames.at(static_cast<std::size_t>(state));
}

std::uint8_t VrrpInstance::effective_priority() const {
    if (tracking_.penalty == 0) return settings_.priority;
    return static_cast<std::uint8_t>(std::max(1, settings_.priority - tracking_.penalty));
}

std::optional<TimePoint> VrrpInstance::lease() const {
    if (state_ != State::kActive || role_from_) return std::nullopt;
    return last_advert_ + lease_of(advertised_);
}

// RFC 9568 section 6.1.
Duration VrrpInstance::skew() const { return (256 - effective_priority()) * active_interval_ / 256; }

// --- events ---

Actions VrrpInstance::start(TimePoint now) {
    Actions actions;
    if (state_ != State::kInitialize) return actions;
    actions.withdraw = true;  // the word of a process that was killed may be good still
    last_run_ = now;
    released_ = false;
    peer_.reset();
    active_interval_ = interval();
    enter(State::kBackup, RoleReason::kStarted, now, actions);
    wait_as_backup(now);
    // The owner waits for nobody (section 6.4.1).
    if (effective_priority() == kPriorityOwner) down_at_ = now;
    if (effective_priority() == kPriorityOwner && !held_back()) claim(now, actions);
    return actions;
}

Actions VrrpInstance::stop(TimePoint now) {
    Actions actions = begin(now);
    if (state_ == State::kActive) hand_over(RoleReason::kStopped, now, actions);
    if (state_ != State::kInitialize) enter(State::kInitialize, RoleReason::kStopped, now, actions);
    claim_.reset();
    return actions;
}

Actions VrrpInstance::timer(TimePoint now) {
    Actions actions = begin(now);
    if (state_ == State::kBackup) backup_timer(now, actions);
    if (state_ == State::kActive) active_timer(now, actions);
    return actions;
}

Actions VrrpInstance::advert_received(const IpAddress& source, std::uint8_t priority, Centiseconds interval,
                                      TimePoint now) {
    Actions actions = begin(now);
    if (state_ == State::kInitialize) return actions;
    const PeerAdvert advert{source, priority, interval, now};
    ++counters_.received;
    if (state_ == State::kBackup)
        heard_as_backup(advert);
    else
        heard_as_active(advert, actions);
    peer_ = advert;
    return actions;
}

Actions VrrpInstance::advert_sent(bool sent, TimePoint before, TimePoint now) {
    Actions actions;
    ++(sent ? counters_.sent : counters_.send_failures);
    if (state_ == State::kBackup && claim_) {
        if (sent) {
            last_advert_ = before;
            advertised_ = interval();
            become_active(*claim_, now, actions);
        } else {
            claim_.reset();
            wait_until(now + interval(), since_);
        }
    } else if (state_ == State::kActive && sent) {
        last_advert_ = before;
        advertised_ = interval();
        actions.role_until = lease();
    }
    return actions;
}

Actions VrrpInstance::set_ready(bool ready, TimePoint now) {
    Actions actions = begin(now);
    const bool was_held_back = held_back();
    ready_ = ready;
    eligibility_changed(was_held_back, now);
    return actions;
}

Actions VrrpInstance::set_tracking(const Tracking& tracking, TimePoint now) {
    Actions actions = begin(now);
    const bool was_held_back = held_back();
    tracking_ = tracking;
    if (tracking_.fault && state_ == State::kActive) hand_over(RoleReason::kFault, now, actions);
    eligibility_changed(was_held_back, now);
    return actions;
}

Actions VrrpInstance::give_up(TimePoint now) {
    Actions actions = begin(now);
    if (state_ != State::kActive) return actions;
    hand_over(RoleReason::kFailover, now, actions);
    wait_until(now + kDownIntervalsAfterHandOver * down_interval(), Since::kOwnClock);
    released_ = true;
    released_at_ = now;
    return actions;
}

Actions VrrpInstance::reconfigure(const InstanceSettings& settings, TimePoint now) {
    Actions actions = begin(now);
    settings_ = settings;
    if (!peer_) active_interval_ = interval();
    if (state_ == State::kActive) next_advert_ = std::min(next_advert_, now + interval());
    return actions;
}

std::optional<TimePoint> VrrpInstance::next_timer() const {
    if (state_ == State::kBackup) {
        const auto awake = last_run_ + awake_of(active_interval_);
        return down_at_ ? std::min(*down_at_, awake) : awake;
    }
    if (state_ != State::kActive) return std::nullopt;
    auto next = std::min(next_advert_, last_advert_ + renewal_of(advertised_));
    if (role_from_) next = std::min(next, *role_from_);
    if (split_) next = std::min(next, *split_ + 3 * interval());
    return next;
}

// --- what they have in common ---

// What the time alone has done, before any event.
Actions VrrpInstance::begin(TimePoint now) {
    Actions actions;
    if (state_ == State::kActive && now >= last_advert_ + renewal_of(advertised_)) {
        leave_active(RoleReason::kLeaseLost, now, actions);
    } else if (state_ == State::kBackup && down_at_ && listened_again_ < kListenAgainLimit &&
               now - last_run_ > pause_of(active_interval_)) {
        ++listened_again_;
        down_at_ = std::max(*down_at_, now + down_interval());
        since_ = Since::kOwnClock;
    }
    last_run_ = now;
    return actions;
}

void VrrpInstance::enter(State state, RoleReason reason, TimePoint now, Actions& actions) {
    const State from = actions.change ? actions.change->from : state_;
    last_change_ = {from, state, reason, now, {}, 0};
    if (peer_) {
        last_change_.peer = peer_->address;
        last_change_.peer_priority = peer_->priority;
    }
    state_ = state;
    actions.change = last_change_;
}

void VrrpInstance::wait_as_backup(TimePoint now) {
    wait_until(now + down_interval(), Since::kOwnClock);
    lower_since_.reset();
    claim_.reset();
}

void VrrpInstance::wait_until(TimePoint down_at, Since since) {
    down_at_ = down_at;
    since_ = since;
    listened_again_ = 0;
}

void VrrpInstance::leave_active(RoleReason reason, TimePoint now, Actions& actions) {
    actions.withdraw = true;
    role_from_.reset();
    split_.reset();
    enter(State::kBackup, reason, now, actions);
    active_interval_ = interval();
    wait_as_backup(now);
}

void VrrpInstance::hand_over(RoleReason reason, TimePoint now, Actions& actions) {
    leave_active(reason, now, actions);
    actions.advert = kPriorityStop;
}

void VrrpInstance::send(std::uint8_t priority, TimePoint now, Actions& actions) {
    actions.advert = priority;
    next_advert_ = now + interval();
}

void VrrpInstance::eligibility_changed(bool was_held_back, TimePoint now) {
    // The time to take over passed while this node might not. By skew, so that of several the best is first.
    if (state_ == State::kBackup && was_held_back && !held_back() && !down_at_)
        wait_until(now + skew(), Since::kOwnClock);
}

// --- backup ---

void VrrpInstance::backup_timer(TimePoint now, Actions& actions) {
    if (!down_at_ || now < *down_at_) return;
    if (held_back())
        down_at_.reset();
    else
        claim(now, actions);
}

void VrrpInstance::claim(TimePoint now, Actions& actions) {
    Claim claim{RoleReason::kSilence, std::nullopt};
    const bool stopped = peer_ && peer_->priority == kPriorityStop;
    if (stopped) claim.reason = RoleReason::kPeerStopped;
    if (effective_priority() == kPriorityOwner) claim.reason = RoleReason::kOwner;
    if (peer_ && !stopped && lower_since_ && now < peer_->at + lease_of(peer_->interval)) {
        claim.reason = RoleReason::kPreempted;
        claim.role_from = yielded_by(*peer_, now);
    }
    // Two that came up together may claim together, each before the other's advert is there.
    if (!claim.role_from && since_ == Since::kOwnClock) claim.role_from = now + handover_of(interval());
    claim_ = claim;
    send(effective_priority(), now, actions);
}

// When a live node that sent this advert is no longer active, at the latest, if it says nothing more.
TimePoint VrrpInstance::yielded_by(const PeerAdvert& advert, TimePoint now) const {
    if (!settings_.peers_have_leases) return now + handover_of(interval());
    return advert.at + lease_of(advert.interval) + drift_of(advert.interval);
}

void VrrpInstance::become_active(Claim claim, TimePoint now, Actions& actions) {
    enter(State::kActive, claim.reason, now, actions);
    ++counters_.became_active;
    active_since_ = now;
    released_ = false;
    role_from_ = claim.role_from;
    claim_.reset();
    if (!role_from_) begin_role(actions);
}

void VrrpInstance::begin_role(Actions& actions) {
    role_from_.reset();
    actions.role_until = lease();
    actions.announce = true;
}

// Whether the sender is taken for the active node (section 6.4.2), or will be preempted.
bool VrrpInstance::follows(const PeerAdvert& advert) {
    if (!settings_.preempt || released_ || held_back() || advert.priority >= effective_priority()) {
        lower_since_.reset();
        return true;
    }
    if (!lower_since_) lower_since_ = advert.at;
    return advert.at < *lower_since_ + settings_.preempt_delay;
}

void VrrpInstance::heard_as_backup(const PeerAdvert& advert) {
    const auto before = down_at_;
    if (advert.priority == kPriorityStop) {
        lower_since_.reset();
        wait_until(advert.at + skew(), Since::kAdvert);
    } else if (follows(advert)) {
        active_interval_ = advert.interval;
        wait_until(advert.at + down_interval(), Since::kAdvert);
    }
    // What was on its way when this node handed over is no news of who takes over: a node that had just yielded, say.
    if (released_ && before && advert.at < released_at_ + interval()) down_at_ = std::max(*before, *down_at_);
}

// --- active ---

void VrrpInstance::active_timer(TimePoint now, Actions& actions) {
    if (role_from_ && now >= *role_from_) begin_role(actions);
    if (split_ && now >= *split_ + 3 * interval()) {
        split_.reset();
        actions.announce = true;  // the other is silent now: whoever believed it is told again
    }
    if (now < next_advert_) return;
    const auto due = next_advert_;
    send(effective_priority(), now, actions);
    // At even distances, unless this one was late.
    if (now - due < interval()) next_advert_ = due + interval();
}

bool VrrpInstance::better_than_this(const PeerAdvert& advert) const {
    if (advert.priority != effective_priority()) return advert.priority > effective_priority();
    return advert.address > settings_.address;
}

void VrrpInstance::heard_as_active(const PeerAdvert& advert, Actions& actions) {
    if (advert.priority == kPriorityStop) {
        heard_stop(advert.at, actions);
    } else if (better_than_this(advert)) {
        peer_ = advert;
        actions.advert = effective_priority();
        actions.farewell = true;
        leave_active(RoleReason::kYielded, advert.at, actions);
        active_interval_ = advert.interval;
        wait_until(advert.at + down_interval(), Since::kAdvert);
    } else {
        heard_rival(advert, actions);
    }
}

// Another node thinks itself active, and has the worse claim: it yields when it hears this one.
void VrrpInstance::heard_rival(const PeerAdvert& advert, Actions& actions) {
    answer(last_answer_to_rival_, advert.at, actions);
    if (role_from_) role_from_ = yielded_by(advert, advert.at);  // it has renewed its lease
    // A node that was preempted may have sent before it heard.
    if (advert.at < active_since_ + Duration(advert.interval)) return;
    if (!split_) {
        ++counters_.split_brains;
        actions.announce = true;
    }
    split_ = advert.at;
}

// Another node was active and is no more: preempted, or because a split has healed.
void VrrpInstance::heard_stop(TimePoint now, Actions& actions) {
    if (role_from_)
        begin_role(actions);
    else
        actions.announce = true;
    answer(last_answer_to_stop_, now, actions);
}

void VrrpInstance::answer(TimePoint& last, TimePoint now, Actions& actions) {
    if (now < last + answer_gap_of(interval())) return;
    last = now;
    send(effective_priority(), now, actions);
}

}  // namespace fairlead::ha
