// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/send_stream.h"

#include <algorithm>

#include "ctl/sync/records.h"

namespace fairlead::sync {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kResendLeast = std::chrono::milliseconds{2}, kResendMost = std::chrono::milliseconds{200};
constexpr nanoseconds kResendUnmeasured = std::chrono::milliseconds{50};
constexpr unsigned kOvertaken = 3;  // later messages that are acknowledged: this one is lost (RFC 5681 section 3.2)
constexpr std::chrono::seconds kSilence{2};  // without an acknowledgement: what was told since is told as a new stream

}  // namespace

void SendStream::forget() {
    kept_.clear();
    begin_wanted_ = true;
    acknowledged_order_ = 0;
    round_trip_.reset();
    backoff_ = 0;
}

void SendStream::begin(TimePoint now) {
    const auto behind = behind_since(now);
    kept_.clear();
    ++stream_;
    first_ = 0;
    begin_wanted_ = false;
    caught_up_ = false;
    changed_at_ = behind.value_or(now);
    progress_at_ = now;
    source_.begin();
}

// A source that is caught up is asked once an interval, and then something is sent whether there is news or not.
bool SendStream::fill(TimePoint now, bool heard, std::size_t room) {
    if (silent(now) || kept_.size() >= window_ || (caught_up_ && now < filled_at_ + interval_)) return false;
    Kept kept;
    kept.records.resize(room);
    kept.records.resize(fill_records(kept.records, kept.caught_up));
    filled_at_ = now;
    if (caught_up_) changed_at_ = now;
    // To nobody nothing is told but what there is: the window is for that.
    if (kept.records.empty() && !heard && caught_up_) return false;
    kept.changed_at = changed_at_;
    caught_up_ = kept.caught_up;
    if (kept_.empty()) progress_at_ = now;
    kept_.push_back(std::move(kept));
    return true;
}

// Several times while there is room for any record, since a room too small for the next one looks like nothing to tell.
std::size_t SendStream::fill_records(std::vector<std::uint8_t>& records, bool& caught_up) {
    std::size_t used = 0;
    while (records.size() - used >= kRecordRoom) {
        const auto more = source_.fill(std::span(records).subspan(used));
        caught_up = more == 0;
        if (caught_up) break;
        used += more;
    }
    return used;
}

std::optional<Data> SendStream::next(TimePoint now, bool heard, std::size_t room) {
    if (begin_wanted_ && heard) begin(now);
    if (stream_ == 0 || begin_wanted_) return std::nullopt;
    if (const auto index = overdue(now, heard)) {
        const auto& kept = kept_[*index];
        if (kept.overtaken < kOvertaken) backoff_ = std::max(backoff_, kept.times);
        ++resent_;
        return send(*index, now);
    }
    if (fill(now, heard, room)) return send(kept_.size() - 1, now);
    return std::nullopt;
}

Data SendStream::send(std::size_t index, TimePoint now) {
    auto& kept = kept_[index];
    kept.sent_at = now;
    kept.order = ++order_;
    kept.overtaken = 0;
    ++kept.times;
    return {stream_, first_ + index, kept.caught_up, kept.records};
}

// Nobody has acknowledged anything for long: it is not known how much of this stream there is on the other side, or how old
// that is. Only the first message goes on, to find out whether anybody is there again.
bool SendStream::silent(TimePoint now) const { return !kept_.empty() && now - progress_at_ > kSilence; }

std::optional<std::size_t> SendStream::overdue(TimePoint now, bool heard) const {
    const auto count = resendable(heard && !silent(now));
    for (std::size_t i = 0; i < count; ++i)
        if (!kept_[i].acknowledged && due(kept_[i]) <= now) return i;
    return std::nullopt;
}

TimePoint SendStream::due(const Kept& kept) const {
    if (kept.overtaken >= kOvertaken) return TimePoint::min();
    const auto measured = round_trip_ ? *round_trip_ + 4 * variation_ + peer_delay_ : kResendUnmeasured;
    const auto once = std::clamp(measured, kResendLeast, kResendMost);
    const auto doublings = std::min(std::max(kept.times - 1, backoff_), 7U);  // seven make more of 2 ms than the most
    return kept.sent_at + std::min(once * (1 << doublings), kResendMost);
}

TimePoint SendStream::wake(TimePoint now, bool heard) const {
    if (begin_wanted_) return heard ? now : TimePoint::max();
    if (stream_ == 0) return TimePoint::max();
    auto wake = TimePoint::max();
    if (!silent(now) && kept_.size() < window_) wake = caught_up_ ? filled_at_ + interval_ : now;
    const auto count = resendable(heard && !silent(now));
    for (std::size_t i = 0; i < count; ++i)
        if (!kept_[i].acknowledged) wake = std::min(wake, due(kept_[i]));
    return wake;
}

void SendStream::acknowledged(const Ack& ack, std::uint64_t order, std::chrono::milliseconds peer_interval,
                              TimePoint now) {
    if (ack.stream != stream_ || begin_wanted_ || order <= acknowledged_order_) return;
    acknowledged_order_ = order;
    peer_delay_ = nanoseconds(peer_interval) / 4;
    // It asks for it, lacks what is not here any more, has what was never sent, or was away.
    if (ack.anew || ack.next < first_ || ack.next > first_ + kept_.size() || silent(now)) {
        begin_anew();
        return;
    }
    bool any = false;
    for (std::size_t i = 0; i < kept_.size() && first_ + i < ack.next; ++i) any |= mark(i, now);
    const auto base = ack.next - first_ + 1;
    for (std::size_t bit = 0; bit < 8 * kBitmapBytes && base + bit < kept_.size(); ++bit)
        if ((ack.beyond[bit / 8] >> (bit % 8)) & 1) any |= mark(base + bit, now);
    for (; first_ < ack.next; ++first_) kept_.pop_front();
    if (any || kept_.empty()) progress_at_ = now;
}

// True: it was not acknowledged before.
bool SendStream::mark(std::size_t index, TimePoint now) {
    auto& kept = kept_[index];
    if (kept.acknowledged) return false;
    kept.acknowledged = true;
    kept.records = {};
    if (kept.times == 1) measure(now - kept.sent_at);  // of what was sent twice, it is not known which was answered
    for (std::size_t i = 0; i < index; ++i)
        if (!kept_[i].acknowledged && kept_[i].order < kept.order) ++kept_[i].overtaken;
    return true;
}

// RFC 6298 section 2.
void SendStream::measure(std::chrono::nanoseconds round_trip) {
    backoff_ = 0;
    if (!round_trip_) {
        round_trip_ = round_trip;
        variation_ = round_trip / 2;
        return;
    }
    const auto difference = *round_trip_ > round_trip ? *round_trip_ - round_trip : round_trip - *round_trip_;
    variation_ += (difference - variation_) / 4;
    *round_trip_ += (round_trip - *round_trip_) / 8;
}

std::optional<TimePoint> SendStream::behind_since(TimePoint now) const {
    const bool lost = begin_wanted_ || silent(now);
    for (const auto& kept : kept_)
        if (!kept.acknowledged && (!kept.records.empty() || lost)) return kept.changed_at;
    if (stream_ != 0 && !caught_up_) return changed_at_;
    return std::nullopt;
}

}  // namespace fairlead::sync
