// SPDX-License-Identifier: Apache-2.0
// Unsigned numbers in network order, in bytes whose length the caller has checked.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace fairlead::wire {

template <std::unsigned_integral Number>
void put(std::span<std::uint8_t> bytes, std::size_t at, Number number) {
    for (auto& byte : bytes.subspan(at, sizeof number)) {
        byte = static_cast<std::uint8_t>(number >> (8 * (sizeof number - 1)));
        number = static_cast<Number>(std::uint64_t{number} << 8);
    }
}

template <std::unsigned_integral Number>
Number get(std::span<const std::uint8_t> bytes, std::size_t at) {
    std::uint64_t number = 0;
    for (const auto byte : bytes.subspan(at, sizeof(Number))) number = number << 8 | byte;
    return static_cast<Number>(number);
}

}  // namespace fairlead::wire
