// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/model.h"

#include <algorithm>
#include <cstdlib>

namespace fairlead::simulation {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kBegin = 5'000 * kSecond;
constexpr std::uint16_t kNobody = FL_NO_BACKEND;
constexpr std::size_t kLogLines = 400;
// A pin on probation is not evicted for at least as long (pins.h).
constexpr std::int64_t kSlowHandshake =
    (FL_PIN_PROBATION_UNITS - 1) * (std::uint64_t{1} << FL_PIN_TIME_SHIFT) / kSecond;
constexpr std::uint32_t kLongAgo = 1U << 30;  // of stamps

bool replays() { return std::getenv("FAIRLEAD_MODEL_SEED") != nullptr; }

}  // namespace

Outcome& Outcome::operator+=(const Outcome& other) {
    connections += other.connections;
    established += other.established;
    flows += other.flows;
    broken += other.broken;
    broken_at_birth += other.broken_at_birth;
    broken_flows += other.broken_flows;
    spoofs += other.spoofs;
    spoofed += other.spoofed;
    to_the_dead += other.to_the_dead;
    changes += other.changes;
    settled += other.settled;
    full += other.full;
    pins_left += other.pins_left;
    if (first_fault.empty()) first_fault = other.first_fault;
    return *this;
}

Model::Model(const Shape& shape, Without without, std::uint64_t seed)
    : shape_(shape),
      without_(without),
      seed_(seed),
      random_(seed),
      pool_({.backends = kBackends, .slots = 16, .pins = shape.pins, .idle_timeout_s = kIdle}),
      engine_(pool_.engine()),
      scan_(pool_.tables()),
      dead_(kBackends, false),
      words_{FL_SLOT_SETTLED(0)},
      stamps_(1) {
    pool_.set_words(FL_SLOT_SETTLED(0));
    engine_.now_ns = engine_.now_coarse_ns = kBegin;
    find_tuples();
    planner_.emplace(plan::TransitionTimes{kIdle, kIdle}, view(), clock());
}

// Client ports that fall into one slot.
void Model::find_tuples() {
    const auto find = [&](std::size_t count, bool udp, std::uint16_t port) {
        for (; count > 0; ++port) {
            Tuple tuple(port, 0);
            const auto decision = pool_.decide(engine_, udp ? tuple.packets.datagram : tuple.packets.data);
            if (tuples_.empty()) slot_ = decision.slot;
            if (decision.slot != slot_) continue;
            tuple.hash = decision.hash;
            tuples_.push_back(std::move(tuple));
            --count;
        }
    };
    find(kTuples, false, 1024);
    find(kUdpTuples, true, 1024);
    find(kFloodTuples, false, 30000);
}

void Model::note(const std::string& what) {
    if (!replays()) return;
    log_.push_back(std::to_string(now_) + "  " + what);
    if (log_.size() > kLogLines) log_.pop_front();
}

// --- The controller ---

plan::SlotsView Model::view() {
    stamps_[0] = pool_.stamp(slot_);
    const auto long_ago = plan::stamp_of(engine_.now_coarse_ns) - kLongAgo;
    if (without_ == Without::kPinTime) stamps_[0].pin_used = long_ago;
    if (without_ == Without::kPreviousTime) stamps_[0].previous_used = long_ago;
    for (std::size_t i = 0; i < kBackends; ++i) dead_[i] = backends_[i].dead && without_ != Without::kDeadIsForgotten;
    return {words_, stamps_, dead_};
}

plan::TransitionClock Model::clock() const {
    using plan::SlotPhase;
    const auto phase = planner_ ? planner_->phase(0) : SlotPhase::kSettled;
    const bool without_grace =
        without_ == Without::kGrace || (without_ == Without::kSeenGrace && phase == SlotPhase::kSeen) ||
        (without_ == Without::kForgetGrace && phase == SlotPhase::kLastConnections) ||
        (without_ == Without::kScanGrace && (phase == SlotPhase::kGrace || phase == SlotPhase::kLastGrace));
    const auto turns = [](std::uint64_t begun, std::uint64_t done, bool always) {
        return plan::Turns{.begun = begun, .done = always ? UINT64_MAX : done};
    };
    return {.now_ns = engine_.now_coarse_ns,
            .graces = turns(graces_.begun, graces_.done, without_grace),
            .scans = turns(scan_.begun(), scan_.done(), without_ == Without::kScan)};
}

