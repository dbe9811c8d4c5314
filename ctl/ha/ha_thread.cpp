// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/ha_thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bitset>
#include <cerrno>
#include <cstring>
#include <thread>

#include "dataplane/tables/tables.h"

namespace fairlead::ha {

namespace {

// Above everything ordinary; below the kernel's own threads for interrupts, which are at 50.
constexpr int kFifoPriority = 40;
// Of one socket before timers are looked at again.
constexpr int kMessagesAtOnce = 64;
constexpr int kEventsAtOnce = 16;

TimePoint now() { return std::chrono::steady_clock::now(); }

void signal_event(const UniqueFd& fd) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written =
        ::write(fd.get(), &one, sizeof one);  // fails only when it is signalled anyway
}

void clear_event(const UniqueFd& fd) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto read = ::read(fd.get(), &count, sizeof count);
}

void store(fl_role* role, std::uint64_t word) { tables::store_word(role->active_until_ns, word); }

}  // namespace

// A group on the HA thread. Made and destroyed by the owner.
struct HaThread::Running {
    struct Port {
        FrameSender sender;
        std::vector<Frame> frames;
        SolicitedNodeGroups groups;
    };

    explicit Running(HaGroup made) : group(std::move(made)), machine(group.settings) {}

    // Goes on where the group's earlier configuration stopped.
    void take_over(const Running& before) {
        machine = before.machine;
        schedule = before.schedule;
        external = before.external;
        history = before.history;
        changes = before.changes;
        refused = before.refused;
        pseudo_header = before.pseudo_header;
        last_external = before.last_external;
    }
    std::size_t announcements() const { return group.vips.size() * ports.size(); }

    HaGroup group;
    std::bitset<256> sibling_vrids;  // other groups of this node: not strangers
    bool counts_strangers = true;    // else another group on the interface does: each one's socket gets all adverts
    std::vector<IpAddress> advertised;
    std::optional<VrrpSocket> socket;
    std::vector<Port> ports;

    VrrpInstance machine;
    AnnouncementSchedule schedule;
    bool external = false;
    StateChange last_external;
    std::array<StateChange, kHaHistory> history;
    std::uint64_t changes = 0;
    std::array<std::uint64_t, kAdvertRefusals> refused{};
    bool pseudo_header = true;
    AddressMatch peer_addresses = AddressMatch::kSame;
};

// --- the thread ---

class HaThread::Loop {
  public:
    Result<void> open();
    std::string start();
    // Runs `work` on the thread and returns when it is done.
    template <typename Work>
    void call(Work work);
    void join();
    bool running() const { return thread_.joinable(); }
    const UniqueFd& changes_fd() const { return changes_; }

    // --- on the thread, from within call() ---
    void replace(std::vector<std::unique_ptr<Running>>& groups);
    void stop();
    void apply(Running& running, const Actions& actions);
    void record(Running& running, const StateChange& change);
    std::vector<std::unique_ptr<Running>>& groups() { return groups_; }
    bool ready() const { return ready_; }
    void set_ready(bool ready) { ready_ = ready; }

  private:
    struct Call {
        void (*run)(void*);
        void* work;
    };

    std::string become_realtime();
    void run();
    void turn();
    void take_call();
    void receive(Running& running);
    void received(Running& running, const VrrpSocket::Received& message);
    std::optional<AdvertRefusal> refuse(Running& running, const Advert& advert, bool& ours);
    bool send(Running& running, std::uint8_t priority);
    void announce(Running& running);
    void arm_timer();
    void watch(Running& running, int operation);

    UniqueFd epoll_, timer_, wake_, changes_;
    std::atomic<Call*> mailbox_{nullptr};
    std::atomic<int> calls_done_{0};
    std::atomic<bool> started_{false};
    std::string start_error_;  // written before started_ is
    std::thread thread_;
    bool stopping_ = false;
    bool ready_ = false;
    std::vector<std::unique_ptr<Running>> groups_;
};

Result<void> HaThread::Loop::open() {
    epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    changes_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!epoll_ || !timer_ || !wake_ || !changes_) return fail_errno("open what the HA thread waits for", errno);
    for (const auto* fd : {&timer_, &wake_}) {
        epoll_event event{};
        event.events = EPOLLIN;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd->get(), &event) != 0)
            return fail_errno("wait for the HA thread's timer", errno);
    }
    return {};
}

std::string HaThread::Loop::start() {
    thread_ = std::thread([this] { run(); });
    started_.wait(false);
    return start_error_;
}

void HaThread::Loop::join() {
    if (thread_.joinable()) thread_.join();
}

