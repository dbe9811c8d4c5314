// SPDX-License-Identifier: Apache-2.0
// An enum from a list X(symbol, "name", "text for people"), with the names and texts that belong to it. A list is a macro
// that applies X to each of its rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fairlead::ha {

struct EnumText {
    std::string_view name;
    std::string_view text;
};

}  // namespace fairlead::ha

#define FAIRLEAD_ENUM_SYMBOL(symbol, name, text) symbol,
#define FAIRLEAD_ENUM_TEXT(symbol, name, text) ::fairlead::ha::EnumText{name, text},

// `Enum` counted from 0, to_string() for the name and `text_function`() for the text; k`Enum`Texts has as many rows.
#define FAIRLEAD_NAMED_ENUM(Enum, LIST, text_function)                                                                \
    enum class Enum : std::uint8_t { LIST(FAIRLEAD_ENUM_SYMBOL) };                                                    \
    inline constexpr auto k##Enum##Texts = std::to_array<::fairlead::ha::EnumText>({LIST(FAIRLEAD_ENUM_TEXT)});       \
    inline std::string_view to_string(Enum value) { return k##Enum##Texts.at(static_cast<std::size_t>(value)).name; } \
    inline std::string_view text_function(Enum value) {                                                               \
        return k##Enum##Texts.at(static_cast<std::size_t>(value)).text;                                               \
    }
