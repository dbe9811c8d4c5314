// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/session.h"

#include <algorithm>
#include <utility>

#include "ctl/sync/message.h"
#include "ctl/sync/receive_stream.h"
#include "ctl/sync/replay_window.h"
#include "ctl/sync/send_stream.h"

namespace fairlead::sync {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAnswerSpacing{50};  // of answers to strangers: what is replayed makes at most 20 a second
constexpr milliseconds kAnswerTime{1000};   // an answer is believed for as long, and for at most twice that
constexpr milliseconds kHeardLeast{500};
constexpr int kHeardIntervals = 3;
// Bytes that may be sent: so many a second, and at most a window of messages saved up.
class Rate {
  public:
    Rate(const SessionOptions& options, TimePoint now)
        : per_second_(static_cast<double>(std::max<std::uint64_t>(options.bytes_per_second, 1))),
          most_(static_cast<double>(std::max<std::size_t>(options.window, 1) * kMessageBytes)),
          saved_(most_),
          at_(now) {}

    // When a message of the longest kind may go. What is not a stream's goes without, and is paid for by the stream.
    TimePoint free_at(TimePoint now) const {
        const auto lacks = static_cast<double>(kMessageBytes) - saved(now);
        if (lacks <= 0) return now;
        return now +
               std::chrono::duration_cast<TimePoint::duration>(std::chrono::duration<double>(lacks / per_second_)) +
               TimePoint::duration{1};
    }
    void take(std::size_t bytes, TimePoint now) {
        saved_ = saved(now) - static_cast<double>(bytes);
        at_ = now;
    }

  private:
    double saved(TimePoint now) const {
        const std::chrono::duration<double> passed = now - at_;
        return std::min(most_, saved_ + passed.count() * per_second_);
    }

    double per_second_, most_, saved_;
    TimePoint at_;
};

}  // namespace

struct Session::Impl {
    Impl(SessionOptions options, Source& source, Sink& sink, TimePoint now)
        : options_(std::move(options)),
          source_(source),
          authenticator_(options_.key),
          rate_(options_, now),
          send_(source, options_.window, options_.interval),
          receive_(sink, options_.window, options_.interval),
          asked_mark_at_(now) {}

    void received(std::span<const std::uint8_t> bytes, TimePoint now);
    std::optional<std::span<const std::uint8_t>> next(TimePoint now);
    TimePoint wake(TimePoint now) const;
    void restart() { send_.begin_anew(); }
    void hurry() { send_.hurry(); }
    void ask_again() { receive_.ask_again(); }
    void set_common(const Common& common);
    SessionStatus status(TimePoint now) const;

  private:
    struct Answer {
        std::uint64_t nonce = 0, counter = 0;  // of the message
        bool limited = false;
    };
    std::optional<SyncRefusal> refuse(const Message& message);
    bool proves_presence(const Message& message) const;
    void adopt(std::uint64_t nonce);
    void answer(const Message& message, bool limited);
    void believe(const Message& message, TimePoint now);
    void take(const Message& message, TimePoint now);
    void refused(SyncRefusal why) { ++status_.refused.at(static_cast<std::size_t>(why)); }

    bool heard(TimePoint now) const;
    bool streams() const { return peer_ != 0 && !status_.common_differs; }
    TimePoint answer_at() const;
    TimePoint hello_at() const { return sent_at_ ? *sent_at_ + options_.interval : TimePoint::min(); }
    std::span<const std::uint8_t> send(std::uint64_t heard, std::variant<Hello, Data, Ack> body, TimePoint now);

    SessionOptions options_;
    Source& source_;
    Authenticator authenticator_;
    Rate rate_;
    SendStream send_;
    ReceiveStream receive_;
    std::uint64_t peer_ = 0;  // its nonce; 0: not known
    Common peer_common_;
    ReplayWindow window_;
    std::uint64_t counter_ = 0;
    std::uint64_t asked_after_ = 0;  // what answers a message up to this one proves nothing any more
    std::uint64_t asked_mark_ = 0;   // what asked_after_ is to be next
    TimePoint asked_mark_at_;
    std::optional<Answer> answer_;
    std::optional<TimePoint> answered_at_, sent_at_;
    SessionStatus status_;  // but for what is read from the streams
    MessageBuffer buffer_{};
};

void Session::Impl::received(std::span<const std::uint8_t> bytes, TimePoint now) {
    const auto message = decode_message(bytes, authenticator_);
    const auto why = message ? refuse(*message) : message.error();
    if (why) return refused(*why);
    believe(*message, now);
    take(*message, now);
}

// Nothing but the wish to answer comes of what is refused.
std::optional<SyncRefusal> Session::Impl::refuse(const Message& message) {
    if (message.nonce == options_.nonce) return SyncRefusal::kLoop;
    if (message.heard != options_.nonce || (message.nonce != peer_ && !proves_presence(message))) {
        answer(message, true);
        return SyncRefusal::kStranger;
    }
    if (message.nonce != peer_) {
        adopt(message.nonce);
        answer(message, false);
    }
    if (!window_.take(message.counter)) return SyncRefusal::kReplay;
    return std::nullopt;
}

