// SPDX-License-Identifier: Apache-2.0
// What `lbctl capture` is to show, from words such as "vip 192.0.2.10 backend master reason too_big" to what the engines
// compare packets with. Pure.
#pragma once

#include <string>
#include <vector>

#include "dataplane/tables/result.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::lbctl {

// Words in pairs, each key once, in any order; all must hold for a packet:
//   vip ADDRESS   client ADDRESS[/LENGTH]   port NUMBER   protocol tcp|udp|icmp|icmpv6   pool NAME   backend NAME
//   verdict forward|local|pass|answer|drop|unwrap   reason NAME
// Names are those of the snapshot. EINVAL: the message says which word is wrong, and what was expected.
Result<fl_capture_filter> parse_filter(const std::vector<std::string>& words, const tables::Snapshot& snapshot);

// Of a decision's action: the words after "verdict".
std::string_view verdict_name(std::uint8_t action);

}  // namespace fairlead::lbctl
