// SPDX-License-Identifier: Apache-2.0
#include "ctl/config/key_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

namespace fairlead::config {
namespace {

constexpr std::size_t kSpaceAfter = 32;  // bytes of line ends and blanks that are looked at

int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// As much of it as `text` has room for; that it does is checked by the caller.
Result<std::string_view> read_secret(const std::filesystem::path& file, std::string_view what, std::span<char> text) {
    const auto name = std::string(what) + " " + file.string();
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno("cannot read the " + name, errno);
    struct stat status{};
    const bool known = fstat(fd, &status) == 0;
    const auto size = read(fd, text.data(), text.size());
    close(fd);
    if (!known || size < 0) return fail("cannot read the " + name, EIO);
    if (status.st_mode & 077)
        return fail(
            file.string() + " holds the " + std::string(what) + " and must be readable by its owner only: chmod 600",
            EPERM);
    return std::string_view(text.data(), static_cast<std::size_t>(size));
}

}  // namespace

Result<void> read_key_file(const std::filesystem::path& file, std::string_view what, std::span<std::uint8_t> key) {
    const auto digits = 2 * key.size();
    std::vector<char> room(digits + kSpaceAfter);
    const auto text = read_secret(file, what, room);
    if (!text) return tl::unexpected(text.error());
    const auto expected = file.string() + ": expected " + std::to_string(digits) + " hexadecimal digits";
    for (std::size_t i = 0; i < digits; ++i) {
        const int value = i < text->size() ? digit_value((*text)[i]) : -1;
        if (value < 0) return fail(expected, EINVAL);
        key[i / 2] = static_cast<std::uint8_t>(key[i / 2] << 4 | value);
    }
    const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
    if (text->size() == room.size() || !std::all_of(text->begin() + digits, text->end(), is_space))
        return fail(expected + " and nothing else", EINVAL);
    return {};
}

}  // namespace fairlead::config
