// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/sync_service.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

namespace fairlead {
namespace {
using namespace std::chrono_literals;

// Of one wake-up, before the loop does something else.
constexpr int kMessagesAtOnce = 64;
constexpr int kSentAtOnce = 128;
constexpr auto kForAPeer = 1s;      // how long a node that has just started listens for another
constexpr auto kForAStranger = 3s;  // ... where each learns the other's address by hellos, one a second
constexpr auto kFlushTime = 250ms;  // the most that a hand-over waits for
constexpr auto kFlushLook = 1ms;
constexpr auto kTakeOverTime = 1s;  // the skew that VRRP waits for at adverts every second

std::uint64_t random_nonce() {
    std::uint64_t nonce = 0;
    while (nonce == 0)
        if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce) nonce = tables::monotonic_ns();
    return nonce;
}

std::chrono::system_clock::time_point wall_time(std::chrono::steady_clock::time_point at) {
    const auto ago = std::chrono::steady_clock::now() - at;
    return std::chrono::system_clock::now() - std::chrono::duration_cast<std::chrono::system_clock::duration>(ago);
}
}  // namespace

// A stream each way: `source` for the one that goes, `sink` for the one that comes.
struct SyncService::Peer {
    Peer(const SyncTables& tables, SyncSink::Follow follow, sync::SessionOptions options, Clock::time_point now)
        : source(tables.tables, tables.writer),
          sink(tables.tables, tables.writer, tables.transitions, std::move(follow)),
          session(std::move(options), source, sink, now) {}

    SyncSource source;
    SyncSink sink;
    sync::Session session;
    bool heard = false;
    bool heard_changed = false;
    std::uint64_t sent_streams = 0, received_streams = 0;  // as last looked at
    Clock::time_point sent_began, received_began;
    bool sent_whole = false, received_whole = false;
    std::optional<Clock::time_point> last_full;
    Clock::duration last_full_took{};
};

SyncService::SyncService(boost::asio::io_context& io, SyncTables tables, const config::Sync& settings, sync::Key key,
                         std::function<void()> on_change)
    : tables_(tables),
      settings_(settings),
      key_(key),
      on_change_(std::move(on_change)),
      readable_(io),
      timer_(io),
      dirty_(tables.tables),
      started_(Clock::now()) {
    schedule(started_);
}

SyncService::~SyncService() { close(); }

void SyncService::close() {
    if (readable_.is_open()) readable_.release();  // the descriptor is the socket's
    socket_.reset();
    scope_.reset();
}

sync::Common SyncService::common() const {
    return {sync::kSteering, tables_.tables.meta().hash_key_id, tables_.tables.limits().pins};
}

void SyncService::follow(const SyncScope& scope) {
    if (scope_ == scope) return;
    if (!scope_ || scope_->socket != scope.socket) {
        close();
        auto opened = ha::PeerSocket::open(scope.socket);
        const auto error = opened ? std::string() : opened.error().message;
        if (error != std::exchange(error_, error) && !error.empty())
            spdlog::warn("no state sync with other nodes: {}", error);
        if (!opened) return;
        socket_.emplace(std::move(*opened));
        readable_.assign(socket_->fd());
        wait_for_messages();
    }
    scope_ = scope;
    std::erase_if(peers_,
                  [&](const auto& peer) { return std::ranges::find(scope.peers, peer.first) == scope.peers.end(); });
    const auto follow_pool = [this](std::uint32_t pool) {
        auto following = followed();
        following.insert(pool);
        if (auto set = tables_.transitions.set_following(following); !set) spdlog::error("{}", set.error().message);
        changed_ = true;
    };
    for (const auto& address : scope.peers) {
        if (peers_.contains(address)) continue;
        sync::SessionOptions options{.key = key_, .nonce = random_nonce(), .name = scope.name, .common = common()};
        options.interval = settings_.interval;
        options.bytes_per_second = settings_.rate_mbit * 1'000'000ULL / 8;
        peers_[address] = std::make_unique<Peer>(tables_, follow_pool, std::move(options), Clock::now());
        peers_[address]->source.set_pools(active_);
    }
    schedule(Clock::now());
}

void SyncService::tables_changed() {
    for (const auto& [address, peer] : peers_) {
        peer->session.set_common(common());
        peer->sink.forget_indexes();
        peer->session.ask_again();
    }
}

void SyncService::set_active(const std::map<std::uint32_t, ToldPool>& pools) {
    active_ = pools;
    for (const auto& [address, peer] : peers_)
        if (peer->source.set_pools(pools)) peer->session.restart();
    schedule(Clock::now());
}

void SyncService::set_standby(const std::function<std::set<std::uint32_t>(const IpAddress& peer)>& pools_of) {
    placed_ = true;
    for (const auto& [address, peer] : peers_)
        if (peer->sink.allow(pools_of(address))) peer->session.ask_again();
}

void SyncService::forget(std::uint32_t pool) {
    for (const auto& [address, peer] : peers_) peer->sink.forget(pool);
}

std::set<std::uint32_t> SyncService::followed() const {
    std::set<std::uint32_t> pools;
    for (const auto& [address, peer] : peers_) pools.merge(peer->sink.followed());
    return pools;
}

