// SPDX-License-Identifier: Apache-2.0
// The real kernel, in network namespaces of the test's own: they have no name and end with the test.
#include "ctl/net/kernel_net.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>

namespace fairlead::net {
namespace {

using namespace std::chrono_literals;

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }
MacAddress mac(const char* text) { return MacAddress::parse(text).value(); }

int own_namespace() { return ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

// The thread moves between three namespaces: the one it came from, the balancer's and its peer's. Two veth pairs:
// lb0 192.0.2.1/24 - peer0 192.0.2.11/24, and lb1 198.51.100.1/24 - peer1 198.51.100.2/24.
class KernelNetTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root for network namespaces";
        home_ = own_namespace();
        if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "this kernel or container gives no network namespace";
        peer_ = own_namespace();
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        balancer_ = own_namespace();
        const std::string peer = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(peer_);
        run("ip link set lo up");
        for (const std::string n : {"0", "1"})
            run("ip link add lb" + n + " address 02:00:5e:00:53:0" + n + " type veth peer name peer" + n +
                " address 02:00:5e:00:53:1" + n + " netns " + peer);
        run("ip address add 192.0.2.1/24 dev lb0");
        run("ip address add 2001:db8::1/64 dev lb0 nodad");
        run("ip address add 198.51.100.1/24 dev lb1");
        run("ip link set lb0 up");
        run("ip link set lb1 up");
        in_peer("ip address add 192.0.2.11/24 dev peer0");
        in_peer("ip address add 2001:db8::11/64 dev peer0 nodad");
        in_peer("ip address add 198.51.100.2/24 dev peer1");
        in_peer("ip link set peer0 up");
        in_peer("ip link set peer1 up");
        auto created = KernelNet::create();
        ASSERT_TRUE(created) << created.error().message;
        net_ = std::move(*created);
    }
    void TearDown() override {
        net_.reset();
        if (home_ >= 0) {
            EXPECT_EQ(::setns(home_, CLONE_NEWNET), 0);
        }
        for (const int fd : {home_, peer_, balancer_})
            if (fd >= 0) ::close(fd);
    }

    static void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }
    void in_peer(const std::string& command) {
        ASSERT_EQ(::setns(peer_, CLONE_NEWNET), 0);
        run(command);
        ASSERT_EQ(::setns(balancer_, CLONE_NEWNET), 0);
    }

    // Serves the socket until the condition holds, as an event loop would.
    bool wait_for(const std::function<bool()>& condition, NextHopTracker* tracker = nullptr) {
        const auto ceiling = std::chrono::steady_clock::now() + 30s;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > ceiling) return false;
            pollfd ready{net_->fd(), POLLIN, 0};
            ::poll(&ready, 1, 20);
            const auto read = net_->on_readable();
            EXPECT_TRUE(read) << read.error().message;
            if (tracker != nullptr) tracker->tick(std::chrono::steady_clock::now());
        }
        return true;
    }
    void connect(NextHopTracker& tracker) {
        net_->on_change([&](const Changes& changes) { tracker.on_change(changes, std::chrono::steady_clock::now()); });
    }
    std::uint32_t index_of(const char* name) { return net_->link_by_name(name).value().ifindex; }

    std::unique_ptr<KernelNet> net_;
    int home_ = -1;
    int peer_ = -1;
    int balancer_ = -1;
};

TEST_F(KernelNetTest, ReadsLinksAndAddresses) {
    // The kernel raises the carrier when it gets round to it.
    ASSERT_TRUE(wait_for([&] { return net_->link_by_name("lb0") && net_->link_by_name("lb0")->up(); }));
    const auto link = net_->link_by_name("lb0");
    EXPECT_EQ(link->mac, mac("02:00:5e:00:53:00"));
    EXPECT_EQ(link->mtu, 1500U);
    EXPECT_EQ(link->kind, "veth");
    EXPECT_FALSE(link->veth_peer);  // it is in another namespace
    EXPECT_FALSE(net_->link_by_name("nope"));
    EXPECT_TRUE(net_->is_local(ip("192.0.2.1")));
    EXPECT_TRUE(net_->is_local(ip("2001:db8::1")));
    EXPECT_FALSE(net_->is_local(ip("192.0.2.11")));
    EXPECT_EQ(link_by_name("lb0").value(), *link);
    EXPECT_EQ(local_addresses().value(), net_->model().addresses());
    run("ip link add v0 type veth peer name v1");
    ASSERT_TRUE(wait_for([&] { return net_->link_by_name("v0") && net_->link_by_name("v1"); }));
    EXPECT_TRUE(wait_for([&] { return net_->link_by_name("v0")->veth_peer == index_of("v1"); }));
}

