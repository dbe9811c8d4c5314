// SPDX-License-Identifier: Apache-2.0
// Runs probes: a TCP connect, or an HTTP/1.1 GET, to an address. All of it is non-blocking on the caller's
// io_context; one deadline covers connect, request and answer.
//
// Thread rule: everything, callbacks included, on the one thread that runs the io_context. The io_context must outlive
// the Prober; destroying the Prober cancels its probes silently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "ctl/health/check_state.h"
#include "ctl/health/target_set.h"

namespace boost::asio {
class io_context;
}

namespace fairlead::health {

class ProbeRunner {
  public:
    using Done = std::function<void(const ProbeResult&)>;

    virtual ~ProbeRunner() = default;

    // Starts a probe under an id that is not running. `done` is called once, never from within start(), unless the
    // probe is cancelled first.
    virtual void start(TargetId id, const TargetKey& key, Done done) = 0;
    virtual void cancel(TargetId id) = 0;
};

class Prober : public ProbeRunner {
  public:
    explicit Prober(boost::asio::io_context& io);
    ~Prober() override;
    Prober(const Prober&) = delete;
    Prober& operator=(const Prober&) = delete;

    void start(TargetId id, const TargetKey& key, Done done) override;
    void cancel(TargetId id) override;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::health