template <typename Work>
void HaThread::Loop::call(Work work) {
    Call call{[](void* context) { (*static_cast<Work*>(context))(); }, &work};
    const int before = calls_done_.load();
    mailbox_.store(&call, std::memory_order_release);
    signal_event(wake_);
    calls_done_.wait(before, std::memory_order_acquire);
}

std::string HaThread::Loop::become_realtime() {
    ::pthread_setname_np(::pthread_self(), "fairlead-ha");
    sigset_t every;
    ::sigfillset(&every);
    ::pthread_sigmask(SIG_BLOCK, &every, nullptr);  // their handlers run elsewhere
    const sched_param parameters{.sched_priority = kFifoPriority};
    if (const int code = ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &parameters); code != 0)
        return std::string("SCHED_FIFO is not allowed: ") + std::strerror(code);
    return {};
}

void HaThread::Loop::run() {
    start_error_ = become_realtime();
    started_.store(true);
    started_.notify_one();
    while (!stopping_) turn();
}

void HaThread::Loop::turn() {
    std::array<epoll_event, kEventsAtOnce> events{};
    ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, -1);
    clear_event(timer_);
    // What waits in a socket has been heard: before the timers. All of them, whichever woke us.
    for (auto& running : groups_) receive(*running);
    take_call();
    for (auto& running : groups_) {
        const auto next = running->machine.next_timer();
        if (next && *next <= now()) apply(*running, running->machine.timer(now()));
        announce(*running);
    }
    arm_timer();
}

void HaThread::Loop::take_call() {
    clear_event(wake_);  // first: a call that comes now wakes us again
    Call* call = mailbox_.exchange(nullptr, std::memory_order_acquire);
    if (call == nullptr) return;
    call->run(call->work);
    calls_done_.fetch_add(1, std::memory_order_release);
    calls_done_.notify_one();
}

void HaThread::Loop::arm_timer() {
    std::optional<TimePoint> next;
    const auto sooner = [&](const std::optional<TimePoint>& time) {
        if (time && (!next || *time < *next)) next = time;
    };
    for (const auto& running : groups_) {
        sooner(running->machine.next_timer());
        sooner(running->schedule.next());
    }
    itimerspec when{};
    if (next) {
        // A time of 0 would disarm it.
        const auto ns = std::max<std::int64_t>(1, std::chrono::nanoseconds(next->time_since_epoch()).count());
        when.it_value = {ns / 1'000'000'000, ns % 1'000'000'000};
    }
    ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void HaThread::Loop::watch(Running& running, int operation) {
    if (!running.socket) return;
    epoll_event event{};
    event.events = EPOLLIN;
    ::epoll_ctl(epoll_.get(), operation, running.socket->fd(), &event);
}

// --- adverts ---

void HaThread::Loop::receive(Running& running) {
    if (!running.socket) return;
    for (int i = 0; i < kMessagesAtOnce; ++i) {
        const auto message = running.socket->receive();
        if (!message) return;
        received(running, *message);
    }
}

// What a group's own configuration says of an advert. `ours` = false: for another group of this node.
std::optional<AdvertRefusal> HaThread::Loop::refuse(Running& running, const Advert& advert, bool& ours) {
    const auto& group = running.group;
    ours = advert.vrid == group.vrid || !running.sibling_vrids.test(advert.vrid);
    if (advert.vrid != group.vrid) return AdvertRefusal::kVrid;
    if (advert.source == group.socket.source) return AdvertRefusal::kOwnAddress;
    const auto& peers = group.socket.peers;
    if (!peers.empty() && std::find(peers.begin(), peers.end(), advert.source) == peers.end())
        return AdvertRefusal::kPeer;
    running.peer_addresses = compare_addresses(advert, running.advertised);
    if (running.peer_addresses == AddressMatch::kNoneOfOurs) return AdvertRefusal::kAddresses;
    return std::nullopt;
}

void HaThread::Loop::received(Running& running, const VrrpSocket::Received& message) {
    const auto advert = decode_advert(message.message, message.arrival);
    bool ours = true;
    std::optional<AdvertRefusal> refusal;
    if (advert)
        refusal = refuse(running, *advert, ours);
    else
        refusal = advert.error();
    if (!ours) return;
    const bool of_no_group = !advert || refusal == AdvertRefusal::kVrid;
    if (of_no_group && !running.counts_strangers) return;
    if (refusal) {
        ++running.refused.at(static_cast<std::size_t>(*refusal));
        return;
    }
    running.pseudo_header = advert->pseudo_header;
    apply(running, running.machine.advert_received(advert->source, advert->priority, advert->interval, now()));
}

bool HaThread::Loop::send(Running& running, std::uint8_t priority) {
    const auto& settings = running.machine.settings();
    return running.socket && running.socket->send({.vrid = running.group.vrid,
                                                   .priority = priority,
                                                   .interval = settings.advert_interval,
                                                   .pseudo_header = running.pseudo_header,
                                                   .addresses = running.advertised});
}

void HaThread::Loop::apply(Running& running, const Actions& actions) {
    if (actions.withdraw) {
        store(running.group.role, 0);
        running.schedule.end();
    }
    std::optional<Actions> more;
    if (actions.advert) {
        const auto before = now();
        const bool sent = send(running, *actions.advert);
        more = running.machine.advert_sent(sent, before, now());
    }
    if (actions.farewell) send(running, kPriorityStop);
    if (actions.role_until) store(running.group.role, role_word(*actions.role_until));
    if (actions.announce) running.schedule.begin(running.announcements(), now());
    if (actions.change) record(running, *actions.change);
    if (more) apply(running, *more);
}

void HaThread::Loop::record(Running& running, const StateChange& change) {
    running.history.at(running.changes % kHaHistory) = change;
    ++running.changes;
    signal_event(changes_);
}

void HaThread::Loop::announce(Running& running) {
    const auto range = running.schedule.take(now());
    for (std::size_t i = range.first; i < range.first + range.count; ++i) {
        auto& port = running.ports.at(i / running.group.vips.size());
        port.sender.send(port.frames.at(i % running.group.vips.size()));  // the next round makes up for a failure
    }
}

// --- configuration ---

// The old ones are in `groups` afterwards, for the owner to destroy.
void HaThread::Loop::replace(std::vector<std::unique_ptr<Running>>& groups) {
    for (auto& running : groups_) watch(*running, EPOLL_CTL_DEL);
    for (auto& before : groups_) {
        const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& next) {
            return next->group.name == before->group.name && next->group.external == before->group.external &&
                   next->group.vrid == before->group.vrid && next->group.role == before->group.role;
        });
        if (same != groups.end())
            (*same)->take_over(*before);
        else if (before->group.external)
            store(before->group.role, 0);
        else
            apply(*before, before->machine.stop(now()));
    }
    groups_.swap(groups);
    for (auto& running : groups_) {
        watch(*running, EPOLL_CTL_ADD);
        if (running->group.external) continue;
        apply(*running, running->machine.reconfigure(running->group.settings, now()));
        apply(*running, running->machine.set_ready(ready_, now()));
        apply(*running, running->machine.start(now()));
        // New VIPs are announced too.
        if (running->machine.lease()) running->schedule.begin(running->announcements(), now());
    }
}

