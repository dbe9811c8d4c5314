// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/health_monitor.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <unordered_set>
#include <utility>

namespace fairlead::health {

namespace asio = boost::asio;

class HealthMonitor::Impl {
  public:
    Impl(asio::io_context& io, std::unique_ptr<ProbeRunner> owned, ProbeRunner& runner, MonitorOptions options)
        : owned_runner_(std::move(owned)),
          runner_(runner),
          options_(options),
          targets_(options.jitter_seed),
          timer_(io) {}

    ~Impl() { cancel_all(); }

    void set_targets(const std::vector<TargetSpec>& specs) {
        for (const TargetId id : targets_.set_targets(specs, now()))
            if (running_.erase(id) != 0) runner_.cancel(id);
        arm();
    }

    void cancel_all() {
        timer_.cancel();
        for (const TargetId id : std::exchange(running_, {})) runner_.cancel(id);
    }

    OnChange on_change_;
    OnResult on_result_;
    const TargetSet& targets() const { return targets_; }

  private:
    static TimePoint now() { return std::chrono::steady_clock::now(); }

    // Waits for the next target that is due, unless all places are taken: then a probe's end arms again.
    void arm() {
        const auto due = targets_.next_due();
        if (!due || running_.size() >= options_.max_in_flight) {
            timer_.cancel();
            return;
        }
        timer_.expires_at(*due);
        timer_.async_wait([this, alive = std::weak_ptr<char>(alive_)](const boost::system::error_code& error) {
            // A wait that has already ended cannot be cancelled: its handler may come after the monitor has gone.
            if (!error && !alive.expired()) launch_due();
        });
    }

    void launch_due() {
        const std::size_t places = options_.max_in_flight - running_.size();
        for (const Launch& launch : targets_.take_due(now(), places)) {
            running_.insert(launch.id);
            runner_.start(launch.id, launch.key,
                          [this, id = launch.id](const ProbeResult& result) { finished(id, result); });
        }
        arm();
    }

    void finished(TargetId id, const ProbeResult& result) {
        running_.erase(id);
        const TargetKey* found = targets_.key(id);
        if (found == nullptr) return;
        // Copies: a callback may replace the targets.
        const TargetKey key = *found;
        const auto transition = targets_.record(id, result, now());
        arm();
        if (on_result_) on_result_(key, result, *targets_.state(key));
        if (transition && on_change_ && targets_.key(id) != nullptr)
            on_change_(key, transition->from, transition->to, transition->reason);
    }

    std::unique_ptr<ProbeRunner> owned_runner_;
    ProbeRunner& runner_;
    MonitorOptions options_;
    TargetSet targets_;
    std::unordered_set<TargetId> running_;
    asio::steady_timer timer_;
    std::shared_ptr<char> alive_ = std::make_shared<char>();
};

HealthMonitor::HealthMonitor(asio::io_context& io, MonitorOptions options) {
    auto prober = std::make_unique<Prober>(io);
    ProbeRunner& runner = *prober;
    impl_ = std::make_unique<Impl>(io, std::move(prober), runner, options);
}

HealthMonitor::HealthMonitor(asio::io_context& io, ProbeRunner& runner, MonitorOptions options)
    : impl_(std::make_unique<Impl>(io, nullptr, runner, options)) {}

HealthMonitor::~HealthMonitor() = default;

void HealthMonitor::on_change(OnChange callback) { impl_->on_change_ = std::move(callback); }

void HealthMonitor::on_result(OnResult callback) { impl_->on_result_ = std::move(callback); }

void HealthMonitor::set_targets(const std::vector<TargetSpec>& specs) { impl_->set_targets(specs); }

void HealthMonitor::stop() { impl_->set_targets({}); }

Verdict HealthMonitor::verdict(const TargetKey& key) const { return impl_->targets().verdict(key); }

const CheckState* HealthMonitor::state(const TargetKey& key) const { return impl_->targets().state(key); }

bool HealthMonitor::all_reported() const { return impl_->targets().all_reported(); }

std::size_t HealthMonitor::unreported() const { return impl_->targets().unreported(); }

std::size_t HealthMonitor::size() const { return impl_->targets().size(); }

void HealthMonitor::for_each(const std::function<void(const TargetKey&, const CheckState&)>& visit) const {
    impl_->targets().for_each(visit);
}

}  // namespace fairlead::health