TEST_F(KernelNetTest, FollowsLinksAndAddressesLive) {
    bool addresses = false;
    net_->on_change([&](const Changes& changes) { addresses |= changes.addresses; });
    run("ip address add 192.0.2.7/24 dev lb0");
    ASSERT_TRUE(wait_for([&] { return net_->is_local(ip("192.0.2.7")); }));
    EXPECT_TRUE(addresses);
    run("ip address del 192.0.2.7/24 dev lb0");
    EXPECT_TRUE(wait_for([&] { return !net_->is_local(ip("192.0.2.7")); }));
    run("ip link set lb0 mtu 1400");
    EXPECT_TRUE(wait_for([&] { return net_->link_by_name("lb0")->mtu == 1400; }));
    run("ip link del lb1");
    EXPECT_TRUE(wait_for([&] { return !net_->link_by_name("lb1"); }));
}

TEST_F(KernelNetTest, AsksForRoutes) {
    const Route on_link = net_->route_to(ip("192.0.2.11")).value();
    EXPECT_EQ(on_link.ifindex, index_of("lb0"));
    EXPECT_FALSE(on_link.gateway);
    EXPECT_FALSE(on_link.local);
    EXPECT_EQ(on_link.source, ip("192.0.2.1"));
    EXPECT_TRUE(net_->route_to(ip("192.0.2.1"))->local);
    EXPECT_EQ(net_->route_to(ip("2001:db8::11"))->ifindex, index_of("lb0"));
    EXPECT_TRUE(net_->route_to(ip("2001:db8::1"))->local);
    EXPECT_EQ(net_->route_to(ip("203.0.113.1")).error().message, "no route");
    EXPECT_EQ(net_->route_to(ip("2001:db8:1::1")).error().message, "no route");

    run("ip route add 203.0.113.0/24 via 192.0.2.11 mtu 1400");
    const Route routed = net_->route_to(ip("203.0.113.1")).value();
    EXPECT_EQ(routed.gateway, ip("192.0.2.11"));
    EXPECT_EQ(routed.mtu, 1400U);
    run("ip route add 203.0.113.64/26 via inet6 2001:db8::11 dev lb0");
    EXPECT_EQ(net_->route_to(ip("203.0.113.65"))->gateway, ip("2001:db8::11"));
    run("ip route add unreachable 203.0.113.128/26");
    EXPECT_EQ(net_->route_to(ip("203.0.113.129")).error().message, "the route says unreachable");
    run("ip route add blackhole 203.0.113.192/26");
    EXPECT_EQ(net_->route_to(ip("203.0.113.193")).error().message, "the route is a blackhole");
    run("ip -6 route add unreachable 2001:db8:2::/64");
    EXPECT_FALSE(net_->route_to(ip("2001:db8:2::1")));
}

TEST_F(KernelNetTest, ResolvesManagesAndReleasesANeighbour) {
    for (const char* address : {"192.0.2.11", "2001:db8::11"}) {
        const NeighbourKey key{index_of("lb0"), ip(address)};
        EXPECT_EQ(net_->neighbour(key), nullptr);
        EXPECT_EQ(net_->since_confirmed(key).value(), std::nullopt);
        EXPECT_TRUE(net_->release(key));  // nothing there is no error
        ASSERT_TRUE(net_->resolve(key));
        const auto usable = [&] { return net_->neighbour(key) != nullptr && net_->neighbour(key)->usable(); };
        ASSERT_TRUE(wait_for(usable)) << address;
        EXPECT_EQ(net_->neighbour(key)->mac, mac("02:00:5e:00:53:10"));
        EXPECT_TRUE(net_->neighbour(key)->managed);
        EXPECT_LT(net_->since_confirmed(key).value(), std::chrono::seconds(60));
        ASSERT_TRUE(net_->resolve(key));  // again: no harm
        ASSERT_TRUE(net_->release(key));
        EXPECT_TRUE(wait_for([&] { return net_->neighbour(key) == nullptr || !net_->neighbour(key)->managed; }));
    }
}

