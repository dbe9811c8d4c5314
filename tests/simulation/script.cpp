// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/script.h"

#include <algorithm>

namespace fairlead::simulation {
namespace {

constexpr std::uint32_t kFullSeconds = 900;
constexpr std::uint16_t kPresentAtFirst = 60, kFirstTier = 50;
constexpr int kQuorum = 30;
constexpr std::uint32_t kNotice = 2;  // seconds until a check has found a death

}  // namespace

Script::Script(Scenario scenario, Fleet& fleet, Dice& dice, std::uint32_t seconds)
    : scenario_(scenario), fleet_(fleet), dice_(dice), seconds_(seconds) {
    if (scenario == Scenario::kScaleOut) {
        present_ = kPresentAtFirst;
        for (auto i = kPresentAtFirst; i < Fleet::kBackends; ++i) fleet_.at(i).present = false;
    }
    if (scenario == Scenario::kTiers) {
        fleet_.set_quorum(kQuorum);
        for (auto i = kFirstTier; i < Fleet::kBackends; ++i) fleet_.at(i).tier = 1;
    }
}

void Script::later(std::uint32_t seconds, std::function<void()> what) {
    pending_.emplace(now_ + std::max(1U, seconds), std::move(what));
}

std::uint32_t Script::scaled(std::uint32_t seconds) const { return std::max(1U, seconds * seconds_ / kFullSeconds); }

bool Script::every(std::uint32_t seconds) const { return now_ % scaled(seconds) == 0; }

std::uint16_t Script::any() { return static_cast<std::uint16_t>(dice_.below(present_)); }

// The same to a backend, a second later to who got most of its slots, and so on: slots that move again and again.
void Script::chain(std::uint16_t backend, int deeds, const Deed& deed) {
    const auto slots = fleet_.slots_of(backend);
    deed(backend);
    if (deeds > 1) later(1, [=, this] { chain(fleet_.heir_to(slots), deeds - 1, deed); });
}

void Script::flap(std::uint16_t backend, std::uint32_t seconds) {
    if (fleet_.at(backend).failing) return;
    fleet_.set_failing(backend, true);
    later(seconds, [=, this] {
        if (fleet_.is_up(backend)) fleet_.set_failing(backend, false);
    });
}

void Script::drain(std::uint16_t backend, std::uint32_t seconds) {
    fleet_.at(backend).drained = true;
    fleet_.changed();
    later(seconds, [=, this] {
        fleet_.at(backend).drained = false;
        fleet_.changed();
    });
}

void Script::weigh(std::uint16_t backend) {
    constexpr std::uint32_t kWeights[] = {10, 25, 50, 100, 200, 400};
    fleet_.at(backend).weight = kWeights[dice_.below(std::size(kWeights))];
    fleet_.changed();
}

void Script::start_slowly(std::uint16_t backend) {
    constexpr std::uint32_t kSteps = 10;
    fleet_.at(backend).weight = 100 / kSteps;
    drain(backend, scaled(20));
    for (std::uint32_t step = 2; step <= kSteps; ++step)
        later(scaled(20) + step * scaled(3), [=, this] {
            fleet_.at(backend).weight = step * 100 / kSteps;
            fleet_.changed();
        });
}

// For longer than failure_grace.
void Script::die(std::uint16_t backend, std::uint32_t seconds) {
    auto& b = fleet_.at(backend);
    if (!b.up || b.failing) return;
    fleet_.set_up(backend, false);
    const bool gone = dice_.chance(0.5);
    later(kNotice, [=, this] {
        fleet_.set_failing(backend, true);
        fleet_.at(backend).gone = gone;
    });
    later(kNotice + seconds, [=, this] {
        fleet_.set_up(backend, true);
        fleet_.set_failing(backend, false);
    });
}

// Half of the first tier goes, in turn for a moment, for good, and by an operator's will.
void Script::shake_tiers() {
    const auto kind = rounds_++ % 3;
    for (std::uint16_t i = 0; i < kFirstTier; i += 2) {
        const auto backend = static_cast<std::uint16_t>(i + (rounds_ & 1));
        if (kind == 0) flap(backend, dice_.between(4, 8));
        if (kind == 1) die(backend, 12 + scaled(40));
        if (kind == 2) drain(backend, scaled(40));
    }
}

void Script::mix() {
    const double haste = static_cast<double>(kFullSeconds) / seconds_;
    const auto happens = [&](double per_second) { return dice_.chance(std::min(1.0, per_second * haste)); };
    if (happens(0.08)) flap(any(), dice_.between(2, 8));
    if (happens(0.02)) chain(any(), 3, [this](auto b) { flap(b, 5); });
    if (happens(0.03)) drain(any(), scaled(dice_.between(10, 100)));
    if (happens(0.01)) chain(any(), 3, [this](auto b) { drain(b, scaled(40)); });
    if (happens(0.03)) weigh(any());
    if (happens(0.01)) die(any(), 12 + scaled(dice_.between(5, 50)));
    if (happens(0.005)) fleet_.restart_controller();
}

void Script::act(std::uint32_t second) {
    now_ = second;
    while (!pending_.empty() && pending_.begin()->first <= now_) {
        const auto what = std::move(pending_.begin()->second);
        pending_.erase(pending_.begin());
        what();
    }
    if (now_ < seconds_ / 15 || now_ > seconds_ * 3 / 4) return;
    switch (scenario_) {
        case Scenario::kQuiet:
            break;
        case Scenario::kFlap:
            if (every(5)) flap(any(), dice_.between(2, 8));
            if (every(25)) chain(any(), 3, [this](auto b) { flap(b, 5); });
            break;
        case Scenario::kDrain:
            if (every(20)) drain(any(), scaled(60));
            if (every(50)) chain(any(), 3, [this](auto b) { drain(b, scaled(60)); });
            break;
        case Scenario::kScaleOut:
            if (!every(40) || present_ >= Fleet::kBackends) break;
            for (int i = 0; i < 3; ++i)  // a few, and a few more at once
                later(static_cast<std::uint32_t>(1 + i), [this] {
                    for (int more = 0; more < 2 && present_ < Fleet::kBackends; ++more)
                        fleet_.at(static_cast<std::uint16_t>(present_++)).present = true;
                    fleet_.changed();
                });
            break;
        case Scenario::kWeight:
            if (every(15)) chain(any(), 3, [this](auto b) { weigh(b); });
            break;
        case Scenario::kSlowStart:
            if (every(30)) start_slowly(any());
            break;
        case Scenario::kTiers:
            if (every(120)) shake_tiers();
            break;
        case Scenario::kMix:
        case Scenario::kFlood:
            mix();
            break;
    }
}

bool Script::floods(std::uint32_t second) const {
    return scenario_ == Scenario::kFlood && second >= seconds_ / 3 && second < seconds_ * 2 / 3;
}

}  // namespace fairlead::simulation
