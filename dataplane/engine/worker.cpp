// SPDX-License-Identifier: Apache-2.0
#include "dataplane/engine/worker.h"

#include <rte_pause.h>

#include <algorithm>
#include <ctime>

namespace fairlead::engine {
namespace {
constexpr std::uint32_t kSpinTurns = 256;  // some ten microseconds: a burst is rarely alone
constexpr std::uint32_t kHostTurns = 32;   // busy turns between two looks at what the host sends
constexpr std::uint16_t kHostFrames = 16;  // from the host in one look: a system call each
constexpr int kShortestNapUs = 50;
constexpr int kLongestNapUs = 1'000;  // where nothing wakes us: a queue holds a thousand frames
constexpr int kDeepNapUs = 3'000;     // after a second of those: to wake costs up to 35 us on a virtual machine
constexpr std::uint32_t kNapsToDeep = 1'000;
constexpr int kLongestSleepUs = 20'000;  // where each queue wakes us
}  // namespace

Worker::Totals& Worker::Totals::operator+=(const Totals& other) {
    received += other.received;
    transmitted += other.transmitted;
    passed += other.passed;
    dropped += other.dropped;
    unsent += other.unsent;
    host_refused += other.host_refused;
    return *this;
}

Worker::Worker(const WorkerSettings& settings, const std::vector<Station>& stations,
               std::span<PacketPort* const> lineup, const tables::Tables* tables,
               std::optional<tables::WorkerSlot> slot)
    : settings_(settings), stations_(stations) {
    if (tables && slot) burst_.emplace(*tables, *std::move(slot), lineup, settings.index);
    for (const Station& station : stations) {
        for (std::uint16_t queue = settings.index; queue < station.port->queues(); queue += settings.count) {
            queues_.push_back({&station, queue});
            const int descriptor = station.port->descriptor(queue);
            if (descriptor < 0)
                all_wake_ = false;
            else
                descriptors_.push_back({descriptor, POLLIN, 0});
        }
        if (station.speaks && settings.index == 0) descriptors_.push_back({station.host->descriptor(), POLLIN, 0});
    }
}

void Worker::run(const std::atomic<bool>& stop) {
    while (!stop.load(std::memory_order_relaxed)) {
        if (turn())
            idle_turns_ = 0;
        else
            rest();
    }
}

// True: there was something to do.
bool Worker::turn() {
    bool busy = false;
    for (const Queue& queue : queues_) busy = receive(queue) || busy;
    pending_ = false;
    for (const Station& station : stations_) pending_ = station.port->tend(settings_.index) || pending_;
    if (burst_ && fl_unlikely(burst_->holds()))
        add(burst_->look_again([&](rte_mbuf* frame) { to_host(host_of(frame->port), frame); }));
    if (settings_.index == 0 && (!busy || turns_++ % kHostTurns == 0)) busy = relay_from_host() || busy;
    return busy;
}

bool Worker::receive(const Queue& queue) {
    const Station& station = *queue.station;
    if (burst_ && station.number) {
        const BurstCount count =
            burst_->run(station.number, queue.number, [&](rte_mbuf* frame) { to_host(station.host, frame); });
        if (!count.received) return false;
        add(count);
        return true;
    }
    std::array<rte_mbuf*, kBurst> frames;
    const std::uint16_t received = station.port->receive(queue.number, frames.data(), kBurst);
    totals_.received += received;
    totals_.passed += received;
    for (std::uint16_t i = 0; i < received; i++) to_host(station.host, frames[i]);
    return received != 0;
}

// What the host sends, by the port that the tap stands for.
bool Worker::relay_from_host() {
    bool any = false;
    for (const Station& station : stations_) {
        if (!station.speaks) continue;
        std::array<rte_mbuf*, kHostFrames> frames;
        std::uint16_t count = 0;
        while (count < kHostFrames && (frames[count] = station.host->read(settings_.pool))) count++;
        if (!count) continue;
        any = true;
        const std::uint16_t sent = station.port->send(settings_.index, frames.data(), count);
        totals_.unsent += count - sent;
        rte_pktmbuf_free_bulk(frames.data() + sent, count - sent);
    }
    return any;
}

void Worker::to_host(const Tap* host, rte_mbuf* frame) {
    if (host && !host->write(frame)) totals_.host_refused++;
    rte_pktmbuf_free(frame);
}

const Tap* Worker::host_of(std::uint32_t number) const {
    for (const Station& station : stations_)
        if (station.number == number) return station.host;
    return nullptr;
}

void Worker::add(const BurstCount& count) {
    totals_.received += count.received;
    totals_.transmitted += count.transmitted;
    totals_.passed += count.passed;
    totals_.dropped += count.dropped;
    totals_.unsent += count.unsent;
}

int Worker::longest_nap_us() const {
    if (pending_ || (burst_ && burst_->holds())) return kLongestNapUs;
    if (all_wake_) return kLongestSleepUs;
    return idle_turns_ < kSpinTurns + kNapsToDeep ? kLongestNapUs : kDeepNapUs;
}

// After a while without a frame: until one comes, where something says so, and for longer each time.
void Worker::rest() {
    if (settings_.busy || ++idle_turns_ < kSpinTurns) {
        rte_pause();
        return;
    }
    const int longest = longest_nap_us();
    if (idle_turns_ == kSpinTurns) nap_us_ = longest == kLongestSleepUs ? longest : kShortestNapUs;
    nap_us_ = std::min(nap_us_, longest);
    const timespec nap{0, nap_us_ * 1000L};
    const int ready = ppoll(descriptors_.data(), descriptors_.size(), &nap, nullptr);
    nap_us_ = std::min(nap_us_ * 2, longest);
    if (ready <= 0) return;
    for (pollfd& descriptor : descriptors_)  // an interface that is gone would wake us for ever
        if (descriptor.revents & (POLLERR | POLLHUP | POLLNVAL)) descriptor.fd = -1;
}

}  // namespace fairlead::engine