TEST_F(KernelNetTest, TheTrackerFindsItsWayAndFollowsAMac) {
    NextHopTracker tracker(*net_);
    connect(tracker);
    run("ip route add 203.0.113.0/24 via 198.51.100.2");
    const std::vector<Destination> wanted = {ip("192.0.2.11"), ip("2001:db8::11"), ip("203.0.113.9"), ip("192.0.2.1")};
    tracker.set_wanted(wanted, std::chrono::steady_clock::now());
    const auto reach = [&](const char* address) { return tracker.find(ip(address))->reach; };
    ASSERT_TRUE(wait_for(
        [&] {
            return reach("192.0.2.11") == Reach::kReachable && reach("2001:db8::11") == Reach::kReachable &&
                   reach("203.0.113.9") == Reach::kReachable;
        },
        &tracker));
    EXPECT_TRUE(tracker.settled());
    EXPECT_EQ(reach("192.0.2.1"), Reach::kLocal);
    EXPECT_EQ(tracker.find(ip("192.0.2.11"))->mac, mac("02:00:5e:00:53:10"));
    EXPECT_EQ(tracker.find(ip("203.0.113.9"))->mac, mac("02:00:5e:00:53:11"));
    EXPECT_EQ(tracker.find(ip("203.0.113.9"))->ifindex, index_of("lb1"));

    // The backend is replaced by another machine with its address.
    int mac_events = 0;
    tracker.on_change([&](const std::optional<NextHop>& before, const NextHop& now) {
        mac_events += before && now.destination == ip("192.0.2.11") && before->mac != now.mac ? 1 : 0;
    });
    in_peer("ip link set peer0 down");
    // The kernel may take a second to lower the carrier, and never does if it is back before; the old MAC would then stand
    // for as long as it was confirmed for.
    ASSERT_TRUE(wait_for([&] { return !net_->link_by_name("lb0")->up(); }, &tracker));
    in_peer("ip link set peer0 address 02:00:5e:00:53:77");
    in_peer("ip link set peer0 up");
    EXPECT_TRUE(wait_for(
        [&] {
            const NextHop* hop = tracker.find(ip("192.0.2.11"));
            return hop->reach == Reach::kReachable && hop->mac == mac("02:00:5e:00:53:77");
        },
        &tracker));
    EXPECT_GE(mac_events, 1);

    run("ip route replace 203.0.113.0/24 via 192.0.2.11");
    EXPECT_TRUE(wait_for([&] { return tracker.find(ip("203.0.113.9"))->mac == mac("02:00:5e:00:53:77"); }, &tracker));
    run("ip route del 203.0.113.0/24");
    EXPECT_TRUE(wait_for([&] { return reach("203.0.113.9") == Reach::kNoRoute; }, &tracker));
}

TEST_F(KernelNetTest, TheTrackerSeesSilenceAndALostCarrier) {
    NextHopTracker tracker(*net_);
    connect(tracker);
    tracker.set_wanted({ip("192.0.2.99"), ip("198.51.100.2")}, std::chrono::steady_clock::now());
    EXPECT_TRUE(wait_for([&] { return tracker.find(ip("192.0.2.99"))->reach == Reach::kFailed; }, &tracker));
    EXPECT_EQ(tracker.find(ip("192.0.2.99"))->reason, "no answer to ARP for 192.0.2.99");
    ASSERT_TRUE(wait_for([&] { return tracker.find(ip("198.51.100.2"))->reach == Reach::kReachable; }, &tracker));
    in_peer("ip link set peer1 down");
    EXPECT_TRUE(wait_for([&] { return tracker.find(ip("198.51.100.2"))->reach == Reach::kLinkDown; }, &tracker));
    in_peer("ip link set peer1 up");
    EXPECT_TRUE(wait_for([&] { return tracker.find(ip("198.51.100.2"))->reach == Reach::kReachable; }, &tracker));
    // The silent one comes to life.
    in_peer("ip address add 192.0.2.99/24 dev peer0");
    EXPECT_TRUE(wait_for([&] { return tracker.find(ip("192.0.2.99"))->reach == Reach::kReachable; }, &tracker));
}

TEST_F(KernelNetTest, AStaticNeighbourStaysStatic) {
    run("ip neighbour add 192.0.2.50 lladdr 02:00:5e:00:53:50 dev lb0");
    const NeighbourKey key{index_of("lb0"), ip("192.0.2.50")};
    ASSERT_TRUE(wait_for([&] { return net_->neighbour(key) != nullptr; }));
    NextHopTracker tracker(*net_);
    connect(tracker);
    tracker.set_wanted({ip("192.0.2.50")}, std::chrono::steady_clock::now());
    EXPECT_EQ(tracker.find(ip("192.0.2.50"))->reach, Reach::kReachable);
    tracker.set_wanted({}, std::chrono::steady_clock::now());
    EXPECT_TRUE(wait_for([] { return true; }));
    EXPECT_EQ(KernelNet::create().value()->neighbour(key)->state, NeighbourState::kPermanent);
}

