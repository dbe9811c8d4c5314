// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/maglev.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "ctl/plan/name_hash.h"
#include "dataplane/tables/desired.h"

namespace fairlead::plan {
namespace {

constexpr std::uint64_t kSecondKey = 0x6d61676c65762d31;  // "maglev-1": another way of making permutations gets another

// A candidate on its way through its permutation.
struct Walker {
    std::uint32_t next;  // slot to try next
    std::uint32_t skip;  // odd
    std::uint16_t local_index;
};

// The walkers of one weight: they take their turns together, [first, last) of the sorted walkers. Their next turn is due
// at `bucket` + `rest` / 2 weight, times being scaled so that about one slot is claimed in a unit of time.
struct WeightClass {
    std::uint64_t weight;
    std::size_t first;
    std::size_t last;
    std::uint64_t bucket = 0;
    std::uint64_t rest = 0;  // below 2 weight
};

bool earlier(const WeightClass& a, const WeightClass& b) {
    const std::uint64_t left = a.rest * b.weight;  // both of one bucket
    const std::uint64_t right = b.rest * a.weight;
    return left != right ? left < right : a.weight > b.weight;
}

// Who is due when: a queue with a bucket for each unit of time, so that a turn costs the same whatever the number of
// different weights. With W the sum of all weights, turn j of weight w is due at (2j + 1) W / 2w.
class Calendar {
  public:
    // By time b at least b - n/2 turns of n walkers have been taken, so the last of `slots` turns is in the table.
    Calendar(std::vector<WeightClass> classes, std::uint64_t total_weight, std::size_t slots, std::size_t walkers)
        : classes_(std::move(classes)),
          total_(total_weight),
          heads_(slots + walkers / 2 + 2, kNone),
          links_(classes_.size(), kNone) {
        for (std::uint32_t i = 0; i < classes_.size(); ++i) {
            advance_by(classes_[i], total_);
            insert(i);
        }
    }

    // The classes with a turn in the next unit of time, in order; none in many units. Valid until the next call.
    std::span<const WeightClass* const> next() {
        due_.clear();
        for (std::uint32_t i = heads_[now_], link; i != kNone; i = link) {
            link = links_[i];
            due_.push_back(&classes_[i]);
        }
        std::sort(due_.begin(), due_.end(), [](const auto* a, const auto* b) { return earlier(*a, *b); });
        return due_;
    }

    // Gives those that next() returned their turn after this one.
    void advance() {
        for (const WeightClass* due : due_) {
            const auto i = static_cast<std::uint32_t>(due - classes_.data());
            advance_by(classes_[i], 2 * total_);
            insert(i);
        }
        ++now_;
    }

  private:
    static constexpr std::uint32_t kNone = ~0U;

    static void advance_by(WeightClass& c, std::uint64_t numerator) {
        c.rest += numerator;
        c.bucket += c.rest / (2 * c.weight);
        c.rest %= 2 * c.weight;
    }

    void insert(std::uint32_t i) {
        const std::uint64_t bucket = classes_[i].bucket;
        if (bucket < heads_.size()) {  // else no slot is left by then
            links_[i] = heads_[bucket];
            heads_[bucket] = i;
        }
    }

    std::vector<WeightClass> classes_;
    std::uint64_t total_;
    std::vector<std::uint32_t> heads_;  // first class of each bucket
    std::vector<std::uint32_t> links_;  // the class after, by class
    std::vector<const WeightClass*> due_;
    std::size_t now_ = 0;
};

// Which slots are taken, a bit each: 8 KiB for 65,536 slots, so that the search stays in the first-level cache.
class TakenSlots {
  public:
    explicit TakenSlots(std::size_t slots) : words_((slots + 63) / 64) {}
    bool test(std::uint32_t slot) const { return (words_[slot >> 6] >> (slot & 63)) & 1; }
    void set(std::uint32_t slot) { words_[slot >> 6] |= std::uint64_t{1} << (slot & 63); }

  private:
    std::vector<std::uint64_t> words_;
};

struct Ranked {
    std::uint64_t hash;
    const Candidate* candidate;
};

// The candidates that may own slots, heaviest first, then by name hash: an order that the caller cannot influence.
std::vector<Ranked> rank(std::span<const Candidate> candidates, std::uint64_t seed) {
    std::vector<Ranked> ranked;
    ranked.reserve(candidates.size());
    for (const Candidate& candidate : candidates) {
        if (candidate.weight > 0) {
            ranked.push_back({name_hash(candidate.name, {seed, kSecondKey}), &candidate});
        }
    }
    std::sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
        if (a.candidate->weight != b.candidate->weight) {
            return a.candidate->weight > b.candidate->weight;
        }
        return std::tie(a.hash, a.candidate->name) < std::tie(b.hash, b.candidate->name);
    });
    return ranked;
}

std::vector<WeightClass> weight_classes(const std::vector<Ranked>& ranked) {
    std::vector<WeightClass> classes;
    for (std::size_t i = 0; i < ranked.size(); ++i) {
        if (classes.empty() || classes.back().weight != ranked[i].candidate->weight) {
            classes.push_back({ranked[i].candidate->weight, i, i});
        }
        classes.back().last = i + 1;
    }
    return classes;
}

std::vector<Walker> make_walkers(const std::vector<Ranked>& ranked, std::uint32_t mask) {
    std::vector<Walker> walkers;
    walkers.reserve(ranked.size());
    for (const Ranked& r : ranked) {
        walkers.push_back({static_cast<std::uint32_t>(r.hash) & mask, static_cast<std::uint32_t>(r.hash >> 32) | 1,
                           r.candidate->local_index});
    }
    return walkers;
}

std::uint64_t total_weight(const std::vector<Ranked>& ranked) {
    std::uint64_t total = 0;
    for (const Ranked& r : ranked) {
        total += r.candidate->weight;
    }
    return total;
}

// The next slot of the walker's permutation that is free; taken from now on.
std::uint32_t claim(Walker& walker, TakenSlots& taken, std::uint32_t mask) {
    std::uint32_t slot = walker.next;
    const std::uint32_t skip = walker.skip;
    while (taken.test(slot)) {
        slot = (slot + skip) & mask;
    }
    taken.set(slot);
    walker.next = (slot + skip) & mask;
    return slot;
}

}  // namespace

void fill_owners(std::span<std::uint16_t> owners, std::span<const Candidate> candidates, std::uint64_t seed) {
    assert(std::has_single_bit(owners.size()) && owners.size() <= (1U << 24));
    const std::vector<Ranked> ranked = rank(candidates, seed);
    if (ranked.empty()) {
        std::fill(owners.begin(), owners.end(), std::uint16_t{FL_NO_BACKEND});
        return;
    }
    const auto mask = static_cast<std::uint32_t>(owners.size() - 1);
    std::vector<Walker> walkers = make_walkers(ranked, mask);
    Calendar calendar(weight_classes(ranked), total_weight(ranked), owners.size(), ranked.size());
    TakenSlots taken(owners.size());
    std::size_t free_slots = owners.size();

    while (true) {
        for (const WeightClass* due : calendar.next()) {
            for (std::size_t i = due->first; i < due->last; ++i) {
                owners[claim(walkers[i], taken, mask)] = walkers[i].local_index;
                if (--free_slots == 0) {
                    return;
                }
            }
        }
        calendar.advance();
    }
}

}  // namespace fairlead::plan
