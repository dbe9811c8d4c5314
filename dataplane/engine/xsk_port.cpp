// SPDX-License-Identifier: Apache-2.0
#include "dataplane/engine/xsk_port.h"

#include <bpf/bpf.h>
#include <linux/ethtool.h>
#include <linux/membarrier.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <rte_mempool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "dataplane/core/layout.h"

namespace fairlead::engine {
namespace {
constexpr std::uint32_t kRing = 2048;  // descriptors; two milliseconds' sleep at a million frames a second
constexpr std::uint32_t kRefill = 64;  // buffers that are given to the kernel at a time

// Where the buffers lie. An address of AF_XDP's is an offset from `base`; a chunk is one object of the pool, header and all.
struct Area {
    char* base = nullptr;
    std::uint64_t bytes = 0;
    std::uint32_t header = 0;  // of an object, before its mbuf
    rte_mempool* pool = nullptr;

    static Result<Area> of(rte_mempool* pool) {
        if (pool->nb_mem_chunks != 1)
            return fail("the buffers lie in " + std::to_string(pool->nb_mem_chunks) +
                        " pieces of memory, and AF_XDP wants one: lower [dpdk] memory_mb, or leave huge_pages off");
        const rte_mempool_memhdr* memory = STAILQ_FIRST(&pool->mem_list);
        const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
        const auto from = reinterpret_cast<std::uintptr_t>(memory->addr) / page * page;
        const auto to = (reinterpret_cast<std::uintptr_t>(memory->addr) + memory->len + page - 1) / page * page;
        return Area{reinterpret_cast<char*>(from), to - from, pool->header_size, pool};
    }

    std::uint64_t address_of(const rte_mbuf* mbuf) const {
        return static_cast<std::uint64_t>(reinterpret_cast<const char*>(mbuf) - base) - header;
    }
    rte_mbuf* mbuf_at(std::uint64_t address) const {
        return reinterpret_cast<rte_mbuf*>(base + xsk_umem__extract_addr(address) + header);
    }
};

// No program of the kernel's is running any more that began before the call.
void wait_for_programs() { syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0); }
}  // namespace

std::uint16_t receive_queues(const std::string& interface) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    ifreq request{};
    std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&channels);
    if (::ioctl(socket.get(), SIOCETHTOOL, &request) < 0) return 1;
    const std::uint32_t queues = channels.rx_count + channels.combined_count;
    return static_cast<std::uint16_t>(std::clamp<std::uint32_t>(queues, 1, FL_MAX_QUEUES));
}

// One AF_XDP socket. Its receiving half belongs to one worker, its sending half to who holds the lane.
class XskPort::Socket {
  public:
    static Result<std::unique_ptr<Socket>> create(const std::string& interface, std::uint16_t queue, const Area& area) {
        auto socket = std::unique_ptr<Socket>(new Socket(area));
        xsk_umem_config umem{};
        umem.fill_size = umem.comp_size = kRing;
        umem.frame_size = area.header + area.pool->elt_size + area.pool->trailer_size;
        // The kernel leaves XDP_PACKET_HEADROOM (256 bytes) behind this: the mbuf's headroom.
        umem.frame_headroom = area.header + sizeof(rte_mbuf) + rte_pktmbuf_priv_size(area.pool);
        umem.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
        if (int error =
                xsk_umem__create(&socket->umem_, area.base, area.bytes, &socket->fill_, &socket->complete_, &umem))
            return fail("AF_XDP memory for " + interface + ": " + std::strerror(-error) +
                            (error == -ENOBUFS || error == -EPERM ? " (needs CAP_IPC_LOCK)" : ""),
                        -error);
        xsk_socket_config config{};
        config.rx_size = config.tx_size = kRing;
        config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
        // By copy: a card that wrote into the buffers itself would hold some back when the socket is closed.
        config.bind_flags = XDP_USE_NEED_WAKEUP | XDP_COPY;
        if (int error = xsk_socket__create(&socket->socket_, interface.c_str(), queue, socket->umem_, &socket->receive_,
                                           &socket->send_, &config))
            return fail("AF_XDP socket on queue " + std::to_string(queue) + " of " + interface + ": " +
                            std::strerror(-error) + (error == -EBUSY ? " (another process has it)" : ""),
                        -error);
        while (socket->refill()) continue;
        return socket;
    }

    // After wait_for_programs(), so that nobody writes into what is taken back.
    ~Socket() {
        if (socket_) {
            take_back();
            xsk_socket__delete(socket_);
        }
        if (umem_) xsk_umem__delete(umem_);
    }

    int fd() const { return xsk_socket__fd(socket_); }