// More events than the socket holds, unread: the kernel drops some and says ENOBUFS.
TEST_F(KernelNetTest, LostEventsAreMadeUpForByReadingAllAnew) {
    auto monitor = NetlinkMonitor::create({.receive_buffer_bytes = 4096}).value();
    bool resynchronized = false;
    monitor->on_change([&](const Changes& changes) { resynchronized |= changes.resynchronized; });
    run("i=1; while [ $i -le 200 ]; do echo neighbour add 192.0.2.$i lladdr 02:00:5e:00:53:aa dev lb0; i=$((i+1)); done"
        " | ip -batch -");
    run("ip link del lb1");
    ASSERT_TRUE(monitor->on_readable());
    EXPECT_TRUE(resynchronized);
    EXPECT_EQ(monitor->model().link("lb1"), nullptr);
    EXPECT_EQ(monitor->model().neighbours().size(), KernelNet::create().value()->model().neighbours().size());
    EXPECT_NE(monitor->model().neighbour({index_of("lb0"), ip("192.0.2.200")}), nullptr);
    // And the live one agrees once it has read its events. Only what somebody set counts: the kernel makes entries for its
    // own multicast without telling.
    const auto set_by_hand = [](const NetlinkModel& model) {
        auto neighbours = model.neighbours();
        std::erase_if(neighbours, [](const auto& n) { return n.state != NeighbourState::kPermanent; });
        return neighbours;
    };
    EXPECT_EQ(set_by_hand(monitor->model()).size(), 200U);
    EXPECT_TRUE(wait_for([&] { return set_by_hand(net_->model()) == set_by_hand(monitor->model()); }));
}

// Sorted, since the kernel lists a family after the other.
std::vector<IpAddress> host_routes_of(KernelNet& net, const RouteOwner& owner) {
    auto routes = net.host_routes(owner);
    EXPECT_TRUE(routes) << routes.error().message;
    std::sort(routes->begin(), routes->end());
    return *routes;
}

TEST_F(KernelNetTest, KeepsHostRoutesOfItsOwn) {
    for (const std::uint32_t table : {146U, 70'000U}) {
        const RouteOwner owner{table, 146};
        EXPECT_TRUE(host_routes_of(*net_, owner).empty());
        for (const char* vip : {"192.0.2.10", "203.0.113.10", "2001:db8:80::10"})
            ASSERT_TRUE(net_->add_host_route(ip(vip), owner)) << vip;
        EXPECT_EQ(net_->add_host_route(ip("192.0.2.10"), owner).error().code, EEXIST);
        EXPECT_EQ(host_routes_of(*net_, owner),
                  (std::vector{ip("192.0.2.10"), ip("203.0.113.10"), ip("2001:db8:80::10")}));
        run("ip route show table " + std::to_string(table) + " | grep -q '^blackhole 192.0.2.10 proto 146'");
        run("ip -6 route show table " + std::to_string(table) + " | grep -q '^blackhole 2001:db8:80::10 .*proto 146'");
        ASSERT_TRUE(net_->delete_host_route(ip("192.0.2.10"), owner));
        ASSERT_TRUE(net_->delete_host_route(ip("2001:db8:80::10"), owner));
        ASSERT_TRUE(net_->delete_host_route(ip("2001:db8:80::10"), owner)) << "gone already";
        EXPECT_EQ(host_routes_of(*net_, owner), std::vector{ip("203.0.113.10")});
    }
    // The host itself does not route by them.
    EXPECT_EQ(net_->route_to(ip("203.0.113.10")).error().message, "no route");
    EXPECT_EQ(net_->route_to(ip("192.0.2.11"))->ifindex, index_of("lb0"));
}

TEST_F(KernelNetTest, LeavesHostRoutesOfOthersAlone) {
    const RouteOwner owner{146, 146};
    run("ip route add blackhole 192.0.2.10 table 146 proto 99");
    run("ip route add 192.0.2.20 dev lb0 table 146 proto 146");
    run("ip -6 route add blackhole 2001:db8::10 table 146 proto static");
    run("ip route add blackhole 192.0.2.10 table 147 proto 146");
    EXPECT_TRUE(host_routes_of(*net_, owner).empty());
    for (const char* vip : {"192.0.2.10", "192.0.2.20", "2001:db8::10"})
        EXPECT_TRUE(net_->delete_host_route(ip(vip), owner)) << vip;
    EXPECT_EQ(net_->add_host_route(ip("192.0.2.10"), owner).error().code, EEXIST);
    EXPECT_EQ(net_->add_host_route(ip("2001:db8::10"), owner).error().code, EEXIST);
    run("test $(ip route show table 146 | wc -l) = 2");
    run("test $(ip -6 route show table 146 | wc -l) = 1");
    run("test $(ip route show table 147 | wc -l) = 1");
}

}  // namespace
}  // namespace fairlead::net
