// SPDX-License-Identifier: Apache-2.0
#include "dataplane/engine/ethdev_port.h"

#include <rte_dev.h>
#include <rte_errno.h>

#include <algorithm>
#include <cstring>

namespace fairlead::engine {
namespace {
constexpr std::uint16_t kDescriptors = 2048;  // two milliseconds' sleep at a million packets a second
constexpr std::uint64_t kSpreadBy = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;

tl::unexpected<Error> failed(const std::string& what, int code) {
    return fail(what + ": " + rte_strerror(code < 0 ? -code : code), code < 0 ? -code : code);
}

rte_eth_conf configuration(const rte_eth_dev_info& info, const EthdevSettings& settings, std::uint16_t queues) {
    rte_eth_conf conf{};
    conf.rxmode.mtu = std::clamp<std::uint32_t>(settings.mtu, info.min_mtu, std::max(info.min_mtu, info.max_mtu));
    if (queues > 1 && (info.flow_type_rss_offloads & kSpreadBy)) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & kSpreadBy;
    }
    // All frames are of one pool, whole and nobody else's.
    conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
    return conf;
}

Result<void> set_up_queues(std::uint16_t id, const EthdevSettings& settings, std::uint16_t queues,
                           std::uint16_t lanes) {
    const auto socket = static_cast<unsigned>(rte_eth_dev_socket_id(id));
    std::uint16_t receive = kDescriptors, send = kDescriptors;
    if (int error = rte_eth_dev_adjust_nb_rx_tx_desc(id, &receive, &send))
        return failed(settings.name + ": descriptors", error);
    for (std::uint16_t queue = 0; queue < queues; queue++)
        if (int error = rte_eth_rx_queue_setup(id, queue, receive, socket, nullptr, settings.pool))
            return failed(settings.name + ": receive queue " + std::to_string(queue), error);
    for (std::uint16_t lane = 0; lane < lanes; lane++)
        if (int error = rte_eth_tx_queue_setup(id, lane, send, socket, nullptr))
            return failed(settings.name + ": transmit queue " + std::to_string(lane), error);
    return {};
}

// The host's multicast groups (neighbour discovery, VRRP, routing protocols) are not known here: all of them, or, of a
// device that cannot tell them apart, everything.
void receive_for_host(std::uint16_t id) {
    if (rte_eth_allmulticast_enable(id) != 0) rte_eth_promiscuous_enable(id);
}
}  // namespace

Result<std::uint16_t> EthdevPort::probe(const std::string& device) {
    const std::string name = device.substr(0, device.find(','));
    std::uint16_t id = 0;
    if (rte_eth_dev_get_port_by_name(name.c_str(), &id) == 0) return id;
    if (int error = rte_dev_probe(device.c_str()); error && error != -EEXIST)
        return fail("device '" + device + "': " + rte_strerror(-error) +
                        "; expected a PCI address that is bound to vfio-pci, or a virtual device that DPDK knows",
                    -error);
    if (rte_eth_dev_get_port_by_name(name.c_str(), &id) != 0)
        return fail("device '" + device + "' is there, but is no network device of DPDK's", ENODEV);
    return id;
}

Result<std::unique_ptr<EthdevPort>> EthdevPort::start(std::uint16_t id, const EthdevSettings& settings) {
    rte_eth_dev_info info{};
    if (int error = rte_eth_dev_info_get(id, &info)) return failed(settings.name, error);
    const auto queues = std::min<std::uint16_t>(settings.queues, std::max<std::uint16_t>(info.max_rx_queues, 1));
    const auto lanes = std::min<std::uint16_t>(settings.workers, std::max<std::uint16_t>(info.max_tx_queues, 1));
    const rte_eth_conf conf = configuration(info, settings, queues);
    if (int error = rte_eth_dev_configure(id, queues, lanes, &conf))
        return failed(settings.name + ": " + std::to_string(queues) + " queues, MTU " + std::to_string(conf.rxmode.mtu),
                      error);
    auto port = std::unique_ptr<EthdevPort>(new EthdevPort(id, settings, queues, lanes, true));
    if (auto ready = set_up_queues(id, settings, queues, lanes); !ready) return tl::unexpected(ready.error());
    if (int error = rte_eth_dev_start(id)) return failed(settings.name + ": start", error);
    if (settings.for_host) receive_for_host(id);
    return port;
}

std::unique_ptr<EthdevPort> EthdevPort::running(std::uint16_t id) {
    return std::unique_ptr<EthdevPort>(new EthdevPort(id, {.name = "port " + std::to_string(id)}, 1, 1, false));
}

EthdevPort::~EthdevPort() {
    if (!owned_) return;
    rte_eth_dev_info info{};
    rte_device* device = rte_eth_dev_info_get(id_, &info) == 0 ? info.device : nullptr;
    rte_eth_dev_stop(id_);
    rte_eth_dev_close(id_);
    if (device) rte_dev_remove(device);
}

bool EthdevPort::link_up() {
    rte_eth_link link{};
    return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

std::uint64_t EthdevPort::missed() {
    rte_eth_stats stats{};
    return rte_eth_stats_get(id_, &stats) == 0 ? stats.imissed + stats.rx_nombuf : 0;
}

std::string EthdevPort::driver() const {
    rte_eth_dev_info info{};
    return rte_eth_dev_info_get(id_, &info) == 0 && info.driver_name ? info.driver_name : "";
}

std::array<std::uint8_t, 6> EthdevPort::mac() const {
    std::array<std::uint8_t, 6> bytes{};
    rte_ether_addr address{};
    if (rte_eth_macaddr_get(id_, &address) == 0) std::memcpy(bytes.data(), address.addr_bytes, bytes.size());
    return bytes;
}

std::uint16_t EthdevPort::mtu() const {
    std::uint16_t mtu = 0;
    return rte_eth_dev_get_mtu(id_, &mtu) == 0 ? mtu : 0;
}

Result<void> EthdevPort::set_mtu(std::uint16_t mtu) {
    int error = rte_eth_dev_set_mtu(id_, mtu);
    if (error == -EBUSY) {
        rte_eth_dev_stop(id_);
        error = rte_eth_dev_set_mtu(id_, mtu);
        if (int failed_start = rte_eth_dev_start(id_)) return failed(name() + ": start", failed_start);
    }
    if (error) return failed(name() + ": MTU " + std::to_string(mtu), error);
    return {};
}

}  // namespace fairlead::engine
