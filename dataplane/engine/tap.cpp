// SPDX-License-Identifier: Apache-2.0
#include "dataplane/engine/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace fairlead::engine {
namespace {
ifreq request_for(const std::string& name) {
    ifreq request{};
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    return request;
}

Result<void> configure(const std::string& name, const std::array<std::uint8_t, 6>& mac, std::uint32_t mtu) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return fail_errno("socket", errno);
    ifreq request = request_for(name);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::copy(mac.begin(), mac.end(), request.ifr_hwaddr.sa_data);
    if (ioctl(socket.get(), SIOCSIFHWADDR, &request)) return fail_errno("MAC address of tap " + name, errno);
    request = request_for(name);
    request.ifr_mtu = static_cast<int>(mtu);
    if (ioctl(socket.get(), SIOCSIFMTU, &request)) return fail_errno("MTU of tap " + name, errno);
    request = request_for(name);
    if (ioctl(socket.get(), SIOCGIFFLAGS, &request)) return fail_errno("flags of tap " + name, errno);
    request.ifr_flags |= IFF_UP;
    if (ioctl(socket.get(), SIOCSIFFLAGS, &request)) return fail_errno("bring tap " + name + " up", errno);
    return {};
}

Result<void> set_sysctl(const std::string& path, const char* value) {
    const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), value, std::strlen(value)) < 0) return fail_errno("write " + path, errno);
    return {};
}
}  // namespace

Result<Tap> Tap::create(const std::string& name, const std::array<std::uint8_t, 6>& mac, std::uint32_t mtu) {
    UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return fail_errno("open /dev/net/tun", errno);
    ifreq request = request_for(name);
    // IFF_TUN_EXCL: a persistent tap of this name would be somebody else's.
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL);
    if (ioctl(fd.get(), TUNSETIFF, &request)) return fail_errno("make tap " + name, errno);
    if (auto done = configure(name, mac, mtu); !done) return tl::unexpected(done.error());
    return Tap(std::move(fd), name);
}

Result<void> Tap::accept_strays() const {
    const std::string v4 = "/proc/sys/net/ipv4/conf/" + name_ + "/", v6 = "/proc/sys/net/ipv6/conf/" + name_ + "/";
    if (auto done = set_sysctl(v4 + "rp_filter", "0"); !done) return done;
    if (access(v6.c_str(), F_OK) != 0) return {};  // without IPv6
    for (const char* setting : {"accept_ra", "accept_dad", "autoconf"})
        if (auto done = set_sysctl(v6 + setting, "0"); !done) return done;
    return set_sysctl(v6 + "addr_gen_mode", "1");
}

bool Tap::write(rte_mbuf* frame) const {
    std::array<iovec, 8> parts;
    int count = 0;
    for (const rte_mbuf* part = frame; part; part = part->next) {
        if (count == static_cast<int>(parts.size())) return false;
        parts[static_cast<std::size_t>(count++)] = {rte_pktmbuf_mtod(part, void*), rte_pktmbuf_data_len(part)};
    }
    return writev(fd_.get(), parts.data(), count) == static_cast<ssize_t>(rte_pktmbuf_pkt_len(frame));
}

rte_mbuf* Tap::read(rte_mempool* pool) const {
    rte_mbuf* frame = rte_pktmbuf_alloc(pool);
    if (!frame) return nullptr;
    const ssize_t length = ::read(fd_.get(), rte_pktmbuf_mtod(frame, void*), rte_pktmbuf_tailroom(frame));
    if (length > 0) {
        rte_pktmbuf_append(frame, static_cast<std::uint16_t>(length));
        return frame;
    }
    rte_pktmbuf_free(frame);
    return nullptr;
}

void Tap::set_carrier(bool up) {
    if (carrier_ == up) return;
    carrier_ = up;
    int carrier = up;
    ioctl(fd_.get(), TUNSETCARRIER, &carrier);
}

}  // namespace fairlead::engine