void HaThread::Loop::stop() {
    for (auto& running : groups_) apply(*running, running->machine.stop(now()));
    stopping_ = true;
}

// --- the owner's side ---

HaThread::HaThread() : loop_(std::make_unique<Loop>()) {}

HaThread::~HaThread() { stop(); }

Result<std::unique_ptr<HaThread>> HaThread::create() {
    std::unique_ptr<HaThread> made(new HaThread);
    if (auto opened = made->loop_->open(); !opened) return tl::unexpected(opened.error());
    made->realtime_error_ = made->loop_->start();
    // On fault: what is mapped and never used (large tables) needs no memory.
    if (made->realtime_error_.empty() && ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        made->realtime_error_ = std::string("memory cannot be locked: ") + std::strerror(errno);
    return made;
}

Result<std::unique_ptr<HaThread::Running>> HaThread::prepare(HaGroup group) {
    auto running = std::make_unique<Running>(std::move(group));
    const auto& made = running->group;
    running->pseudo_header = made.pseudo_header;
    auto addresses = made.vips;
    // The same on all nodes; an IPv6 group's link-local address comes first (RFC 9568 section 5.2.9).
    std::sort(addresses.begin(), addresses.end(), [](const IpAddress& a, const IpAddress& b) {
        return std::pair(!a.is_link_local(), a) < std::pair(!b.is_link_local(), b);
    });
    for (const auto& address : addresses)
        if (address.is_v4() == made.socket.source.is_v4()) running->advertised.push_back(address);
    // No more than an advert carries. All are announced.
    const auto most = made.socket.source.is_v4() ? kAdvertAddresses4 : kAdvertAddresses6;
    running->advertised.resize(std::min(most, running->advertised.size()));
    if (!made.external) {
        auto socket = VrrpSocket::open(made.socket);
        if (!socket) return tl::unexpected(socket.error());
        running->socket = std::move(*socket);
    }
    for (const auto& port : made.ports) {
        auto sender = FrameSender::open(port.ifindex);
        if (!sender) return tl::unexpected(sender.error());
        auto groups = SolicitedNodeGroups::join(port.ifindex, addresses);
        if (!groups) return tl::unexpected(groups.error());
        std::vector<Frame> frames;
        for (const auto& vip : made.vips) frames.push_back(announcement(vip, port.mac, port.vlan));
        running->ports.push_back({std::move(*sender), std::move(frames), std::move(*groups)});
    }
    return running;
}

Result<void> HaThread::configure(std::vector<HaGroup> groups) {
    std::vector<std::unique_ptr<Running>> made;
    for (auto& group : groups) {
        if (!group.external && !realtime() && group.settings.advert_interval < kIntervalWithoutRealtime)
            return fail("an advert interval under 100 ms needs real-time scheduling: " + realtime_error_, EPERM);
        group.settings.address = group.socket.source;
        auto running = prepare(std::move(group));
        if (!running) return tl::unexpected(running.error());
        made.push_back(std::move(*running));
    }
    for (auto& running : made)
        for (const auto& other : made)
            if (other != running && other->group.socket.ifindex == running->group.socket.ifindex) {
                running->sibling_vrids.set(other->group.vrid);
                if (&other < &running) running->counts_strangers = false;
            }
    loop_->call([&] { loop_->replace(made); });
    return {};
}

void HaThread::set_ready(bool ready) {
    loop_->call([&] {
        loop_->set_ready(ready);
        for (auto& running : loop_->groups())
            if (!running->group.external) loop_->apply(*running, running->machine.set_ready(ready, now()));
    });
}

void HaThread::set_tracking(std::size_t group, const Tracking& tracking) {
    loop_->call([&] {
        auto& running = *loop_->groups().at(group);
        if (!running.group.external) loop_->apply(running, running.machine.set_tracking(tracking, now()));
    });
}

Result<void> HaThread::give_up(std::size_t group) {
    bool was_active = false;
    loop_->call([&] {
        auto& running = *loop_->groups().at(group);
        was_active = !running.group.external && running.machine.state() == State::kActive;
        if (was_active) loop_->apply(running, running.machine.give_up(now()));
    });
    if (!was_active) return fail("this node is not the active one", EINVAL);
    return {};
}

Result<void> HaThread::set_external(std::size_t group, bool active) {
    bool external = false;
    loop_->call([&] {
        auto& running = *loop_->groups().at(group);
        external = running.group.external;
        if (!external || running.external == active) return;
        running.external = active;
        store(running.group.role, active ? UINT64_MAX : 0);
        if (active)
            running.schedule.begin(running.announcements(), now());
        else
            running.schedule.end();
        const auto state_of = [](bool is) { return is ? State::kActive : State::kBackup; };
        running.last_external = {state_of(!active), state_of(active), RoleReason::kExternal, now(), {}, 0};
        loop_->record(running, running.last_external);
    });
    if (!external) return fail("VRRP decides over this role: mode is not \"external\"", EINVAL);
    return {};
}

namespace {
void fill(HaGroupStatus& status, const VrrpInstance& machine) {
    status.state = machine.state();
    status.last_change = machine.last_change();
    status.priority = machine.effective_priority();
    status.lease = machine.lease();
    status.ready = machine.ready();
    status.released = machine.released();
    status.tracking = machine.tracking();
    status.peer = machine.peer();
    status.counters = machine.counters();
    status.split = machine.split();
    status.peer_interval_differs = machine.peer() && machine.peer()->interval != machine.settings().advert_interval;
}
}  // namespace

std::vector<HaGroupStatus> HaThread::status() const {
    std::vector<HaGroupStatus> all;
    const auto& groups = loop_->groups();  // the list itself changes in configure() alone, which is the owner's
    all.resize(groups.size());
    for (std::size_t i = 0; i < groups.size(); ++i) {
        all[i].name = groups[i]->group.name;
        all[i].vrid = groups[i]->group.vrid;
        all[i].external = groups[i]->group.external;
    }
    loop_->call([&] {
        for (std::size_t i = 0; i < groups.size(); ++i) {
            const auto& running = *groups[i];
            auto& status = all[i];
            fill(status, running.machine);
            if (running.group.external) {
                status.state = running.external ? State::kActive : State::kBackup;
                status.last_change = running.last_external;
            }
            status.refused = running.refused;
            status.peer_addresses_differ = running.peer_addresses != AddressMatch::kSame;
            status.send_error = running.socket ? running.socket->last_error() : 0;
            status.history = running.history;
            status.changes = running.changes;
        }
    });
    return all;
}

int HaThread::changes_fd() const { return loop_->changes_fd().get(); }

void HaThread::stop() {
    if (!loop_->running()) return;
    loop_->call([&] { loop_->stop(); });
    loop_->join();
}

}  // namespace fairlead::ha