void Model::apply(const std::vector<plan::SlotChange>& changes) {
    for (const auto& change : changes) {
        const auto now = plan::stamp_of(engine_.now_coarse_ns);
        auto word = change.word;
        if (change.restart_previous && without_ != Without::kPreviousRestart) pool_.stamp(slot_).previous_used = now;
        if (change.restart_pin && without_ != Without::kPinRestart) pool_.stamp(slot_).pin_used = now;
        const bool forgets = FL_SLOT_OWNER(word) == FL_SLOT_PREVIOUS(word);
        if (without_ == Without::kLearning || (without_ == Without::kLearningForgets && forgets))
            word &= ~FL_SLOT_LEARNING;
        const bool from_clean_up = words_[0] & FL_SLOT_LOOKUP && !(words_[0] & FL_SLOT_LEARNING);
        if (without_ == Without::kLearningInCleanUp && from_clean_up) word &= ~FL_SLOT_LEARNING;
        outcome_.changes += FL_SLOT_OWNER(word) != FL_SLOT_OWNER(words_[0]);
        if (!(word & FL_SLOT_LOOKUP) && words_[0] & FL_SLOT_LOOKUP) {
            ++outcome_.settled;
            for (const auto& bucket : pool_.tables().pins())
                for (const auto pin : bucket.words)
                    outcome_.pins_left += pin && FL_PIN_BACKEND(pin) != pool_.global_index(0) + FL_SLOT_OWNER(word);
        }
        words_[0] = word;
        note("O " + std::to_string(FL_SLOT_OWNER(word)) + " P " + std::to_string(FL_SLOT_PREVIOUS(word)) + " L " +
             std::to_string(word >> 30 & 1) + " learning " + std::to_string(word >> 31) + " phase " +
             std::to_string(static_cast<int>(planner_->phase(0))));
    }
    const bool steers_as_settled = without_ == Without::kLookup;
    tables::store_word(pool_.word(slot_), steers_as_settled ? FL_SLOT_SETTLED(FL_SLOT_OWNER(words_[0])) : words_[0]);
}

void Model::retarget() {
    std::vector<plan::SlotChange> changes;
    planner_->retarget(view(), std::array{owner_}, clock(), changes);
    for (auto& backend : backends_)
        if (backend.dead && !changes.empty()) backend.death_ticket = graces_.begun + 1;
    apply(changes);
}

void Model::choose_owner() {
    std::vector<std::uint16_t> eligible;
    for (std::uint16_t i = 0; i < shape_.backends; ++i)
        if (!backends_[i].failing && !backends_[i].drained) eligible.push_back(i);
    if (!eligible.empty())
        owner_ = eligible[static_cast<std::size_t>(below(static_cast<std::int64_t>(eligible.size())))];
    else if (chance(0.5))
        owner_ = kNobody;
}

void Model::advance_controller() {
    if (now_ >= scan_pauses_until_) {
        const auto turns = scan_.done();
        scan_.run(std::max(1U, scan_.buckets() / static_cast<std::uint32_t>(shape_.scan_s)), engine_.now_coarse_ns);
        if (scan_.done() != turns) scan_pauses_until_ = now_ + shape_.scan_pause;
    }
    if (chance(0.002)) planner_.emplace(plan::TransitionTimes{kIdle, kIdle}, view(), clock());
    std::vector<plan::SlotChange> changes;
    planner_->advance(view(), clock(), 1, changes);
    if (without_ == Without::kSettledPrevious && planner_->phase(0) == plan::SlotPhase::kConnections &&
        plan::stamp_of(engine_.now_coarse_ns) - pool_.stamp(slot_).pin_used > 60 * kSecond >> FL_STAMP_SHIFT) {
        changes = {{.slot = 0, .word = FL_SLOT_SETTLED(FL_SLOT_OWNER(words_[0]))}};
        apply(changes);
        planner_.emplace(plan::TransitionTimes{kIdle, kIdle}, view(), clock());
        return;
    }
    apply(changes);
}

// With tides: a storm of changes; an ebb, in which all connections are gone and slots come to be settled; connections
// while nothing changes; and the storm again.
bool Model::is_storm() const {
    const auto at = shape_.tide ? now_ % shape_.tide * 100 / shape_.tide : 0;
    return at < 25 || at >= 80;
}

bool Model::is_ebb() const {
    const auto at = shape_.tide ? now_ % shape_.tide * 100 / shape_.tide : 0;
    return at >= 25 && at < 65;
}

