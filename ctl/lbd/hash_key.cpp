// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/hash_key.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

namespace fairlead {
namespace {
constexpr std::size_t kDigits = 32;

int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Written beside and linked into place: a crash leaves no half key, and of two starters one wins.
Result<void> create_file(const std::filesystem::path& file) {
    std::array<std::uint8_t, 16> bytes{};
    if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        return fail_errno("no random bytes for the hash key", errno);
    std::string text;
    for (const auto byte : bytes) {
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    text += '\n';
    std::error_code ignored;
    std::filesystem::create_directories(file.parent_path(), ignored);
    auto draft = file.string() + ".XXXXXX";
    const int fd = mkostemp(draft.data(), O_CLOEXEC);  // mode 0600
    if (fd < 0) return fail_errno("cannot create " + draft, errno);
    const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
    const int write_error = errno;
    close(fd);
    const bool linked = written && (link(draft.c_str(), file.c_str()) == 0 || errno == EEXIST);
    const int link_error = errno;
    unlink(draft.c_str());
    if (!written) return fail_errno("cannot write " + draft, write_error);
    if (!linked) return fail_errno("cannot create " + file.string(), link_error);
    return {};
}

Result<HashKey> read_file(const std::filesystem::path& file) {
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno("cannot read the hash key " + file.string(), errno);
    struct stat status{};
    std::array<char, 64> text{};
    const bool known = fstat(fd, &status) == 0;
    const auto size = read(fd, text.data(), text.size());
    close(fd);
    if (!known || size < 0) return fail("cannot read the hash key " + file.string(), EIO);
    if (status.st_mode & 077)
        return fail(file.string() + " holds the hash key and must be readable by its owner only: chmod 600", EPERM);
    HashKey key;
    for (std::size_t i = 0; i < kDigits; ++i) {
        const int value = i < static_cast<std::size_t>(size) ? digit_value(text[i]) : -1;
        if (value < 0) return fail(file.string() + ": expected 32 hexadecimal digits", EINVAL);
        key.bytes[i / 2] = static_cast<std::uint8_t>(key.bytes[i / 2] << 4 | value);
    }
    const auto is_space = [](unsigned char c) { return std::isspace(c); };
    if (static_cast<std::size_t>(size) == text.size() ||
        !std::all_of(text.begin() + kDigits, text.begin() + size, is_space))
        return fail(file.string() + ": expected 32 hexadecimal digits and nothing else", EINVAL);
    return key;
}
}  // namespace

Result<HashKey> load_or_create_hash_key(const std::filesystem::path& file) {
    if (access(file.c_str(), F_OK) == 0) return read_file(file);
    if (auto created = create_file(file); !created) return tl::unexpected(created.error());
    auto key = read_file(file);
    if (key) key->created = true;
    return key;
}

}  // namespace fairlead
