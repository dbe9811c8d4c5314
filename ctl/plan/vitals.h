// SPDX-License-Identifier: Apache-2.0
// How long each backend has been up or down, and what follows from it (DESIGN section 6, "Failure"): one that is down for
// longer than its pool's failure_grace, while another of the pool is up (where none is, it may be this node that is cut off:
// then nobody has died), is dead, and its connections are given up; one that was dead is shown alive only when
// no engine acts any more upon what it was told while it was dead; one that came back has been up for so long. Pure: the
// time is an argument. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "ctl/plan/eligibility.h"

namespace fairlead::plan {

class Vitals {
  public:
    using Time = std::chrono::steady_clock::time_point;

    // From now on a backend that appears is a new one, and comes to its weight slowly; those seen before were never away.
    void begin() { begun_ = true; }

    // Names of pool and backend, and what the tables say of it.
    struct Adopted {
        bool dead = false;
        bool down = false;
    };
    void adopt(const std::string& pool, const std::string& backend, Adopted state, Time now);

    // What checks say of a pool's backends, made what decisions go by. Backends that the pool no longer has are forgotten.
    // `gone`: nobody answers at layer 2 for a backend of that name: dead as soon as its checks are down.
    using IsGone = std::function<bool(const config::Backend&)>;
    PoolHealth look(const config::Pool& pool, PoolHealth checks, Time now, const IsGone& gone = {});

    // The tables say that the dead of a pool are, and its slots went by it (SlotTransitions::retarget): they may be shown
    // alive when this turn of grace periods is done; of several such calls the last one counts. `done`: of turns, so far.
    void buried(const std::string& pool, std::uint64_t ticket);
    void turns_done(std::uint64_t done) { done_ = done; }

    // Pools of which time alone may change what look() says: a grace, a hold-down, a slow start runs.
    const std::set<std::string, std::less<>>& running() const { return running_; }
    void keep_only(const std::function<bool(const std::string& pool)>& is_there);

  private:
    struct Life {
        Verdict verdict = Verdict::kUnknown;
        std::optional<Time> since;  // of the verdict; none: as long as anybody knows
        bool dead = false;
        std::optional<std::uint64_t> ticket;
    };
    // `served`: since when some backend of the pool is up; none is.
    BackendHealth look_at(Life& life, const config::Pool& pool, BackendHealth checks, bool gone,
                          std::optional<Time> served, Time now);

    std::map<std::string, std::map<std::string, Life, std::less<>>, std::less<>> pools_;
    std::set<std::string, std::less<>> running_;
    std::map<std::string, Time, std::less<>> served_since_;  // by pool: since when somebody is up
    std::uint64_t done_ = 0;
    bool begun_ = false;
};

}  // namespace fairlead::plan
