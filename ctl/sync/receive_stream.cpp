// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/receive_stream.h"

#include <algorithm>

namespace fairlead::sync {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kAcknowledgeEvery = 8;                 // messages
constexpr std::chrono::milliseconds kAcknowledgeSpacing{1};  // of gaps and doubles: one each would be a storm
constexpr std::chrono::seconds kAskSpacing{1};               // for a stream other than the one asked for last
constexpr std::chrono::milliseconds kAskRepeat{200};         // for the same: the last one may have been lost

}  // namespace

void ReceiveStream::forget() {
    stream_ = next_ = asked_for_ = 0;
    early_.clear();
    unusable_ = false;
    acknowledge_at_ = TimePoint::max();
}

bool ReceiveStream::received(const Data& data, TimePoint now) {
    if (data.stream < stream_ || (data.stream == stream_ && unusable_)) return true;
    if (data.stream > stream_) {
        stream_ = data.stream;
        next_ = 0;
        early_.clear();
        // Its beginning may be on its way, or is sent again. From so far on it is not.
        unusable_ = data.number >= window_;
        if (unusable_) return true;
    }
    return follow(data, now);
}

bool ReceiveStream::follow(const Data& data, TimePoint now) {
    if (data.number != next_) {
        acknowledge_by(acknowledged_at_ ? std::max(now, *acknowledged_at_ + kAcknowledgeSpacing) : now);
        if (data.number > next_ && data.number - next_ < window_)
            early_.try_emplace(data.number, Early{data.caught_up, {data.records.begin(), data.records.end()}});
        return true;
    }
    const bool readable = take(data, now) && drain(now);
    acknowledge_by(unacknowledged_ >= kAcknowledgeEvery ? now : now + acknowledge_after_);
    return readable;
}

bool ReceiveStream::take(const Data& data, TimePoint now) {
    if (data.number == 0) {
        ++begun_;
        sink_.begin();
    }
    ++next_;
    ++unacknowledged_;
    if (!data.records.empty() && !sink_.apply(data.records)) {
        unusable_ = true;
        early_.clear();
        return false;
    }
    if (data.caught_up && !unusable_) current_at_ = now;
    return true;
}

bool ReceiveStream::drain(TimePoint now) {
    while (!unusable_ && !early_.empty() && early_.begin()->first == next_) {
        const auto early = std::move(early_.extract(early_.begin()).mapped());
        if (!take({stream_, next_, early.caught_up, early.records}, now)) return false;
    }
    return true;
}

std::optional<Ack> ReceiveStream::next(TimePoint now) {
    if (wake() > now) return std::nullopt;
    if (unusable_) {
        asked_at_ = now;
        asked_for_ = stream_;
        return Ack{stream_, 0, {}, true};
    }
    acknowledged_at_ = now;
    acknowledge_at_ = TimePoint::max();
    unacknowledged_ = 0;
    return acknowledgement();
}

TimePoint ReceiveStream::wake() const {
    if (!unusable_) return acknowledge_at_;
    if (!asked_at_) return TimePoint::min();
    return *asked_at_ + (asked_for_ == stream_ ? std::chrono::milliseconds(kAskRepeat) : kAskSpacing);
}

Ack ReceiveStream::acknowledgement() const {
    Ack ack{stream_, next_, {}, false};
    for (const auto& [number, early] : early_) {
        const auto bit = number - next_ - 1;
        if (bit >= 8 * kBitmapBytes) break;
        ack.beyond.at(bit / 8) |= static_cast<std::uint8_t>(1U << (bit % 8));
    }
    return ack;
}

}  // namespace fairlead::sync
