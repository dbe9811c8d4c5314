// SPDX-License-Identifier: Apache-2.0
// How long one steering table takes to fill, hashing of names and sorting included: 65,536 slots, 1,000 backends.
// Prints one JSON object; `maglev_65536_1000_ms` is the median of the rounds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "ctl/plan/maglev.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 101;
constexpr std::size_t kSlots = 65'536;

std::vector<std::string> names_of(std::size_t count) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < count; ++i) {
        names.push_back("backend-" + std::to_string(i));
    }
    return names;
}

struct Times {
    double median_ms, least_ms, most_ms;
};

template <typename Fill>
Times measure(Fill fill) {
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) {
        const auto begin = Clock::now();
        fill();
        times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    }
    std::sort(times.begin(), times.end());
    return {times[times.size() / 2], times.front(), times.back()};
}

Times measure_table(std::size_t backends, std::uint32_t (*weight_of)(std::size_t)) {
    const std::vector<std::string> names = names_of(backends);
    std::vector<fairlead::plan::Candidate> candidates;
    for (std::size_t i = 0; i < backends; ++i) {
        candidates.push_back({static_cast<std::uint16_t>(i), names[i], weight_of(i)});
    }
    std::vector<std::uint16_t> owners(kSlots);
    return measure([&] { fairlead::plan::fill_owners(owners, candidates); });
}

}  // namespace

int main() {
    const Times equal = measure_table(1'000, [](std::size_t) { return 100U; });
    const Times mixed = measure_table(1'000, [](std::size_t i) { return static_cast<std::uint32_t>(i + 1); });
    // The floor: what the same number of stores alone costs.
    std::vector<std::uint16_t> owners(kSlots);
    const Times floor = measure([&] {
        for (std::size_t i = 0; i < owners.size(); ++i) {
            static_cast<volatile std::uint16_t&>(owners[i]) = static_cast<std::uint16_t>(i);
        }
    });
    std::printf(
        "{\"maglev_65536_1000_ms\": %.3f, \"least_ms\": %.3f, \"most_ms\": %.3f, "
        "\"distinct_weights_ms\": %.3f, \"floor_stores_ms\": %.3f, \"rounds\": %d}\n",
        equal.median_ms, equal.least_ms, equal.most_ms, mixed.median_ms, floor.median_ms, kRounds);
    return 0;
}
