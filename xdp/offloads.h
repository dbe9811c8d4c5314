// SPDX-License-Identifier: Apache-2.0
// The receive offloads of an interface that hide from an XDP program what was on the wire (DESIGN section 10): LRO and
// GRO glue packets together, VLAN stripping takes the tag out of the frame. Looks and changes by ethtool's ioctl, in
// the calling thread's network namespace; changing needs CAP_NET_ADMIN.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/core/layout.h"
#include "dataplane/tables/result.h"

namespace fairlead::xdp {

// Those of FL_FEATURE_* that are on. An offload that the driver does not know is off.
Result<std::uint32_t> read_features(const std::string& ifname);

// Switches each of `features` (FL_FEATURE_*) on or off. Tries all of them; returns those that did not obey.
Result<std::uint32_t> set_features(const std::string& ifname, std::uint32_t features, bool on);

// What must be off for a program attached in this mode.
constexpr std::uint32_t unwanted_features(fl_engine_kind mode) {
    return FL_FEATURE_LRO | FL_FEATURE_RXVLAN | (mode == FL_ENGINE_XDP_GENERIC ? FL_FEATURE_GRO : 0);
}

// "LRO, VLAN stripping" for people; "" for none.
std::string feature_names(std::uint32_t features);

}  // namespace fairlead::xdp
