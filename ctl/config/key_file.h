// SPDX-License-Identifier: Apache-2.0
// A secret in a file, as hexadecimal digits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "dataplane/tables/result.h"

namespace fairlead::config {

// The file holds two digits a byte of `key`, white space after them at most, and may be readable by its owner only: a key
// that others can read is no secret. `what`: "hash key". The error never quotes the contents.
Result<void> read_key_file(const std::filesystem::path& file, std::string_view what, std::span<std::uint8_t> key);

}  // namespace fairlead::config
