// SPDX-License-Identifier: Apache-2.0
// Any bytes are a config or have a fault with a position: never both, never neither, never a crash.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "ctl/config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto result =
        fairlead::config::parse_config(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz.toml");
    if (result.config.has_value() == !result.diagnostics.empty()) std::abort();
    for (const auto& diagnostic : result.diagnostics)
        if (diagnostic.line == 0 || diagnostic.column == 0 || diagnostic.message.empty()) std::abort();
    return 0;
}
