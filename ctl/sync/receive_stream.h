// SPDX-License-Identifier: Apache-2.0
// The receiving half of a session: puts the messages of a stream in order, hands each on once, and says what it has. Pure;
// one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "ctl/sync/message.h"

namespace fairlead::sync {

class ReceiveStream {
  public:
    ReceiveStream(Sink& sink, std::size_t window, std::chrono::milliseconds interval)
        : sink_(sink), window_(window), acknowledge_after_(std::chrono::microseconds(interval) / 4) {}

    // The sender is another process: its streams are numbered from 1 again.
    void forget();
    // What goes on cannot be used: nothing more of this stream is taken.
    void ask_again() { unusable_ = stream_ != 0; }

    // False: the sink could not read it.
    bool received(const Data& data, TimePoint now);

    // What is to be told the sender now; it counts as told.
    std::optional<Ack> next(TimePoint now);
    TimePoint wake() const;

    std::optional<TimePoint> current_at() const { return current_at_; }
    std::uint64_t begun() const { return begun_; }
    std::size_t kept() const { return early_.size(); }

  private:
    struct Early {
        bool caught_up = false;
        std::vector<std::uint8_t> records;
    };

    bool follow(const Data& data, TimePoint now);
    bool take(const Data& data, TimePoint now);
    bool drain(TimePoint now);
    void acknowledge_by(TimePoint time) { acknowledge_at_ = std::min(acknowledge_at_, time); }
    Ack acknowledgement() const;

    Sink& sink_;
    const std::size_t window_;
    const std::chrono::microseconds acknowledge_after_;
    std::uint64_t stream_ = 0;  // 0: none
    std::uint64_t next_ = 0;
    std::map<std::uint64_t, Early> early_;  // by number, of at most window_ numbers
    bool unusable_ = false;
    std::size_t unacknowledged_ = 0;
    TimePoint acknowledge_at_ = TimePoint::max();
    std::optional<TimePoint> acknowledged_at_, asked_at_;
    std::uint64_t asked_for_ = 0;  // the stream
    std::optional<TimePoint> current_at_;
    std::uint64_t begun_ = 0;
};

}  // namespace fairlead::sync
