// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/capture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "ctl/lbctl/pcapng.h"

namespace fairlead::lbctl {
namespace {
using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kLook{5};       // between two looks into the rings
constexpr std::chrono::milliseconds kRenewal{500};  // of a lease of a second

class TextSink : public CaptureSink {
  public:
    explicit TextSink(std::ostream& out) : out_(out) {}
    void add(const tables::Captured& captured, std::uint64_t realtime_ns, const CaptureText& text) override {
        out_ << text.line(captured, realtime_ns) << '\n';
    }

  private:
    std::ostream& out_;
};

class JsonSink : public CaptureSink {
  public:
    explicit JsonSink(std::ostream& out) : out_(out) {}
    void add(const tables::Captured& captured, std::uint64_t realtime_ns, const CaptureText& text) override {
        out_ << text.json(captured, realtime_ns).dump() << '\n';
    }

  private:
    std::ostream& out_;
};

class PcapngSink : public CaptureSink {
  public:
    explicit PcapngSink(std::ostream& out) : writer_(out, "Fairlead " FAIRLEAD_VERSION) {}

    void add(const tables::Captured& captured, std::uint64_t realtime_ns, const CaptureText& text) override {
        const auto& entry = captured.entry;
        const bool leaves = entry.stage == FL_CAPTURE_AFTER;
        const auto comment = text.comment(entry);
        writer_.add_packet(
            {.interface = interface(text.interface(entry)),
             .realtime_ns = realtime_ns,
             .length = entry.frame,
             .direction = leaves ? PcapngPacket::Direction::kOutbound : PcapngPacket::Direction::kInbound,
             .bytes = captured.bytes,
             .comment = comment});
    }

  private:
    std::uint32_t interface(const std::string& name) {
        const auto found = interfaces_.find(name);
        if (found != interfaces_.end()) return found->second;
        return interfaces_[name] = writer_.add_interface(name, FL_CAPTURE_BYTES);
    }

    PcapngWriter writer_;
    std::map<std::string, std::uint32_t> interfaces_;
};

// The names of the tables as they are now: read again whenever one of them has changed.
class CurrentText {
  public:
    explicit CurrentText(const tables::Tables& tables) : tables_(tables) {}

    const CaptureText& get() {
        const auto generation = tables::load_word(tables_.meta().name_generation);
        if (!text_ || generation != generation_) {
            text_.emplace(tables::take_snapshot(tables_), tables_.limits());
            generation_ = generation;
        }
        return *text_;
    }

  private:
    const tables::Tables& tables_;
    std::optional<CaptureText> text_;
    std::uint64_t generation_ = 0;
};

// What is to be added to CLOCK_MONOTONIC.
std::uint64_t realtime_offset() {
    const auto realtime = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(realtime).count()) - tables::monotonic_ns();
}

// Of a pipe whose reader has gone away a write would tell too, but there may be nothing to write for a long time.
bool reader_gone(const std::ostream& out) {
    if (&out != &std::cout) return false;
    pollfd standard_output{STDOUT_FILENO, 0, 0};
    return poll(&standard_output, 1, 0) > 0 && (standard_output.revents & POLLERR);
}

class Runner {
  public:
    Runner(tables::Tables& tables, tables::Capture& capture, const CaptureRun& run, CaptureSink& sink)
        : capture_(capture), run_(run), sink_(sink), text_(tables), limit_(run.count) {}

    Result<void> run(std::ostream& out) {
        const auto begin = Clock::now();
        auto renewal = begin + kRenewal;
        while (!run_.stop && !limit_.reached()) {
            const auto now = Clock::now();
            if (run_.seconds > 0 && std::chrono::duration<double>(now - begin).count() >= run_.seconds) break;
            if (now >= renewal) {
                capture_.renew();
                renewal = now + kRenewal;
            }
            std::this_thread::sleep_for(kLook);
            if (auto drained = drain(out); !drained) return drained;
        }
        return {};
    }

    Result<void> drain(std::ostream& out) {
        const auto offset = realtime_offset();
        for (const auto& captured : capture_.read())
            if (limit_.take(captured)) sink_.add(captured, captured.entry.time_ns + offset, text_.get());
        out.flush();
        if (!out || reader_gone(out))
            return fail("what was captured cannot be written: is the disk full, or the reader gone?", EPIPE);
        return {};
    }

    std::uint64_t packets() const { return limit_.packets(); }

  private:
    tables::Capture& capture_;
    const CaptureRun& run_;
    CaptureSink& sink_;
    CurrentText text_;
    CaptureLimit limit_;
};
}  // namespace

Result<UniqueFd> lock_capture(const std::filesystem::path& tables_folder) {
    UniqueFd lock(open(tables_folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock) return fail_errno("cannot open " + tables_folder.string(), errno);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK) return fail_errno("cannot lock " + tables_folder.string(), errno);
    return fail("somebody captures already, and only one can at a time: end that 'lbctl capture' first", EBUSY);
}

std::unique_ptr<CaptureSink> make_text_sink(std::ostream& out) { return std::make_unique<TextSink>(out); }
std::unique_ptr<CaptureSink> make_json_sink(std::ostream& out) { return std::make_unique<JsonSink>(out); }
std::unique_ptr<CaptureSink> make_pcapng_sink(std::ostream& out) { return std::make_unique<PcapngSink>(out); }

// A packet's entries stand behind one another in the ring of its stride.
bool CaptureLimit::take(const tables::Captured& captured) {
    const auto& entry = captured.entry;
    if (entry.stage == FL_CAPTURE_AFTER) {
        const auto last = last_.find(captured.stride);
        return last != last_.end() && last->second == entry.packet;
    }
    if (reached()) return false;
    last_[captured.stride] = entry.packet;
    ++packets_;
    return true;
}

Result<CaptureSummary> run_capture(tables::Tables& tables, const fl_capture_filter& filter, const CaptureRun& run,
                                   CaptureSink& sink, std::ostream& out) {
    auto grace = tables::make_grace(tables);
    if (!grace) return tl::unexpected(grace.error());
    auto capture = tables::Capture::create(tables, **grace, filter);
    if (!capture) return tl::unexpected(capture.error());
    Runner runner(tables, *capture, run, sink);
    capture->renew();
    run.begun();
    if (auto ran = runner.run(out); !ran) return tl::unexpected(ran.error());
    capture->end();
    if (auto waited = (*grace)->wait(); !waited) return tl::unexpected(waited.error());
    if (auto drained = runner.drain(out); !drained) return tl::unexpected(drained.error());
    return CaptureSummary{runner.packets(), capture->counts()};
}

}  // namespace fairlead::lbctl
