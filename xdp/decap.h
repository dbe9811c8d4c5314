// SPDX-License-Identifier: Apache-2.0
// fl_decap on a front-end node: unwraps what the balancers send in IP-in-IP or GUE for the VIPs. Each interface has small
// tables of its own in BASE/decap-IFNAME, and needs no process to go on. Same rules as xdp/loader.h.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tables/address.h"
#include "dataplane/tables/counters.h"
#include "xdp/loader.h"

namespace fairlead::xdp {

inline constexpr const char* kDecapBase = "/sys/fs/bpf/fairlead";

// BASE of an instance: kDecapBase itself for "default", a folder in it for another (network namespaces that share a BPF
// file system, and interface names, need one each).
std::filesystem::path decap_base(const std::string& instance);

struct DecapSpec {
    std::string ifname;
    std::vector<IpPrefix> sources;  // of the outer packets: the balancers; at most FL_MAX_SOURCES
    std::vector<IpAddress> vips;    // of the inner packets
    // Outer destinations: this node's addresses as the balancer's config names them. Default: the interface's first
    // address of the family that is no VIP and not link-local.
    std::optional<IpAddress> node4;
    std::optional<IpAddress> node6;
    std::uint16_t gue_port = 0;  // UDP port that GUE comes to, host order; 0 = IP-in-IP alone is unwrapped
    Mode mode = Mode::kAuto;
};

// Attaches, or changes what is attached to say what `spec` says. Sources and VIPs change without losing a packet;
// another address of the node, or more VIPs than the tables were made for, detach the program for a moment.
Result<Attachment> decap_attach(const DecapSpec& spec, const std::filesystem::path& base = kDecapBase);

// Detaches and removes the tables. ENOENT: nothing is attached.
Result<Detached> decap_detach(const std::string& ifname, const std::filesystem::path& base = kDecapBase);

struct DecapStatus {
    Attached attached;
    std::optional<IpAddress> node4;
    std::optional<IpAddress> node6;
    std::vector<IpPrefix> sources;
    std::vector<IpAddress> vips;
    std::uint16_t gue_port = 0;  // as in DecapSpec
    tables::Counts unwrapped;
    tables::Counts refused;  // for a VIP, from a source that is not listed
    tables::Counts passed;   // everything else, untouched
};

// Every interface that has fl_decap, by name.
Result<std::vector<DecapStatus>> decap_list(const std::filesystem::path& base = kDecapBase);

}  // namespace fairlead::xdp