// Health and operators, as ill-willed as they may be; in quiet times slots come to be settled.
void Model::advance_backends() {
    const double haste = !is_storm() ? 0 : shape_.tide || now_ / 500 % 2 == 0 ? shape_.haste : 0.1 * shape_.haste;
    const auto any = static_cast<std::size_t>(below(shape_.backends));
    if (chance(0.03 * haste) && !backends_[any].failing) {
        auto& backend = backends_[any];
        backend.failing = true;
        backend.failing_since = now_;
        backend.gone = chance(shape_.gone);
        if (any == owner_) choose_owner();
    }
    for (auto& backend : backends_) {
        if (!backend.failing || !chance(shape_.returns)) continue;
        const bool seen =
            backend.death_ticket <= graces_.done || without_ == Without::kGrace || without_ == Without::kReviveGrace;
        if (backend.dead && !seen) continue;
        backend.failing = backend.gone = false;
        if (owner_ == kNobody || chance(std::min(0.5, 0.5 * haste))) choose_owner();
    }
    if (chance(0.02 * haste)) {
        backends_[any].drained = !backends_[any].drained;
        if (any == owner_ || chance(0.5)) choose_owner();
    }
    if (chance(0.01 * haste)) choose_owner();
    for (std::uint16_t i = 0; i < kBackends; ++i) {
        auto& backend = backends_[i];
        const bool was_dead = backend.dead;
        backend.dead = backend.failing && (backend.gone || now_ - backend.failing_since > kFailureGrace);
        if (backend.dead) backend.last_dead = now_;
        if (backend.dead && !was_dead) backend.death_ticket = graces_.begun + 1;
        const bool dead_to_the_core = backend.dead && without_ != Without::kDeadIsVoid;
        pool_.set_state(i, dead_to_the_core  ? FL_BACKEND_DEAD
                           : backend.failing ? FL_BACKEND_UNHEALTHY
                           : backend.drained ? FL_BACKEND_DRAINING
                                             : FL_BACKEND_HEALTHY);
    }
    retarget();
}

// A virtual CPU may be stopped between two loads, and a grace period waits for it.
void Model::advance_graces() {
    if (now_ < grace_ends_) return;
    resume(graces_.begun, 0);
    graces_.done = graces_.begun;
    ++graces_.begun;
    grace_ends_ = now_ + 1 + below(shape_.grace_s) + (chance(shape_.long_grace) ? below(80) : 0);
}

// --- Engines ---

std::uint64_t* Model::pin_of(const Tuple& tuple) {
    const auto& meta = pool_.tables().meta();
    const auto hash = fl_pin_hash(&meta, tuple.hash);
    __u64 word = 0;
    const auto place = fl_find_pin(&engine_, &meta, hash, &word);
    return place < FL_PIN_PLACES ? reinterpret_cast<std::uint64_t*>(fl_pin_at(&engine_, &meta, hash, place)) : nullptr;
}

void Model::drop_pin(const Tuple& tuple) {
    if (auto* pin = pin_of(tuple)) *pin = 0;
}

// What an engine does that stops after it has found the pin that it is to follow, or has touched it, as fl_follow().
std::optional<Model::Found> Model::find_pin(const Tuple& tuple) {
    const auto& meta = pool_.tables().meta();
    const auto word = pool_.word(slot_);
    Found found;
    found.place = fl_find_pin(&engine_, &meta, fl_pin_hash(&meta, tuple.hash), &found.pin);
    found.backend = static_cast<int>(FL_PIN_BACKEND(found.pin) - pool_.global_index(0));
    const bool frees = FL_SLOT_OWNER(word) == FL_SLOT_PREVIOUS(word) && !(word & FL_SLOT_LEARNING);
    if (!(word & FL_SLOT_LOOKUP) || found.place >= FL_PIN_PLACES) return std::nullopt;
    if (frees && found.backend == static_cast<int>(FL_SLOT_OWNER(word))) return std::nullopt;
    const bool dead = fl_state_of(fl_at_backends(&engine_, FL_PIN_BACKEND(found.pin))) == FL_BACKEND_DEAD;
    return dead ? std::nullopt : std::optional(found);
}

void Model::touch(const Tuple& tuple, Kind kind, Found& found) {
    const auto& meta = pool_.tables().meta();
    auto state = FL_PIN_STATE(found.pin);
    if (kind == Kind::kFin) state = FL_PIN_CLOSING;
    if (state == FL_PIN_PROBATION) state = FL_PIN_CONFIRMED;
    fl_touch_pin(&engine_, &meta, fl_pin_hash(&meta, tuple.hash), found.place, found.pin, state);
    const auto* const pin = pin_of(tuple);
    if (pin && FL_PIN_TIME(*pin) == fl_pin_now(&engine_)) found.touched_at = now_;
}