const FollowedView* SyncService::last_view(const std::string& pool) const {
    for (const auto& [address, peer] : peers_)
        if (const auto* view = peer->sink.view(pool)) return view;
    return nullptr;
}

const FollowedView* SyncService::view(const std::string& pool) const {
    for (const auto& [address, peer] : peers_)
        if (const auto* view = peer->heard ? peer->sink.view(pool) : nullptr) return view;
    return nullptr;
}

std::set<std::string> SyncService::take_changed() {
    std::set<std::string> pools;
    for (const auto& [address, peer] : peers_) {
        pools.merge(peer->sink.take_changed());
        if (std::exchange(peer->heard_changed, false))
            std::ranges::copy(peer->sink.followed_names(), std::inserter(pools, pools.end()));
    }
    return pools;
}

// ---- Messages ----

void SyncService::wait_for_messages() {
    const auto wait = boost::asio::posix::stream_descriptor::wait_read;
    readable_.async_wait(wait, [this, life = std::weak_ptr(life_)](const auto& error) {
        if (error || life.expired()) return;
        receive();
        turn();
        wait_for_messages();
    });
}

void SyncService::receive() {
    for (int i = 0; i < kMessagesAtOnce; ++i) {
        const auto message = socket_->receive();
        if (!message) return;
        take_message(*message);
    }
}

void SyncService::take_message(const ha::PeerSocket::Received& message) {
    const auto found = peers_.find(message.source);
    if (found == peers_.end())
        ++refused_[static_cast<std::size_t>(sync::SyncRefusal::kPeer)];
    else
        found->second->session.received(message.bytes, Clock::now());
}

// ---- What time brings ----

void SyncService::schedule(Clock::time_point at) {
    if (turn_at_ && *turn_at_ <= at) return;
    turn_at_ = at;
    timer_.expires_at(at);
    timer_.async_wait([this, life = std::weak_ptr(life_)](const boost::system::error_code& error) {
        if (error || life.expired()) return;
        turn_at_.reset();
        turn();
    });
}

void SyncService::turn() {
    const auto now = Clock::now();
    feed_dirty(now);
    auto next = now + settings_.interval;
    for (const auto& [address, peer] : peers_) {
        const bool more = send_due(address, *peer, now) || peer->sink.step();
        look_at(*peer, now);
        next = std::min(next, more ? now : peer->session.wake(now));
    }
    follow_wait(now);
    schedule(std::max(next, now));
    tell_change();
}

// At the end, for it calls back.
void SyncService::tell_change() {
    for (const auto& [address, peer] : peers_) changed_ |= peer->sink.has_changed();
    if (std::exchange(changed_, false)) on_change_();
}

// For all peers alike: who takes the marks takes them from all.
void SyncService::feed_dirty(Clock::time_point now) {
    if (active_.empty() || now - dirty_at_ < settings_.interval) return;
    if (std::ranges::none_of(peers_, [](const auto& peer) { return peer.second->heard; })) return;
    dirty_at_ = now;
    for (const auto& [address, peer] : peers_) peer->source.compare_slots();
    const auto since = std::exchange(dirty_since_ns_, tables::monotonic_ns());
    groups_.clear();
    dirty_.take(tables::pin_groups(tables_.tables), groups_);
    if (groups_.empty()) return;
    for (const auto& [address, peer] : peers_) peer->source.add_dirty(groups_, since);
}

// True: there is more than was sent.
bool SyncService::send_due(const IpAddress& address, Peer& peer, Clock::time_point now) {
    if (!socket_) return false;
    for (int i = 0; i < kSentAtOnce; ++i) {
        const auto message = peer.session.next(now);
        if (!message) return false;
        (void)socket_->send(address, *message);  // lost, if it is: it is sent again
    }
    return true;
}

// What has become of a peer and of the streams since the last look.
void SyncService::look_at(Peer& peer, Clock::time_point now) {
    const auto status = peer.session.status(now);
    if (std::exchange(peer.heard, status.heard) != status.heard) {
        spdlog::info("state sync: node {} is {}", status.name.empty() ? "?" : status.name,
                     status.heard ? "heard" : "silent");
        peer.heard_changed = changed_ = true;
    }
    if (std::exchange(peer.sent_streams, status.streams_sent) != status.streams_sent) {
        peer.sent_began = now;
        peer.sent_whole = false;
    }
    if (std::exchange(peer.received_streams, status.streams_received) != status.streams_received) {
        peer.received_began = now;
        peer.received_whole = false;
    }
    if (!peer.sent_whole && peer.source.whole_told() && !status.behind_since) {
        peer.sent_whole = true;
        peer.last_full = now;
        peer.last_full_took = now - peer.sent_began;
    }
    if (!peer.received_whole && peer.sink.whole()) {
        peer.received_whole = true;
        peer.last_full = now;
        peer.last_full_took = now - peer.received_began;
    }
    if (peer.sent_whole && now - peer.sent_began > settings_.full_interval) peer.session.restart();
}

// ---- Before mastership ----