    std::uint16_t receive(rte_mbuf** frames, std::uint16_t most) {
        std::uint32_t at = 0;
        const std::uint32_t count = xsk_ring_cons__peek(&receive_, most, &at);
        for (std::uint32_t i = 0; i < count; i++) {
            const xdp_desc* descriptor = xsk_ring_cons__rx_desc(&receive_, at + i);
            rte_mbuf* mbuf = area_.mbuf_at(descriptor->addr);
            const char* data = area_.base + xsk_umem__add_offset_to_addr(descriptor->addr);
            mbuf->data_off = static_cast<std::uint16_t>(data - static_cast<char*>(mbuf->buf_addr));
            mbuf->data_len = static_cast<std::uint16_t>(descriptor->len);
            mbuf->pkt_len = descriptor->len;
            frames[i] = mbuf;
        }
        if (count) xsk_ring_cons__release(&receive_, count);
        refill();
        return static_cast<std::uint16_t>(count);
    }

    std::uint16_t send(rte_mbuf** frames, std::uint16_t count) {
        reclaim();
        const std::uint32_t number = std::min<std::uint32_t>(count, xsk_prod_nb_free(&send_, count));
        std::uint32_t at = 0;
        if (!number || !xsk_ring_prod__reserve(&send_, number, &at)) return 0;
        std::uint32_t sent = 0;
        for (; sent < number; sent++) {
            rte_mbuf* mbuf = in_area(frames[sent]);
            if (!mbuf) break;
            xdp_desc* descriptor = xsk_ring_prod__tx_desc(&send_, at + sent);
            const std::uint64_t address = area_.address_of(mbuf);
            const auto offset = static_cast<std::uint64_t>(rte_pktmbuf_mtod(mbuf, char*) - area_.base) - address;
            descriptor->addr = address | (offset << XSK_UNALIGNED_BUF_OFFSET_SHIFT);
            descriptor->len = rte_pktmbuf_data_len(mbuf);
            descriptor->options = 0;
        }
        send_.cached_prod -= number - sent;
        xsk_ring_prod__submit(&send_, sent);
        wake();
        return static_cast<std::uint16_t>(sent);
    }

    // The kernel sends a few dozen frames at a call, and fewer when the device is busy: asks again for the rest.
    bool tend() {
        reclaim();
        if (all_sent()) return false;
        wake();
        return !all_sent();
    }

    std::uint64_t missed() const {
        xdp_statistics statistics{};
        socklen_t size = sizeof(statistics);
        if (getsockopt(fd(), SOL_XDP, XDP_STATISTICS, &statistics, &size) != 0) return 0;
        return statistics.rx_dropped + statistics.rx_ring_full + statistics.rx_fill_ring_empty_descs;
    }

  private:
    explicit Socket(const Area& area) : area_(area) {}

    // Gives the kernel one more batch of buffers to receive into, where there is room for one.
    bool refill() {
        std::array<rte_mbuf*, kRefill> mbufs;
        std::uint32_t at = 0;
        if (xsk_prod_nb_free(&fill_, kRefill) < kRefill) return false;
        if (rte_pktmbuf_alloc_bulk(area_.pool, mbufs.data(), kRefill) != 0) return false;
        xsk_ring_prod__reserve(&fill_, kRefill, &at);
        for (std::uint32_t i = 0; i < kRefill; i++)
            *xsk_ring_prod__fill_addr(&fill_, at + i) = area_.address_of(mbufs[i]);
        xsk_ring_prod__submit(&fill_, kRefill);
        return true;
    }

    // What has been sent.
    void reclaim() {
        std::array<rte_mbuf*, kRefill> mbufs;
        std::uint32_t at = 0;
        while (const std::uint32_t count = xsk_ring_cons__peek(&complete_, kRefill, &at)) {
            for (std::uint32_t i = 0; i < count; i++)
                mbufs[i] = area_.mbuf_at(*xsk_ring_cons__comp_addr(&complete_, at + i));
            xsk_ring_cons__release(&complete_, count);
            rte_pktmbuf_free_bulk(mbufs.data(), count);
        }
    }

    // A frame that the kernel may read where it lies: in one piece of our pool. Else a copy of it; nullptr: no buffer.
    rte_mbuf* in_area(rte_mbuf* frame) {
        if (frame->pool == area_.pool && frame->nb_segs == 1 && RTE_MBUF_DIRECT(frame)) return frame;
        rte_mbuf* copy = rte_pktmbuf_copy(frame, area_.pool, 0, UINT32_MAX);
        if (copy && copy->nb_segs > 1) {
            rte_pktmbuf_free(copy);
            copy = nullptr;
        }
        if (copy) rte_pktmbuf_free(frame);
        return copy;
    }

