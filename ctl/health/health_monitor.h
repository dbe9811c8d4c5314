// SPDX-License-Identifier: Apache-2.0
// Runs the health checks of lbd: keeps the targets, probes each when it is due, tells of verdicts.
//
// Thread rule: everything, callbacks included, on the one thread that runs the io_context, which must outlive this.
// A callback may call set_targets(), verdict() and the like; it must not destroy the monitor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ctl/health/check_state.h"
#include "ctl/health/prober.h"
#include "ctl/health/target_set.h"

namespace fairlead::health {

struct MonitorOptions {
    std::uint64_t jitter_seed = 0;
    // Probes running at once, each with a descriptor of its own; the rest wait their turn. Keep it below the process's
    // limit of open files.
    std::size_t max_in_flight = 512;
};

class HealthMonitor {
  public:
    // A verdict changed; the reason is a phrase for the log.
    using OnChange = std::function<void(const TargetKey&, Verdict from, Verdict to, const std::string& reason)>;
    // Every result, before on_change, for metrics. The state is the one after the result.
    using OnResult = std::function<void(const TargetKey&, const ProbeResult&, const CheckState&)>;

    explicit HealthMonitor(boost::asio::io_context& io, MonitorOptions options = {});
    // With probes of the caller's own (tests); `runner` must outlive the monitor.
    HealthMonitor(boost::asio::io_context& io, ProbeRunner& runner, MonitorOptions options);
    ~HealthMonitor();
    HealthMonitor(const HealthMonitor&) = delete;
    HealthMonitor& operator=(const HealthMonitor&) = delete;

    void on_change(OnChange callback);
    void on_result(OnResult callback);

    // Replaces the whole set; checking starts at once. Targets already there keep verdict, streaks and schedule; a
    // probe of a target that is gone is cancelled.
    void set_targets(const std::vector<TargetSpec>& specs);
    // Cancels everything; no callback comes after it. set_targets() starts again.
    void stop();

    Verdict verdict(const TargetKey& key) const;          // unknown if there is no such target
    const CheckState* state(const TargetKey& key) const;  // until the next set_targets() or stop()
    // Every target has a verdict: adopted, or from its first result (a timeout is one). True without targets.
    bool all_reported() const;
    std::size_t unreported() const;
    std::size_t size() const;
    void for_each(const std::function<void(const TargetKey&, const CheckState&)>& visit) const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::health
