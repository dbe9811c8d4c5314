// SPDX-License-Identifier: Apache-2.0
// The sending half of a session: takes records from the source, keeps what is not acknowledged, and says what is to be sent,
// for the first time or again. Pure; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "ctl/sync/message.h"

namespace fairlead::sync {

class SendStream {
  public:
    SendStream(Source& source, std::size_t window, std::chrono::milliseconds interval)
        : source_(source), window_(window), interval_(interval) {}

    // The next message is the first of a new stream.
    void begin_anew() { begin_wanted_ = true; }
    // The source is asked at the next call.
    void hurry() { filled_at_ = TimePoint::min(); }
    // The receiver is another process.
    void forget();

    // What is to be sent now, its records valid until the next call of anything. `heard`: the receiver is, of late. `room`:
    // for records.
    std::optional<Data> next(TimePoint now, bool heard, std::size_t room);
    TimePoint wake(TimePoint now, bool heard) const;
    // `order`: of messages from the receiver. An acknowledgement that comes later than a newer one is of no use.
    void acknowledged(const Ack& ack, std::uint64_t order, std::chrono::milliseconds peer_interval, TimePoint now);

    std::optional<TimePoint> behind_since(TimePoint now) const;
    std::uint64_t begun() const { return stream_; }
    std::uint64_t resent() const { return resent_; }
    std::size_t kept() const { return kept_.size(); }

  private:
    struct Kept {
        bool caught_up = false;
        std::vector<std::uint8_t> records;
        TimePoint changed_at;  // since when what it tells, or follows, was to be told
        TimePoint sent_at;
        std::uint64_t order = 0;  // of sending: an acknowledged message of a higher one shows that this one is overdue
        unsigned times = 0, overtaken = 0;
        bool acknowledged = false;
    };

    void begin(TimePoint now);
    bool fill(TimePoint now, bool heard, std::size_t room);
    std::size_t fill_records(std::vector<std::uint8_t>& records, bool& caught_up);
    Data send(std::size_t index, TimePoint now);
    std::optional<std::size_t> overdue(TimePoint now, bool heard) const;
    TimePoint due(const Kept& kept) const;
    bool silent(TimePoint now) const;
    bool mark(std::size_t index, TimePoint now);
    void measure(std::chrono::nanoseconds round_trip);
    // How many there are that could be sent again: one where nobody answers.
    std::size_t resendable(bool heard) const { return heard ? kept_.size() : std::min<std::size_t>(kept_.size(), 1); }

    Source& source_;
    const std::size_t window_;
    const std::chrono::milliseconds interval_;
    std::deque<Kept> kept_;     // numbers first_ and following, until all before are acknowledged
    std::uint64_t stream_ = 0;  // 0: none yet
    std::uint64_t first_ = 0;
    bool begin_wanted_ = true;
    bool caught_up_ = false;  // what was made last was
    TimePoint changed_at_;    // since when there is something to tell, while not caught up
    TimePoint filled_at_;
    TimePoint progress_at_;  // when something was acknowledged, or there was nothing to acknowledge
    std::uint64_t order_ = 0, acknowledged_order_ = 0, resent_ = 0;
    std::optional<std::chrono::nanoseconds> round_trip_;
    std::chrono::nanoseconds variation_{0}, peer_delay_{0};
    unsigned backoff_ = 0;  // doublings for all, until a round trip is measured again: it may have become longer
};

}  // namespace fairlead::sync
