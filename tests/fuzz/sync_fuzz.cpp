// SPDX-License-Identifier: Apache-2.0
// A session that has a peer gets any bytes: nothing crashes, what is sent back can be read, and a wrong MAC changes nothing.
// The first byte of each message chooses what the mutator gets for nothing: the MAC, the nonces and counter of the peer.
// The same bytes are read as records, and what is read of them is written again as the same records.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "ctl/ha/wire.h"
#include "ctl/sync/message.h"
#include "ctl/sync/records.h"
#include "ctl/sync/session.h"

namespace {
using namespace fairlead;
using namespace fairlead::sync;

constexpr std::uint64_t kOwn = 0x1111, kPeer = 0x2222;
constexpr std::size_t kNonceAt = 8, kCounterAt = 24;
enum Gift : std::uint8_t { kMac = 1, kHead = 2, kCounter = 4, kLate = 8 };

struct NoSource : Source {
    void begin() override {}
    std::size_t fill(std::span<std::uint8_t>) override { return 0; }
    bool has_state() const override { return true; }
};
struct AnySink : Sink {
    std::size_t calls = 0;
    void begin() override { ++calls; }
    bool apply(std::span<const std::uint8_t> records) override {
        ++calls;
        return read_records(records, [](const Record&) {});
    }
};

struct Rewriter {
    RecordWriter& writer;
    bool operator()(const SlotsRecord& slots) const {
        return writer.add_slots(slots.pool, slots.first, slots.words) == slots.words.size();
    }
    bool operator()(const PinsRecord& pins) const { return writer.add_pins(pins.pins) == pins.pins.size(); }
    bool operator()(const auto& record) const { return writer.add(record); }
};

void check_records(std::span<const std::uint8_t> bytes) {
    std::vector<Record> records, again;
    // Of a malformed end, what was before it is still good.
    read_records(bytes, [&](const Record& record) { records.push_back(record); });
    std::vector<std::uint8_t> room(bytes.size());
    RecordWriter writer(room);
    for (const auto& record : records)
        if (!std::visit(Rewriter{writer}, record)) std::abort();
    if (!read_records(std::span(room).first(writer.size()), [&](const Record& record) { again.push_back(record); }))
        std::abort();
    if (again != records) std::abort();
}

class Fuzzed {
  public:
    Fuzzed() : session_(options(), source_, sink_, now_) {
        session_.received(from_peer({0, 0, 1, {}, interval(), true, "peer", Hello{}}), now_);
        const auto asked = last_counter();
        session_.received(from_peer({0, 0, 2, {}, interval(), true, "peer", Hello{asked}}), now_);
        if (session_.status(now_).received != 1) std::abort();
        last_counter();
    }

    void message(std::uint8_t gifts, std::vector<std::uint8_t> bytes) {
        if ((gifts & kHead) != 0 && bytes.size() > kHeaderBytes) {
            const auto good = from_peer({0, 0, 3, {}, interval(), true, "peer", Hello{}});
            std::copy_n(good.begin(), 5, bytes.begin());
            std::copy_n(good.begin() + kNonceAt, kHeaderBytes - kNonceAt, bytes.begin() + kNonceAt);
        }
        if ((gifts & kCounter) != 0 && bytes.size() > kHeaderBytes)
            wire::put<std::uint64_t>(bytes, kCounterAt, ++counter_);
        if ((gifts & kMac) != 0 && bytes.size() >= kMacBytes) {
            const auto part = std::span(bytes).first(bytes.size() - kMacBytes);
            const auto mac = authenticator_.mac(part);
            std::copy(mac.begin(), mac.end(), bytes.end() - kMacBytes);
        }
        now_ += (gifts & kLate) != 0 ? std::chrono::milliseconds(700) : std::chrono::milliseconds(3);
        bytes.shrink_to_fit();
        receive(bytes);
        last_counter();
    }

  private:
    static std::chrono::milliseconds interval() { return std::chrono::milliseconds(20); }
    static Key key() {
        Key key;
        key.bytes.fill(0x5a);
        return key;
    }
    static SessionOptions options() {
        SessionOptions options;
        options.key = key();
        options.nonce = kOwn;
        options.name = "own";
        options.window = 16;
        return options;
    }
    std::vector<std::uint8_t> from_peer(Message message) {
        message.nonce = kPeer;
        message.heard = kOwn;
        MessageBuffer buffer{};
        const auto bytes = encode_message(message, authenticator_, buffer);
        return {bytes.begin(), bytes.end()};
    }
    // With a wrong MAC it is counted as nothing else but that, or as what is seen before it.
    void receive(std::span<const std::uint8_t> bytes) {
        const bool right = bytes.size() >= kMacBytes &&
                           authenticator_.is_right(bytes.first(bytes.size() - kMacBytes), bytes.last<kMacBytes>());
        const auto before = session_.status(now_);
        const auto calls = sink_.calls;
        session_.received(bytes, now_);
        const auto after = session_.status(now_);
        if (right) return;
        auto expected = before.refused;
        const auto counted = static_cast<std::size_t>(
            std::mismatch(expected.begin(), expected.end(), after.refused.begin()).first - expected.begin());
        if (counted > static_cast<std::size_t>(SyncRefusal::kMac)) std::abort();
        ++expected.at(counted);
        if (after.refused != expected || after.received != before.received || calls != sink_.calls ||
            after.last_heard != before.last_heard || after.name != before.name ||
            after.streams_received != before.streams_received)
            std::abort();
    }
    // Of the last message that the session has to send now; all can be read.
    std::uint64_t last_counter() {
        std::uint64_t counter = 0;
        for (int i = 0; i < 64; ++i) {
            const auto bytes = session_.next(now_);
            if (!bytes) {
                if (session_.wake(now_) <= now_) std::abort();
                return counter;
            }
            const auto message = decode_message(*bytes, authenticator_);
            if (!message || message->nonce != kOwn) std::abort();
            counter = message->counter;
        }
        std::abort();
    }

    NoSource source_;
    AnySink sink_;
    TimePoint now_{std::chrono::hours(1)};
    Authenticator authenticator_{key()};
    Session session_;
    std::uint64_t counter_ = 100;
};
}  // namespace

// An input is messages: {gifts 1, length 2, bytes}.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // As long as it is and no longer, so that reading beyond is seen.
    const auto exact = std::make_unique<std::uint8_t[]>(size);
    std::copy_n(data, size, exact.get());
    std::span<const std::uint8_t> rest(exact.get(), size);
    check_records(rest);
    Fuzzed fuzzed;
    while (rest.size() >= 3) {
        const auto length = std::min<std::size_t>(wire::get<std::uint16_t>(rest, 1) % 2048, rest.size() - 3);
        const auto message = rest.subspan(3, length);
        fuzzed.message(rest[0], {message.begin(), message.end()});
        rest = rest.subspan(3 + length);
    }
    return 0;
}