void SyncService::end_wait(sync::Wait how, const std::string& line) {
    wait_ = how;
    changed_ = true;
    if (how == sync::Wait::kGaveUp)
        spdlog::warn("state sync: {}", line);
    else
        spdlog::info("state sync: {}", line);
}

void SyncService::follow_wait(Clock::time_point now) {
    if (wait_over()) return;
    bool heard = false, told = false;
    for (const auto& [address, peer] : peers_) {
        const auto status = peer->session.status(now);
        if (!status.heard) continue;
        heard = true;
        if (!status.peer_has_state || status.common_differs) continue;
        told = true;
        if (placed_ && peer->sink.whole())
            return end_wait(sync::Wait::kSynced, "has the whole state of node " + status.name);
    }
    wait_ = told ? sync::Wait::kFull : sync::Wait::kPeer;
    if (now - started_ >= settings_.wait)
        return end_wait(sync::Wait::kGaveUp,
                        told ? "the whole state did not come within sync_wait: this node may be active without it"
                             : "nobody answered within sync_wait");
    const bool known = scope_ && !scope_->socket.source.is_link_local();
    if (!told && now - started_ >= (known ? kForAPeer : kForAStranger))
        end_wait(sync::Wait::kAlone, heard ? "no other node is active" : "no other node answers");
}

// ---- Before it is given up ----

bool SyncService::all_told(Clock::time_point now) const {
    return std::ranges::all_of(peers_, [&](const auto& entry) {
        const auto status = entry.second->session.status(now);
        return !status.heard || !status.behind_since;
    });
}

bool SyncService::another_is_active(Clock::time_point now) const {
    const auto heard = [now](const auto& entry) { return entry.second->session.status(now).heard; };
    return std::ranges::none_of(peers_, heard) || std::ranges::any_of(peers_, [&](const auto& entry) {
               return heard(entry) && entry.second->session.status(now).peer_has_state;
           });
}

void SyncService::tell_now() {
    if (active_.empty() || !socket_) return;
    dirty_at_ = {};
    const auto now = Clock::now();
    feed_dirty(now);
    for (const auto& [address, peer] : peers_) {
        peer->session.hurry();
        send_due(address, *peer, now);
    }
}

// Stands still: whoever hands over ends, or has nothing more important to do.
void SyncService::flush() {
    if (active_.empty() || !socket_) return;
    tell_now();
    for (const auto end = Clock::now() + kFlushTime; Clock::now() < end && !all_told(Clock::now());) {
        pollfd readable{socket_->fd(), POLLIN, 0};
        (void)poll(&readable, 1, static_cast<int>(kFlushLook / 1ms));
        receive();
        for (const auto& [address, peer] : peers_) send_due(address, *peer, Clock::now());
    }
    tell_now();
}

void SyncService::tell_to_the_end() {
    if (active_.empty() || !socket_) return;
    for (const auto end = Clock::now() + kTakeOverTime; Clock::now() < end && !another_is_active(Clock::now());) {
        tell_now();
        std::this_thread::sleep_for(kFlushLook);
        receive();
    }
}

// ---- To be shown ----

sync::PeerStatus SyncService::status_of(const Peer& peer, Clock::time_point now) const {
    sync::PeerStatus shown;
    shown.session = peer.session.status(now);
    const bool sends = peer.source.has_state(), receives = !peer.sink.followed().empty();
    shown.part = sends && receives ? sync::Part::kBoth
                 : sends           ? sync::Part::kSends
                 : receives        ? sync::Part::kReceives
                                   : sync::Part::kNone;
    const auto since = [&](const std::optional<sync::TimePoint>& from) {
        return from ? std::max(now - *from, Clock::duration::zero()) : Clock::duration::zero();
    };
    if (sends && peer.sent_whole) shown.lag = since(shown.session.behind_since);
    if (receives && peer.received_whole && shown.session.current_at) {
        const auto behind = since(shown.session.current_at);
        const auto normal = 2 * shown.session.peer_interval;  // silence that means nothing
        shown.lag = std::max(shown.lag.value_or(0ns), behind > normal ? std::chrono::nanoseconds(behind) : 0ns);
    }
    shown.slots_sent = peer.source.slots_told();
    shown.pins_sent = peer.source.pins_told();
    shown.slots_applied = peer.sink.slots_applied();
    shown.pins_applied = peer.sink.pins_applied();
    shown.pins_swept = peer.sink.pins_swept();
    for (std::size_t i = 0; i < sync::kSyncRefusals; ++i) shown.session.refused[i] += peer.sink.refused()[i];
    if (peer.last_full) shown.last_full = wall_time(*peer.last_full);
    shown.last_full_took = peer.last_full_took;
    return shown;
}

sync::Status SyncService::status() const {
    sync::Status status{
        .on = true, .wait = wait_, .peers = {}, .pools_followed = {}, .refused = refused_, .error = error_};
    const auto now = Clock::now();
    for (const auto& [address, peer] : peers_) {
        status.peers.push_back(status_of(*peer, now));
        status.peers.back().address = address.to_string();
        std::ranges::copy(peer->sink.followed_names(), std::back_inserter(status.pools_followed));
    }
    return status;
}

}  // namespace fairlead
