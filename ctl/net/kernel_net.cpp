// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/kernel_net.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace fairlead::net {

Result<std::unique_ptr<KernelNet>> KernelNet::create() {
    auto monitor = NetlinkMonitor::create();
    if (!monitor) return tl::unexpected(monitor.error());
    auto requests = NetlinkRequests::create();
    if (!requests) return tl::unexpected(requests.error());
    return std::unique_ptr<KernelNet>(new KernelNet(std::move(*monitor), std::move(*requests)));
}

Result<Link> KernelNet::link_by_name(std::string_view name) const {
    const Link* found = model().link(name);
    if (found == nullptr) return fail("there is no interface " + std::string(name), ENODEV);
    return *found;
}

bool KernelNet::is_local(const IpAddress& address) const {
    const auto addresses = model().addresses();
    return std::any_of(addresses.begin(), addresses.end(),
                       [&](const LocalAddress& local) { return local.address == address; });
}

}  // namespace fairlead::net
