// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/hello.h"

#include <algorithm>
#include <optional>

#include "ctl/ha/wire.h"

namespace fairlead::ha {
namespace {

using wire::get;
using wire::put;

constexpr std::array<std::uint8_t, 4> kMagic = {'F', 'L', 'H', 'I'};
constexpr std::size_t kVersionAt = 4, kFlagsAt = 5, kNameLengthAt = 6, kGroupCountAt = 7, kAbiAt = 8, kKeyAt = 12,
                      kDigestAt = 16;
constexpr std::size_t kNameAt = kHelloHeaderBytes;
constexpr std::size_t kGroupsAt = kNameAt + kHelloNameBytes;
constexpr std::uint8_t kAnswer = 1;
constexpr std::uint8_t kMayTakeOver = 1;

bool all_zero(std::span<const std::uint8_t> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

// What the config takes as a name: it goes to terminals and metrics.
bool is_name_character(std::uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == ':';
}

std::optional<HelloGroup> decode_group(std::span<const std::uint8_t> bytes) {
    if (bytes[1] > static_cast<std::uint8_t>(State::kActive) || (bytes[3] & ~kMayTakeOver) != 0) return std::nullopt;
    return HelloGroup{bytes[0], static_cast<State>(bytes[1]), bytes[2], bytes[3] != 0};
}

}  // namespace

HelloBuffer encode_hello(const Hello& hello) {
    HelloBuffer bytes{};
    std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
    const auto name = std::string_view(hello.name).substr(0, kHelloNameBytes - 1);
    const auto groups = std::min(hello.groups.size(), kHelloGroups);
    bytes[kVersionAt] = kHelloVersion;
    bytes[kFlagsAt] = hello.answer ? kAnswer : 0;
    bytes[kNameLengthAt] = static_cast<std::uint8_t>(name.size());
    bytes[kGroupCountAt] = static_cast<std::uint8_t>(groups);
    put(bytes, kAbiAt, hello.abi);
    put(bytes, kKeyAt, hello.key_id);
    put(bytes, kDigestAt, hello.config_digest);
    std::copy(name.begin(), name.end(), bytes.begin() + kNameAt);
    for (std::size_t i = 0; i < groups; ++i) {
        const auto& group = hello.groups[i];
        const auto at = kGroupsAt + i * kHelloGroupBytes;
        bytes.at(at) = group.vrid;
        bytes.at(at + 1) = static_cast<std::uint8_t>(group.state);
        bytes.at(at + 2) = group.priority;
        bytes.at(at + 3) = group.may_take_over ? kMayTakeOver : 0;
    }
    return bytes;
}

tl::expected<Hello, HelloRefusal> decode_hello(std::span<const std::uint8_t> bytes, int ttl) {
    const auto refuse = [](HelloRefusal refusal) { return tl::unexpected(refusal); };
    if (ttl != kHelloTtl) return refuse(HelloRefusal::kTtl);
    if (bytes.size() != kHelloBytes) return refuse(HelloRefusal::kLength);
    if (!std::equal(kMagic.begin(), kMagic.end(), bytes.begin())) return refuse(HelloRefusal::kMagic);
    if (bytes[kVersionAt] != kHelloVersion) return refuse(HelloRefusal::kVersion);
    const std::size_t name_bytes = bytes[kNameLengthAt], groups = bytes[kGroupCountAt];
    if ((bytes[kFlagsAt] & ~kAnswer) != 0 || name_bytes == 0 || name_bytes >= kHelloNameBytes)
        return refuse(HelloRefusal::kContent);
    const auto name = bytes.subspan(kNameAt, name_bytes);
    const auto group_bytes = bytes.subspan(kGroupsAt, groups * kHelloGroupBytes);
    if (!std::all_of(name.begin(), name.end(), is_name_character) ||
        !all_zero(bytes.subspan(kNameAt + name_bytes, kHelloNameBytes - name_bytes)) ||
        !all_zero(bytes.subspan(kGroupsAt + group_bytes.size())))
        return refuse(HelloRefusal::kContent);
    Hello hello{bytes[kFlagsAt] != 0,
                get<std::uint32_t>(bytes, kAbiAt),
                get<std::uint32_t>(bytes, kKeyAt),
                get<std::uint64_t>(bytes, kDigestAt),
                std::string(name.begin(), name.end()),
                {}};
    for (std::size_t i = 0; i < groups; ++i) {
        const auto group = decode_group(group_bytes.subspan(i * kHelloGroupBytes, kHelloGroupBytes));
        if (!group) return refuse(HelloRefusal::kContent);
        hello.groups.push_back(*group);
    }
    return hello;
}

}  // namespace fairlead::ha
