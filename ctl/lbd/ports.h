// SPDX-License-Identifier: Apache-2.0
// The ports table (dataplane/core/layout.h, struct fl_port), kept in step with links: a port for each interface that
// carries the program (a bond: for each of its slaves), and one for each other way out that backends need: a VLAN behind
// an interface, or a bond by whichever slave is active. A number means the same over a restart of lbd, for next hops and
// the program that runs name it. Pure but for the tables; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/net/types.h"
#include "dataplane/tables/writer.h"

namespace fairlead {

class PortTable {
  public:
    // An interface that carries the program.
    struct Device {
        std::uint32_t number = 0;
        std::string ifname;
        std::uint32_t ifindex = 0;                         // 0: it is gone
        std::optional<std::uint16_t> vlan = std::nullopt;  // that VIPs are on there, as config::Interface says it
        std::string bond{};                                // whose slave it is
        bool tap = false;                                  // made by a process: by lb-dpdk, for a NIC that DPDK has
        auto operator<=>(const Device&) const = default;
    };

    // `writer` must outlive this, and nobody else may set ports.
    PortTable(tables::TableWriter& writer, std::vector<config::Interface> interfaces);

    // Brings the table in step with all links there are. ENODEV: an interface is not there, or a bond has no slaves;
    // what can be done is done all the same.
    Result<void> update(const std::vector<net::Link>& links);

    const std::vector<Device>& devices() const { return devices_; }
    // Those of the config that are there, a bond as itself.
    std::set<std::uint32_t> interfaces() const;

    // The port of frames that leave by one of interfaces(), on a VLAN (0: untagged), or with the tags that they came
    // with. Made when first asked for. 0: the interface is not one of ours, or the table is full.
    std::uint32_t way_out(std::uint32_t ifindex, std::optional<std::uint16_t> vlan);
    // What way_out() made and is not among these is released; no next hop may name it any more.
    void keep_only(const std::set<std::uint32_t>& numbers);
    // Releases what an lbd before this one made and this one did not ask for. When no next hop of that lbd is named by
    // a backend any more.
    void forget_adopted();

  private:
    struct Interface {
        config::Interface config;
        std::uint16_t bond = 0;           // number of the bond, of our own counting; 0: none
        const net::Link* link = nullptr;  // within links_
        std::uint32_t active = 0;         // port of the device that frames leave by
    };
    using WayKey = std::pair<std::size_t, std::optional<std::uint16_t>>;  // place of the interface, VLAN

    Result<void> update_interface(Interface& interface);
    Result<void> update_device(const Interface& interface, const net::Link& link);
    Result<void> write_device(const Interface& interface, const net::Link& link, std::uint32_t number);
    void write_way(const WayKey& key, std::uint32_t number);
    void choose_active(Interface& interface, const std::vector<const net::Link*>& devices);
    std::uint64_t way_of(const WayKey& key) const;
    const net::Link* vlan_device(const Interface& interface, std::uint16_t vlan) const;
    std::uint32_t number_of_device(const std::string& name) const;
    std::uint32_t adopt_way(const WayKey& key);
    std::uint32_t free_number() const;

    tables::TableWriter& writer_;
    std::vector<Interface> interfaces_;
    std::vector<net::Link> links_;
    std::vector<Device> devices_;
    std::map<WayKey, std::uint32_t> ways_;
    std::set<std::uint32_t> adopted_;  // ways that were there when this began, and were not asked for yet
};

}  // namespace fairlead
