// SPDX-License-Identifier: Apache-2.0
// The exchange with one other node, both ways: streams of records over datagrams that may be lost, doubled, reordered,
// forged or replayed. Bytes in, bytes out; no socket, no thread, the time is an argument.
//
// A stream begins with the whole state and goes on with its changes. Its messages are numbered; the receiver hands them on
// in order, each once, acknowledges what it has, keeps a bounded number of those that came too early, and asks for a new
// stream when it cannot follow this one. The sender keeps what is not acknowledged, a bounded number of messages, sends it
// again, and begins a new stream when it is asked to, when the other node is another process than before, or when what the
// receiver misses is gone.
//
// Every message carries the sender's nonce (of its session, and so of its process), the nonce that it last heard of the receiver, a number that
// only goes up, and a MAC over all of it (HMAC-SHA-256, 16 bytes of it) by a shared key. A process becomes the peer by a
// hello that answers a message of this one, sent since the last peer became it: so it is alive now, and what was recorded of
// an earlier process of either end is not believed. Of the peer is believed what names this process's nonce and whose number
// is new within the window. Anything else, though its MAC is right, is answered by who this one is, and changes nothing.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ctl/ha/named_enum.h"

namespace fairlead::sync {

using TimePoint = std::chrono::steady_clock::time_point;

inline constexpr std::size_t kMessageBytes = 1400;  // the longest: fits an MTU of 1,500 over IPv6 and a tunnel

struct Key {
    std::array<std::uint8_t, 32> bytes{};
};

inline constexpr std::uint32_t kSteering = 1;  // goes up when the meaning of pins or slots changes

// What the nodes must have alike for bucket numbers and signatures of pins to mean the same on both.
struct Common {
    std::uint32_t steering = kSteering;
    std::uint32_t key_id = 0;  // fl_meta.hash_key_id
    std::uint32_t pins = 0;    // size of the table
    bool operator==(const Common&) const = default;
};

struct SessionOptions {
    Key key;
    std::uint64_t nonce = 0;  // of this session, random, not 0: of another one in the same process another
    std::string name;         // of this node: see is_shown_name() (records.h)
    Common common;
    std::chrono::milliseconds interval{20};       // at least one message in each
    std::uint64_t bytes_per_second = 12'500'000;  // of a stream, retransmissions among them
    std::size_t window = 512;                     // messages that are kept at either end
};

// Why a message that arrived was not believed, or not used: X(symbol, "name and metric label", "help").
#define FAIRLEAD_SYNC_REFUSALS(X)                                                                          \
    X(kLength, "length", "too short, too long, or not as long as it says")                                 \
    X(kMagic, "magic", "not a message of this protocol")                                                   \
    X(kVersion, "version", "of a version that this node does not know")                                    \
    X(kMac, "mac", "not made with this node's key, or changed on its way")                                 \
    X(kReplay, "replay", "of a number that was seen before, or too old")                                   \
    X(kStranger, "stranger", "for another process than this one: a node was restarted, or it is replayed") \
    X(kLoop, "loop", "this node's own")                                                                    \
    X(kCommon, "common", "hash key, size of the pin table or meaning of it differ between the nodes")      \
    X(kContent, "content", "records that cannot be")                                                       \
    X(kPeer, "peer", "not from another node of this fleet")                                                \
    X(kRole, "role", "state of a pool that this node is not a standby for")                                \
    X(kPool, "pool", "a pool that is not here, or has another table or affinity")                          \
    X(kBackend, "backend", "a backend that is not here, or is another one")                                \
    X(kFull, "full", "a pin that found no place")

FAIRLEAD_NAMED_ENUM(SyncRefusal, FAIRLEAD_SYNC_REFUSALS, help_of)
inline constexpr std::size_t kSyncRefusals = kSyncRefusalTexts.size();
using Refusals = std::array<std::uint64_t, kSyncRefusals>;

// Where the records of the stream that this node sends come from.
class Source {
  public:
    virtual ~Source() = default;
    // A stream begins: what is written from now on is to be the whole state, and then its changes.
    virtual void begin() = 0;
    // Writes whole records; 0: there is nothing to tell now. A room of at least kRecordRoom (records.h); asked again for what
    // is left of it while that is as much.
    virtual std::size_t fill(std::span<std::uint8_t> room) = 0;
    // Whether there is anything that the standby needs: it waits with its mastership for that.
    virtual bool has_state() const = 0;
};

// Where those of the stream that it receives go.
class Sink {
  public:
    virtual ~Sink() = default;
    virtual void begin() = 0;
    // Of one message. False: malformed; the session counts it, and asks for a new stream, not more often than once a second.
    virtual bool apply(std::span<const std::uint8_t> records) = 0;
};

struct SessionStatus {
    bool heard = false;  // of late: within 3 of the peer's intervals, or 500 ms if that is longer
    std::string name;    // of the peer, as it says
    std::chrono::milliseconds peer_interval{0};
    bool peer_has_state = false;
    bool common_differs = false;  // and so neither takes anything from the other
    std::optional<TimePoint> last_heard;
    // Since when the receiver of the stream that this node sends lacks something; none: it has all.
    std::optional<TimePoint> behind_since;
    // When the stream that this node receives last had told all that its sender had to tell.
    std::optional<TimePoint> current_at;
    std::uint64_t sent = 0, received = 0;                  // messages; received: believed
    std::uint64_t resent = 0;                              // messages of them
    std::uint64_t streams_sent = 0, streams_received = 0;  // that were begun
    Refusals refused{};
};

class Session {
  public:
    Session(SessionOptions options, Source& source, Sink& sink, TimePoint now);
    ~Session();
    Session(Session&&) noexcept;

    void received(std::span<const std::uint8_t> bytes, TimePoint now);
    // What is to be sent now, valid until the next call; nothing: until `wake()`.
    std::optional<std::span<const std::uint8_t>> next(TimePoint now);
    TimePoint wake(TimePoint now) const;  // a time to call next() at, unless something is received before

    // The source's state is another as a whole: a new stream.
    void restart();
    // The source has news that cannot wait for the interval.
    void hurry();
    // The sink cannot use the stream that it gets: asks for a new one.
    void ask_again();
    void set_common(const Common& common);

    SessionStatus status(TimePoint now) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::sync
