// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/hash_key.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "ctl/config/key_file.h"

namespace fairlead {
namespace {
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
    HashKey key;
    if (auto read = config::read_key_file(file, "hash key", key.bytes); !read) return tl::unexpected(read.error());
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
