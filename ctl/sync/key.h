// SPDX-License-Identifier: Apache-2.0
// The secret that the nodes of a fleet share for the state sync.
#pragma once

#include <filesystem>

#include "ctl/sync/session.h"
#include "dataplane/tables/result.h"

namespace fairlead::sync {

// From a file of 64 hexadecimal digits that only its owner may read. It is never made here: all nodes need the same. The
// error says what to do, and never quotes the contents.
Result<Key> load_key(const std::filesystem::path& file);

}  // namespace fairlead::sync