    bool all_sent() const { return __atomic_load_n(send_.consumer, __ATOMIC_ACQUIRE) == send_.cached_prod; }

    void wake() {
        if (xsk_ring_prod__needs_wakeup(&send_)) sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0);
    }

    // All buffers that lie in a ring. What the kernel is sending at this moment is lost: a few at most.
    void take_back() {
        std::uint32_t at = 0;
        reclaim();
        while (xsk_ring_cons__peek(&receive_, 1, &at)) {
            rte_pktmbuf_free(area_.mbuf_at(xsk_ring_cons__rx_desc(&receive_, at)->addr));
            xsk_ring_cons__release(&receive_, 1);
        }
        for (std::uint32_t i = *fill_.consumer; i != fill_.cached_prod; i++)
            rte_pktmbuf_free(area_.mbuf_at(*xsk_ring_prod__fill_addr(&fill_, i)));
        for (std::uint32_t i = *send_.consumer; i != send_.cached_prod; i++)
            rte_pktmbuf_free(area_.mbuf_at(xsk_ring_prod__tx_desc(&send_, i)->addr));
    }

    Area area_;
    xsk_umem* umem_ = nullptr;
    xsk_socket* socket_ = nullptr;
    xsk_ring_prod fill_{}, send_{};
    xsk_ring_cons complete_{}, receive_{};
};

XskPort::XskPort(const XskSettings& settings, std::uint32_t ifindex, std::vector<std::unique_ptr<Socket>> sockets)
    : PacketPort(settings.interface, static_cast<std::uint16_t>(sockets.size()),
                 static_cast<std::uint16_t>(sockets.size()), settings.workers, true),
      ifindex_(ifindex),
      sockets_(std::move(sockets)) {}

Result<std::unique_ptr<XskPort>> XskPort::create(const XskSettings& settings) {
    const std::uint32_t ifindex = if_nametoindex(settings.interface.c_str());
    if (!ifindex) return fail("no interface " + settings.interface, ENODEV);
    auto area = Area::of(settings.pool);
    if (!area) return tl::unexpected(area.error());
    std::vector<std::unique_ptr<Socket>> sockets;
    for (std::uint16_t queue = 0; queue < receive_queues(settings.interface); queue++) {
        auto socket = Socket::create(settings.interface, queue, *area);
        if (!socket) return tl::unexpected(socket.error());
        sockets.push_back(*std::move(socket));
    }
    return std::unique_ptr<XskPort>(new XskPort(settings, ifindex, std::move(sockets)));
}

XskPort::~XskPort() {
    withdraw();
    wait_for_programs();
}

Result<void> XskPort::announce(const std::filesystem::path& path) {
    UniqueFd map(bpf_obj_get(path.c_str()));
    if (!map) return fail_errno("open " + path.string(), errno);
    bpf_map_info info{};
    __u32 size = sizeof(info);
    if (bpf_obj_get_info_by_fd(map.get(), &info, &size)) return fail_errno("read " + path.string(), errno);
    withdraw();
    map_ = std::move(map);
    for (std::uint32_t queue = 0; queue < sockets_.size() && queue < info.max_entries; queue++) {
        const int socket = sockets_[queue]->fd();
        if (bpf_map_update_elem(map_.get(), &queue, &socket, BPF_ANY))
            return fail_errno("put queue " + std::to_string(queue) + " into " + path.string(), errno);
    }
    map_id_ = info.id;
    return {};
}

void XskPort::withdraw() {
    if (!map_) return;
    for (std::uint32_t queue = 0; queue < sockets_.size(); queue++) bpf_map_delete_elem(map_.get(), &queue);
    map_ = UniqueFd();
    map_id_ = 0;
}

std::uint16_t XskPort::receive(std::uint16_t queue, rte_mbuf** frames, std::uint16_t most) {
    return sockets_[queue]->receive(frames, most);
}

std::uint16_t XskPort::transmit(std::uint16_t lane, rte_mbuf** frames, std::uint16_t count) {
    return sockets_[lane]->send(frames, count);
}

bool XskPort::tend_lane(std::uint16_t lane) { return sockets_[lane]->tend(); }

int XskPort::descriptor(std::uint16_t queue) const { return sockets_[queue]->fd(); }

bool XskPort::link_up() {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, name().c_str(), IFNAMSIZ - 1);
    return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING);
}

std::uint64_t XskPort::missed() {
    std::uint64_t sum = 0;
    for (const auto& socket : sockets_) sum += socket->missed();
    return sum;
}

}  // namespace fairlead::engine
