// SPDX-License-Identifier: Apache-2.0
#include "tests/support/ring_port.h"

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <sched.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

#include "dataplane/engine/ethdev_port.h"

namespace fairlead::test {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + ": " + rte_strerror(rte_errno)); }

rte_ring* make_ring(const std::string& name, unsigned size) {
    rte_ring* ring = rte_ring_create(name.c_str(), size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (!ring) fail(name);
    return ring;
}

}  // namespace

std::vector<std::string> Eal::small() {
    return {"--no-huge",
            "-m",
            "256",
            "--no-pci",
            "--no-telemetry",
            "--iova-mode=va",
            "--log-level=error",
            "-l",
            std::to_string(sched_getcpu()),
            "--file-prefix=fairlead-test-" + std::to_string(getpid())};
}

Eal::Eal(const std::vector<std::string>& arguments) {
    std::vector<std::string> words{"fairlead"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0) fail("rte_eal_init");
    runtime_folder_ = rte_eal_get_runtime_dir();
}

Eal::~Eal() {
    rte_eal_cleanup();
    std::error_code ignored;
    if (!runtime_folder_.empty()) std::filesystem::remove_all(runtime_folder_, ignored);
}

BufferPool make_buffers(const std::string& name, unsigned number, std::uint16_t room) {
    BufferPool pool(rte_pktmbuf_pool_create(name.c_str(), number, 0, 0, room, SOCKET_ID_ANY), rte_mempool_free);
    if (!pool) fail(name);
    return pool;
}

RingPort::RingPort(const std::string& name, rte_mempool* pool, unsigned ring_size)
    : name_(name),
      pool_(pool),
      inward_(make_ring(name + "-in", ring_size)),
      outward_(make_ring(name + "-out", ring_size)) {
    const int made = rte_eth_from_rings(name.c_str(), &inward_, 1, &outward_, 1, 0);
    if (made < 0) fail(name);
    ethdev_ = static_cast<std::uint16_t>(made);
    port_ = engine::EthdevPort::running(ethdev_);
    const rte_eth_conf settings{};
    if (rte_eth_dev_configure(ethdev_, 1, 1, &settings) != 0 ||
        rte_eth_rx_queue_setup(ethdev_, 0, static_cast<std::uint16_t>(ring_size), 0, nullptr, pool) != 0 ||
        rte_eth_tx_queue_setup(ethdev_, 0, static_cast<std::uint16_t>(ring_size), 0, nullptr) != 0 ||
        rte_eth_dev_start(ethdev_) != 0)
        fail(name);
}

RingPort::~RingPort() {
    rte_eth_dev_stop(ethdev_);
    rte_vdev_uninit(("net_ring_" + name_).c_str());  // closes the port, too
    rte_ring_free(inward_);
    rte_ring_free(outward_);
}

void RingPort::arrive(std::span<const std::uint8_t> frame, std::uint16_t headroom) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
    if (!mbuf) fail("no buffer is left");
    mbuf->data_off = headroom;
    char* room = rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame.size()));
    if (room) std::memcpy(room, frame.data(), frame.size());
    if (room && rte_ring_enqueue(inward_, mbuf) == 0) return;
    rte_pktmbuf_free(mbuf);
    throw std::runtime_error(room ? "the ring is full" : "the frame does not fit a buffer");
}

std::optional<std::vector<std::uint8_t>> RingPort::take() {
    void* mbuf = nullptr;
    if (rte_ring_dequeue(outward_, &mbuf) != 0) return std::nullopt;
    return consume(static_cast<rte_mbuf*>(mbuf));
}

std::vector<std::uint8_t> consume(rte_mbuf* mbuf) {
    const auto* bytes = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
    std::vector<std::uint8_t> frame(bytes, bytes + rte_pktmbuf_pkt_len(mbuf));
    rte_pktmbuf_free(mbuf);
    return frame;
}

}  // namespace fairlead::test