int Model::follow(const Tuple& tuple, Kind kind, Found& found) {
    if (!found.touched_at) touch(tuple, kind, found);
    if (found.backend != static_cast<int>(FL_SLOT_OWNER(pool_.word(slot_))))
        fl_stamp_once(&engine_, &pool_.stamp(slot_).pin_used);
    how_ = FL_PINNED_NEW;
    return found.backend;
}

// Whether a SYN of an open connection does no harm by the rules. One that has no pin to follow, in a slot that has moved,
// is the known loss.
bool Model::bears_forged_syn(const Tuple& tuple) {
    const auto word = pool_.word(slot_);
    if (!(word & FL_SLOT_LOOKUP)) return true;
    const bool settling = FL_SLOT_OWNER(word) == FL_SLOT_PREVIOUS(word);
    const auto* const pin = pin_of(tuple);
    if (!pin) return settling;
    const auto backend = FL_PIN_BACKEND(*pin) - pool_.global_index(0);
    if (settling && backend == FL_SLOT_OWNER(word)) return true;
    return FL_PIN_STATE(*pin) != FL_PIN_CLOSING && !backends_[backend].failing;
}

int Model::decide(const Tuple& tuple, Kind kind) {
    const auto word = pool_.word(slot_);
    const auto& packets = tuple.packets;
    if (kind == Kind::kSyn && without_ == Without::kSynFollowsPin && word & FL_SLOT_LOOKUP) drop_pin(tuple);
    auto* const pin = pin_of(tuple);
    const auto pin_word = pin ? *pin : 0;
    const bool of_the_dead = pin && fl_state_of(fl_at_backends(&engine_, FL_PIN_BACKEND(pin_word))) == FL_BACKEND_DEAD;
    const bool stays =
        without_ == Without::kDeadPins ? of_the_dead : without_ == Without::kRepair && kind == Kind::kSyn;
    const auto decision = pool_.decide(engine_, kind == Kind::kSyn    ? packets.syn
                                                : kind == Kind::kFin  ? packets.fin
                                                : kind == Kind::kData ? packets.data
                                                                      : packets.datagram);
    if (pin && !*pin && stays) *pin = pin_word;
    if (kind == Kind::kFin && without_ == Without::kClosingPins) drop_pin(tuple);
    how_ = decision.pinned;
    if (decision.action != FL_ACTION_FORWARD) return -1;
    auto backend = static_cast<int>(decision.backend_index - pool_.global_index(0));
    if (kind == Kind::kSyn && decision.pinned == FL_PINNED_PREVIOUS) {
        ++outcome_.full;
        if (without_ == Without::kFailToPrevious) backend = static_cast<int>(FL_SLOT_OWNER(word));
    }
    if (backends_[static_cast<std::size_t>(backend)].dead && backend != static_cast<int>(FL_SLOT_OWNER(word)))
        ++outcome_.to_the_dead;
    return backend;
}

void Model::send(std::size_t tuple, Kind kind, std::uint64_t id) {
    const bool first_datagram = kind == Kind::kDatagram && connections_[tuple].backend < 0;
    if (first_datagram || !chance(shape_.stall)) return process(tuple, kind, id, std::nullopt);
    auto found = kind != Kind::kSyn && chance(0.5) ? find_pin(tuples_[tuple]) : std::nullopt;
    if (found && chance(0.5)) touch(tuples_[tuple], kind, *found);
    stalled_.push_back({pool_.word(slot_), graces_.begun + 1, id, tuple, kind, found});
}

void Model::process(std::size_t tuple, Kind kind, std::uint64_t id, std::optional<Found> found) {
    auto& connection = connections_[tuple];
    const bool mine = connection.id == id;
    // A SYN that comes after its connection was established is the one known loss; it is not sent here.
    if (kind == Kind::kSyn && !(mine && connection.stage == Stage::kSynSent)) return;
    if (kind == Kind::kDatagram && !(mine && connection.stage == Stage::kOpen)) return;
    const int backend = found ? follow(tuples_[tuple], kind, *found) : decide(tuples_[tuple], kind);
    if (replays())
        note("tuple " + std::to_string(tuple) + " kind " + std::to_string(static_cast<int>(kind)) + " to " +
             std::to_string(backend) + (found ? ", held with its pin" : "") +
             (pin_of(tuples_[tuple]) ? ", pinned" : ""));
    if (!mine) return;
    if (kind == Kind::kSyn)
        answer(tuple, backend);
    else if (kind == Kind::kDatagram)
        deliver_datagram(tuple, backend, found);
    else if (connection.stage == Stage::kOpen)
        deliver(tuple, backend, found);
}

