// SPDX-License-Identifier: Apache-2.0
// Where an instance keeps its things (DESIGN section 12). lbd and lbctl agree by this file alone.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>

#include "dataplane/tables/result.h"

namespace fairlead {

struct InstancePaths {
    std::string name;
    std::filesystem::path tables;  // folder in the BPF file system: the tables, the program's link and devices
    std::filesystem::path socket;  // control API
    std::filesystem::path lock;    // held by the one lbd of this instance
    std::filesystem::path state;   // run-time state
    std::filesystem::path engine;  // held by the one lb-dpdk of this instance, its pid within

    // A name becomes a file's name in four places: letters, digits, '-' and '_', at most 48 (the BPF file system takes no dots).
    static Result<InstancePaths> of(const std::string& name) {
        const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; };
        if (name.empty() || name.size() > 48 || !std::all_of(name.begin(), name.end(), allowed))
            return fail("instance '" + name + "': expected 1 to 48 letters, digits, '-' or '_'", EINVAL);
        const std::filesystem::path run = "/run/fairlead";
        return InstancePaths{name,
                             std::filesystem::path("/sys/fs/bpf/fairlead") / name,
                             run / (name + ".sock"),
                             run / (name + ".lock"),
                             std::filesystem::path("/var/lib/fairlead") / (name + ".json"),
                             run / (name + "-dpdk.lock")};
    }
};

// What a node is called where nobody says otherwise.
inline std::string host_name() {
    std::array<char, 256> name{};
    return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

inline constexpr const char* kDefaultInstance = "default";
inline constexpr const char* kDefaultConfig = "/etc/fairlead/fairlead.toml";

}  // namespace fairlead
