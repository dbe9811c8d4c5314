// SPDX-License-Identifier: Apache-2.0
// The 128-bit secret of the flow hash (DESIGN section 5 step 5): read from its file, made once if there is none.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

#include "dataplane/tables/result.h"

namespace fairlead {

struct HashKey {
    std::array<std::uint8_t, 16> bytes{};
    bool created = false;  // by this call
};

// The file holds 32 hex digits and may be readable by its owner only; another mode is an error, because a key that
// others can read is no secret. The error never quotes the contents.
Result<HashKey> load_or_create_hash_key(const std::filesystem::path& file);

}  // namespace fairlead
