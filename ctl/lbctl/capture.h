// SPDX-License-Identifier: Apache-2.0
// `lbctl capture`: from the rings of the tables to the terminal, or to a file that Wireshark reads. Works without lbd. One
// thread; one capture of an instance at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "ctl/lbctl/capture_text.h"
#include "dataplane/tables/capture.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::lbctl {

inline constexpr std::uint32_t kCaptureRate = 500;  // two entries a packet: what may come at once fits a ring

// Held for as long as the capture runs, and let go of by a death. EBUSY: somebody else captures.
Result<UniqueFd> lock_capture(const std::filesystem::path& tables_folder);

// Where captured packets go.
class CaptureSink {
  public:
    virtual ~CaptureSink() = default;
    virtual void add(const tables::Captured& captured, std::uint64_t realtime_ns, const CaptureText& text) = 0;
};
std::unique_ptr<CaptureSink> make_text_sink(std::ostream& out);
std::unique_ptr<CaptureSink> make_json_sink(std::ostream& out);  // a line each
std::unique_ptr<CaptureSink> make_pcapng_sink(std::ostream& out);

// Lets the first `count` packets through, each with what became of it; 0: all.
class CaptureLimit {
  public:
    explicit CaptureLimit(std::uint64_t count) : count_(count) {}
    bool take(const tables::Captured& captured);
    bool reached() const { return count_ && packets_ >= count_; }
    std::uint64_t packets() const { return packets_; }

  private:
    std::uint64_t count_;
    std::uint64_t packets_ = 0;
    std::map<std::uint32_t, std::uint64_t> last_;  // packet let through, by stride
};

struct CaptureRun {
    std::uint64_t count = 0;  // packets; 0: no limit
    double seconds = 0;       // 0: no limit
    const std::atomic<bool>& stop;
    std::function<void()> begun = [] {};  // called once packets are captured
};

struct CaptureSummary {
    std::uint64_t packets = 0;
    tables::CaptureCounts counts;
};

// Runs until `run` says that it is enough, or `out`, where the sink writes, takes no more (EPIPE).
Result<CaptureSummary> run_capture(tables::Tables& tables, const fl_capture_filter& filter, const CaptureRun& run,
                                   CaptureSink& sink, std::ostream& out);

}  // namespace fairlead::lbctl
