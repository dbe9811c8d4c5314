// SPDX-License-Identifier: Apache-2.0
// A hash of a name that is the same in every build, on every machine, for ever: nodes of a fleet compute equal
// steering tables from it (DESIGN section 6). SipHash-2-4 (Aumasson and Bernstein, 2012) over the bytes of the name.
#pragma once

#include <cstdint>
#include <string_view>

namespace fairlead::plan {

struct NameHashKey {
    std::uint64_t k0 = 0;  // bytes 0 to 7 of the paper's key, little-endian
    std::uint64_t k1 = 0;
};

std::uint64_t name_hash(std::string_view name, const NameHashKey& key);

}  // namespace fairlead::plan
