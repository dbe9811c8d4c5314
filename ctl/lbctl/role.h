// SPDX-License-Identifier: Apache-2.0
// `lbctl role` while lbd is not there: the program that decides must be able to move VIPs all the same. The config says
// that it is another program's business, and which groups there are; the words are stored in the pinned tables, and the
// VIPs announced once. What was stored is adopted by the next lbd. One thread.
#pragma once

#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/tables.h"

namespace fairlead::lbctl {

struct RoleTarget {
    std::string group;
    std::uint32_t role = 0;
    std::vector<IpAddress> vips;  // those that the tables have with that role
};

// The groups that are meant: `group`, or all where it is empty. Refused unless `config` has mode = "external", for else
// lbd alone writes the words, and unless the tables have VIPs of each.
Result<std::vector<RoleTarget>> role_targets(const config::Config& config, const tables::Tables& tables,
                                             const std::string& group);

// Stores the words, and announces what became active on each interface. The lines say what was done.
std::vector<std::string> store_roles(tables::Tables& tables, const std::vector<RoleTarget>& targets, bool active);

}  // namespace fairlead::lbctl