// A nonce alone does not: what an earlier process of the peer said to this one may have been recorded.
bool Session::Impl::proves_presence(const Message& message) const {
    const auto* hello = std::get_if<Hello>(&message.body);
    return hello != nullptr && hello->answers > asked_after_ && hello->answers <= counter_;
}

void Session::Impl::adopt(std::uint64_t nonce) {
    peer_ = nonce;
    asked_after_ = counter_;
    window_ = {};
    send_.forget();
    receive_.forget();
}

// What may be replayed is answered at a limited rate, and not before what may not.
void Session::Impl::answer(const Message& message, bool limited) {
    if (!limited || !answer_ || answer_->limited) answer_ = Answer{message.nonce, message.counter, limited};
}

void Session::Impl::believe(const Message& message, TimePoint now) {
    ++status_.received;
    status_.last_heard = now;
    status_.name = message.name;
    status_.peer_interval = message.interval;
    status_.peer_has_state = message.has_state;
    peer_common_ = message.common;
    status_.common_differs = peer_common_ != options_.common;
}

void Session::Impl::take(const Message& message, TimePoint now) {
    if (status_.common_differs) return refused(SyncRefusal::kCommon);
    if (const auto* ack = std::get_if<Ack>(&message.body))
        send_.acknowledged(*ack, message.counter, message.interval, now);
    if (const auto* data = std::get_if<Data>(&message.body))
        if (!receive_.received(*data, now)) refused(SyncRefusal::kContent);
}

bool Session::Impl::heard(TimePoint now) const {
    if (!status_.last_heard) return false;
    return now - *status_.last_heard <= std::max(kHeardIntervals * status_.peer_interval, kHeardLeast);
}

TimePoint Session::Impl::answer_at() const {
    if (!answer_) return TimePoint::max();
    return answer_->limited && answered_at_ ? *answered_at_ + kAnswerSpacing : TimePoint::min();
}

std::optional<std::span<const std::uint8_t>> Session::Impl::next(TimePoint now) {
    if (answer_at() <= now) {
        const auto answer = *std::exchange(answer_, std::nullopt);
        answered_at_ = now;
        return send(answer.nonce, Hello{answer.counter}, now);
    }
    if (streams()) {
        if (const auto ack = receive_.next(now)) return send(peer_, *ack, now);
        if (rate_.free_at(now) <= now)
            if (const auto data = send_.next(now, heard(now), data_room(options_.name))) return send(peer_, *data, now);
    }
    if (hello_at() <= now) return send(peer_, Hello{}, now);
    return std::nullopt;
}

TimePoint Session::Impl::wake(TimePoint now) const {
    auto wake = std::min(answer_at(), hello_at());
    if (streams()) {
        wake = std::min(wake, receive_.wake());
        wake = std::min(wake, std::max(send_.wake(now, heard(now)), rate_.free_at(now)));
    }
    return std::max(wake, now);
}

std::span<const std::uint8_t> Session::Impl::send(std::uint64_t heard, std::variant<Hello, Data, Ack> body,
                                                  TimePoint now) {
    const auto bytes = encode_message({options_.nonce, heard, ++counter_, options_.common, options_.interval,
                                       source_.has_state(), options_.name, body},
                                      authenticator_, buffer_);
    if (now - asked_mark_at_ >= kAnswerTime) {
        asked_after_ = std::max(asked_after_, asked_mark_);
        asked_mark_ = counter_;
        asked_mark_at_ = now;
    }
    rate_.take(bytes.size(), now);
    sent_at_ = now;
    ++status_.sent;
    return bytes;
}

void Session::Impl::set_common(const Common& common) {
    if (common == options_.common) return;
    options_.common = common;
    status_.common_differs = peer_ != 0 && peer_common_ != common;
    // What was told before meant something else.
    send_.begin_anew();
    receive_.ask_again();
}

SessionStatus Session::Impl::status(TimePoint now) const {
    auto status = status_;
    status.heard = heard(now);
    status.behind_since = send_.behind_since(now);
    status.current_at = receive_.current_at();
    status.resent = send_.resent();
    status.streams_sent = send_.begun();
    status.streams_received = receive_.begun();
    return status;
}

Session::Session(SessionOptions options, Source& source, Sink& sink, TimePoint now)
    : impl_(std::make_unique<Impl>(std::move(options), source, sink, now)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;

void Session::received(std::span<const std::uint8_t> bytes, TimePoint now) { impl_->received(bytes, now); }
std::optional<std::span<const std::uint8_t>> Session::next(TimePoint now) { return impl_->next(now); }
TimePoint Session::wake(TimePoint now) const { return impl_->wake(now); }
void Session::restart() { impl_->restart(); }
void Session::hurry() { impl_->hurry(); }
void Session::ask_again() { impl_->ask_again(); }
void Session::set_common(const Common& common) { impl_->set_common(common); }
SessionStatus Session::status(TimePoint now) const { return impl_->status(now); }

}  // namespace fairlead::sync