// Engines that have stopped go on: those that a grace period waits for, and some others.
void Model::resume(std::uint64_t ticket, double probability) {
    const auto present = pool_.word(slot_);
    std::vector<Stalled> all;
    std::swap(all, stalled_);
    for (const auto& one : all) {
        if (one.ticket > ticket && !chance(probability)) {
            stalled_.push_back(one);
            continue;
        }
        if (replays())
            note("an engine goes on, with O " + std::to_string(FL_SLOT_OWNER(one.word)) + " P " +
                 std::to_string(FL_SLOT_PREVIOUS(one.word)) + " L " + std::to_string(one.word >> 30 & 1));
        pool_.word(slot_) = one.word;
        process(one.tuple, one.kind, one.id, one.found);
        pool_.word(slot_) = present;
    }
}

// --- Clients and backends ---

bool Model::excused(const Connection& connection) const {
    return backends_[static_cast<std::size_t>(connection.backend)].last_dead >= connection.start;
}

void Model::fault(const Connection& connection, std::size_t tuple, int backend, const char* what) {
    if (!outcome_.first_fault.empty()) return;
    std::ostringstream out;
    out << what << ": shape " << shape_.name << ", seed " << seed_ << ", second " << now_ << ", tuple " << tuple
        << ", from backend " << connection.backend << " to " << backend << ", begun " << connection.start << ", last "
        << connection.last << "; replay with FAIRLEAD_MODEL_SEED=" << seed_ << "\n";
    for (const auto& line : log_) out << "    " << line << "\n";
    outcome_.first_fault = out.str();
}

void Model::answer(std::size_t tuple, int backend) {
    if (backend < 0) {
        connections_[tuple].stage = Stage::kNone;
        return;
    }
    const auto& at = backends_[static_cast<std::size_t>(backend)];
    if (at.dead || (at.failing && chance(0.3)) || chance(0.15)) return;
    answers_.push_back({now_ + (shape_.slow_answers ? below(9) : 1), backend, tuple, connections_[tuple].id});
}

// Of one that was silent for too long, or of which an engine held a packet for that long. What goes to the previous owner,
// as it did before, is safe even then.
bool Model::lost_its_pin(const Connection& connection) const {
    return how_ != FL_PINNED_FOLLOWED && (how_ != FL_PINNED_PREVIOUS || connection.pinned);
}

// When a packet made its pin young, for the pin expires by that: one that an engine held may have been too late, or did it
// long ago.
std::int64_t Model::handled_at(const std::optional<Found>& held) const {
    return held ? held->touched_at.value_or(kNever) : now_;
}

void Model::deliver(std::size_t tuple, int backend, const std::optional<Found>& held) {
    auto& connection = connections_[tuple];
    if (connection.packets == 0) connection.slow = connection.syns > 1 || now_ - connection.start > kSlowHandshake;
    const bool overslept = now_ - connection.last > kIdle;
    if (backend == connection.backend && !(overslept && lost_its_pin(connection))) {
        connection.packets += !held;
        connection.last = std::max(connection.last, handled_at(held));
        connection.pinned = how_ == FL_PINNED_FOLLOWED || held;
        return;
    }
    connection.stage = Stage::kNone;
    if (excused(connection) || overslept) return;
    if (connection.slow && (connection.packets == 0 || held)) {
        ++outcome_.broken_at_birth;
    } else if (connection.after_fin < -1) {
        ++outcome_.spoofed;
    } else {
        ++outcome_.broken;
        fault(connection, tuple, backend, "an established connection moved");
    }
}

void Model::deliver_datagram(std::size_t tuple, int backend, const std::optional<Found>& held) {
    auto& flow = connections_[tuple];
    if (backend < 0) {
        flow.stage = Stage::kNone;
        return;
    }
    // One that an engine held while its owner died: lost, and nothing moved.
    if (flow.backend != backend && backends_[static_cast<std::size_t>(backend)].dead) return;
    const bool overslept = flow.backend >= 0 && now_ - flow.last > kIdle;
    if (overslept && lost_its_pin(flow)) backend = -1;
    if (flow.backend >= 0 && flow.backend != backend) {
        if (!excused(flow) && !overslept) {
            ++outcome_.broken_flows;
            fault(flow, tuple, backend, "a flow of datagrams moved");
        }
        // Its backend has died, or it was silent for too long: it is another flow, and what an engine still holds of the one before is not of it.
        flow.start = now_;
        flow.id = ++ids_;
    }
    flow.backend = backend;
    flow.last = std::max(flow.last, handled_at(held));
    flow.pinned = how_ == FL_PINNED_FOLLOWED || how_ == FL_PINNED_NEW;
}

