// SPDX-License-Identifier: Apache-2.0
#include "xdp/offloads.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "dataplane/tables/unique_fd.h"

namespace fairlead::xdp {
namespace {

// One ethtool command with one number as its argument and answer. 0 or a positive errno.
int ethtool(const UniqueFd& socket, const std::string& ifname, std::uint32_t command, std::uint32_t& value) {
    ethtool_value request{command, value};
    ifreq frame{};
    std::strncpy(frame.ifr_name, ifname.c_str(), IFNAMSIZ - 1);
    frame.ifr_data = reinterpret_cast<char*>(&request);
    if (::ioctl(socket.get(), SIOCETHTOOL, &frame) < 0) return errno;
    value = request.data;
    return 0;
}

struct State {
    std::uint32_t flags = 0;  // ETH_FLAG_*
    std::uint32_t gro = 0;
};

Result<State> read_state(const UniqueFd& socket, const std::string& ifname) {
    State state;
    if (int error = ethtool(socket, ifname, ETHTOOL_GFLAGS, state.flags); error && error != EOPNOTSUPP)
        return fail_errno("offloads of " + ifname, error);
    if (int error = ethtool(socket, ifname, ETHTOOL_GGRO, state.gro); error && error != EOPNOTSUPP)
        return fail_errno("offloads of " + ifname, error);
    return state;
}

std::uint32_t features_of(const State& state) {
    return (state.flags & ETH_FLAG_LRO ? FL_FEATURE_LRO : 0) | (state.gro ? FL_FEATURE_GRO : 0) |
           (state.flags & ETH_FLAG_RXVLAN ? FL_FEATURE_RXVLAN : 0);
}

Result<UniqueFd> open_socket() {
    UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return fail_errno("socket", errno);
    return socket;
}

}  // namespace

Result<std::uint32_t> read_features(const std::string& ifname) {
    auto socket = open_socket();
    if (!socket) return tl::unexpected(socket.error());
    return read_state(*socket, ifname).map(features_of);
}

Result<std::uint32_t> set_features(const std::string& ifname, std::uint32_t features, bool on) {
    auto socket = open_socket();
    if (!socket) return tl::unexpected(socket.error());
    // One flag a call: the kernel refuses a set of flags whole when one of them cannot change.
    const std::pair<std::uint32_t, std::uint32_t> kFlags[] = {{FL_FEATURE_LRO, ETH_FLAG_LRO},
                                                              {FL_FEATURE_RXVLAN, ETH_FLAG_RXVLAN}};
    for (const auto& [feature, flag] : kFlags) {
        if (!(features & feature)) continue;
        auto state = read_state(*socket, ifname);
        if (!state) return tl::unexpected(state.error());
        std::uint32_t wanted = on ? state->flags | flag : state->flags & ~flag;
        if (wanted != state->flags) ethtool(*socket, ifname, ETHTOOL_SFLAGS, wanted);
    }
    if (features & FL_FEATURE_GRO) {
        std::uint32_t wanted = on;
        ethtool(*socket, ifname, ETHTOOL_SGRO, wanted);
    }
    // What counts is what stands afterwards: a driver may accept a change and not make it.
    auto state = read_state(*socket, ifname);
    if (!state) return tl::unexpected(state.error());
    return features & (on ? ~features_of(*state) : features_of(*state));
}

std::string feature_names(std::uint32_t features) {
    std::string names;
    auto add = [&](std::uint32_t feature, const char* name) {
        if (features & feature) names += (names.empty() ? "" : ", ") + std::string(name);
    };
    add(FL_FEATURE_LRO, "LRO");
    add(FL_FEATURE_GRO, "GRO");
    add(FL_FEATURE_RXVLAN, "VLAN stripping");
    return names;
}

}  // namespace fairlead::xdp
