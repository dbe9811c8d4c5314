// SPDX-License-Identifier: Apache-2.0
// The state sync as lbd runs it: socket, timers, and for each other node a session, what it is told and what is taken from
// it. What is wrong with it is logged and shown; forwarding and roles do not depend on it, but for the wait of a node that
// has just started.
//
// Thread rule: the controller's thread.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/ha/peer_socket.h"
#include "ctl/lbd/sync_sink.h"
#include "ctl/lbd/sync_source.h"
#include "ctl/lbd/transitions.h"
#include "ctl/sync/key.h"
#include "ctl/sync/session.h"
#include "ctl/sync/status.h"

namespace fairlead {

// What the sync works on; all of it must outlive it.
struct SyncTables {
    tables::Tables& tables;
    tables::TableWriter& writer;
    Transitions& transitions;
};

// Who this node is to the others, and who they are.
struct SyncScope {
    ha::PeerSocketOptions socket;
    std::vector<IpAddress> peers;  // of the socket's family; each once
    std::string name;
    bool operator==(const SyncScope&) const = default;
};

class SyncService {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr int kReceiveBuffer = 4 << 20;

    // `on_change`: pools are followed, or no more, or the view of some is another, or wait_over() has become true.
    SyncService(boost::asio::io_context& io, SyncTables tables, const config::Sync& settings, sync::Key key,
                std::function<void()> on_change);
    ~SyncService();
    SyncService(const SyncService&) = delete;
    SyncService& operator=(const SyncService&) = delete;

    // Opens the socket, or another where something of it changed; sessions of peers that stay go on. What hinders it is
    // logged, once; the next call tries again.
    void follow(const SyncScope& scope);
    // Whoever is in between is told nothing and takes nothing: indexes may be others now.
    void tables_changed();

    // What this node is active for, by id.
    void set_active(const std::map<std::uint32_t, ToldPool>& pools);
    // For which pools a peer is active, and this node its standby.
    void set_standby(const std::function<std::set<std::uint32_t>(const IpAddress& peer)>& pools_of);

    // A pool that this node goes by itself for, from now on.
    void forget(std::uint32_t pool);

    // Pools whose slots and pins are what their active node has told, of late or not.
    std::set<std::uint32_t> followed() const;
    // What the active node thinks of a pool, if it is heard; null: it is not, or the pool is not followed.
    const FollowedView* view(const std::string& pool) const;
    // The last that was heard of it.
    const FollowedView* last_view(const std::string& pool) const;
    std::set<std::string> take_changed();

    // Whether this node need not wait any more before it may be active.
    bool wait_over() const { return wait_ >= sync::Wait::kSynced; }
    // Before this node gives its role up: tells what is not told yet, and waits until the others have it, a moment at most.
    void flush();
    // After it: goes on telling until another node says that it is active, a moment at most. Connections that are confirmed
    // here meanwhile are that node's next.
    void tell_to_the_end();

    // Tells what there is at this moment, and waits for nothing: this node may just have lost its role.
    void tell_now();

    sync::Status status() const;
    const config::Sync& settings() const { return settings_; }

  private:
    struct Peer;

    void close();
    void wait_for_messages();
    void receive();
    void take_message(const ha::PeerSocket::Received& message);
    void schedule(Clock::time_point at);
    void turn();
    void feed_dirty(Clock::time_point now);
    bool send_due(const IpAddress& address, Peer& peer, Clock::time_point now);
    void look_at(Peer& peer, Clock::time_point now);
    void follow_wait(Clock::time_point now);
    void end_wait(sync::Wait how, const std::string& line);
    void tell_change();
    bool all_told(Clock::time_point now) const;
    bool another_is_active(Clock::time_point now) const;
    sync::Common common() const;
    sync::PeerStatus status_of(const Peer& peer, Clock::time_point now) const;

    // Gone with this object, which a reload may take away while a handler of it is about to run.
    std::shared_ptr<int> life_ = std::make_shared<int>();
    SyncTables tables_;
    config::Sync settings_;
    sync::Key key_;
    std::function<void()> on_change_;
    boost::asio::posix::stream_descriptor readable_;
    boost::asio::steady_timer timer_;
    std::optional<Clock::time_point> turn_at_;  // when the timer will call
    std::optional<ha::PeerSocket> socket_;
    std::optional<SyncScope> scope_;  // of socket_
    std::map<IpAddress, std::unique_ptr<Peer>> peers_;
    std::map<std::uint32_t, ToldPool> active_;
    tables::DirtyPins dirty_;
    std::vector<std::uint32_t> groups_;  // of one call, kept for its room
    Clock::time_point dirty_at_;         // when dirty groups were last taken
    std::uint64_t dirty_since_ns_ = 0;
    sync::Wait wait_ = sync::Wait::kPeer;
    Clock::time_point started_;
    bool placed_ = false;   // set_standby() was called: what is told from then on can be taken
    bool changed_ = false;  // on_change_ is to be called at the end of this turn
    sync::Refusals refused_{};
    std::string error_;
};

}  // namespace fairlead