std::int64_t Model::silence() {
    if (shape_.oversleep > 0 && chance(shape_.oversleep)) return kIdle + below(2 * kIdle);
    return chance(shape_.silence) ? below(kIdle - 3) : below(4);
}

void Model::advance_connection(std::size_t tuple) {
    auto& connection = connections_[tuple];
    if (is_ebb()) connection.stage = Stage::kNone;
    if (connection.stage == Stage::kNone) {
        if (is_ebb() || !chance(shape_.births)) return;
        ++outcome_.connections;
        connection = {.stage = Stage::kSynSent, .start = now_, .last = now_, .next = now_, .id = ++ids_};
    }
    if (connection.next > now_) return;
    if (connection.stage == Stage::kSynSent) {
        ++connection.syns;
        connection.next = now_ + 4;
        if (now_ - connection.start > 30)
            connection.stage = Stage::kNone;
        else
            send(tuple, Kind::kSyn, connection.id);
        return;
    }
    const bool leaves = connection.after_fin == -1 && chance(0.06);
    send(tuple, leaves ? Kind::kFin : Kind::kData, connection.id);
    if (connection.stage != Stage::kOpen) return;
    connection.next = now_ + 1 + silence();
    if (leaves) connection.after_fin = static_cast<int>(below(4));
    if (leaves || connection.after_fin > 0) connection.next = now_ + 1;
    if (connection.after_fin >= 0 && connection.after_fin-- == 0) connection.stage = Stage::kNone;
}

void Model::advance_flow(std::size_t tuple) {
    auto& flow = connections_[tuple];
    if (is_ebb()) flow.stage = Stage::kNone;
    if (flow.stage == Stage::kNone) {
        if (is_ebb() || !chance(0.05)) return;
        ++outcome_.flows;
        flow = {.stage = Stage::kOpen, .start = now_, .last = now_, .next = now_, .id = ++ids_};
    }
    if (flow.next > now_) return;
    send(tuple, Kind::kDatagram, flow.id);
    flow.next = now_ + 1 + silence();
    if (chance(0.06)) flow.stage = Stage::kNone;
}

void Model::step() {
    ++now_;
    engine_.now_ns = engine_.now_coarse_ns = kBegin + static_cast<std::uint64_t>(now_) * kSecond;
    advance_graces();
    advance_backends();
    advance_controller();
    resume(0, shape_.goes_on);
    for (std::size_t i = 0; i < answers_.size();) {
        const auto one = answers_[i];
        if (one.at > now_) {
            ++i;
            continue;
        }
        answers_.erase(answers_.begin() + static_cast<std::ptrdiff_t>(i));
        auto& connection = connections_[one.tuple];
        if (connection.stage != Stage::kSynSent || connection.id != one.id) continue;
        ++outcome_.established;
        connection.stage = Stage::kOpen;
        connection.backend = one.backend;
        connection.last = now_;
        connection.next = now_ + 1 + below(3);
        send(one.tuple, Kind::kData, one.id);
    }
    for (std::size_t tuple = 0; tuple < shape_.tuples; ++tuple) {
        advance_connection(tuple);
        auto& connection = connections_[tuple];
        if (connection.stage != Stage::kOpen || shape_.spoof == 0 || !chance(shape_.spoof)) continue;
        // It never leaves by itself then, which shows what broke it.
        if (!bears_forged_syn(tuples_[tuple])) connection.after_fin = std::min(connection.after_fin, -2);
        ++outcome_.spoofs;
        decide(tuples_[tuple], Kind::kSyn);
    }
    for (std::size_t tuple = kTuples; shape_.datagrams && tuple < kTuples + kUdpTuples; ++tuple) advance_flow(tuple);
    for (std::size_t tuple = kTuples + kUdpTuples; shape_.flood > 0 && tuple < tuples_.size(); ++tuple)
        if (chance(shape_.flood)) decide(tuples_[tuple], Kind::kSyn);
}

Outcome Model::run(std::uint64_t connections) {
    while (outcome_.connections < connections) step();
    return outcome_;
}

}  // namespace fairlead::simulation
