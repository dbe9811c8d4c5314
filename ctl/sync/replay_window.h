// SPDX-License-Identifier: Apache-2.0
// Which of a sender's numbers were seen: those up to kNumbers behind the highest are told apart, older ones count as seen
// (RFC 4303 appendix A2 does the same).
#pragma once

#include <bitset>
#include <cstdint>

namespace fairlead::sync {

class ReplayWindow {
  public:
    static constexpr std::uint64_t kNumbers = 1024;

    // True, and from then on false: it is new.
    bool take(std::uint64_t number) {
        if (!any_ || number > highest_) {
            advance(number);
            return true;
        }
        if (highest_ - number >= kNumbers || seen_[number % kNumbers]) return false;
        seen_.set(number % kNumbers);
        return true;
    }

  private:
    void advance(std::uint64_t number) {
        if (!any_ || number - highest_ >= kNumbers) {
            seen_.reset();
        } else {
            for (auto passed = highest_ + 1; passed != number; ++passed) seen_.reset(passed % kNumbers);
        }
        seen_.set(number % kNumbers);
        highest_ = number;
        any_ = true;
    }

    std::bitset<kNumbers> seen_;
    std::uint64_t highest_ = 0;
    bool any_ = false;
};

}  // namespace fairlead::sync
