// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/key.h"

#include "ctl/config/key_file.h"

namespace fairlead::sync {

Result<Key> load_key(const std::filesystem::path& file) {
    Key key;
    auto read = config::read_key_file(file, "sync key", key.bytes);
    if (read) return key;
    if (read.error().code == ENOENT)
        read.error().message += "; make one with (umask 077; openssl rand -hex 32 > " + file.string() +
                                ") and copy it to all nodes: they need the same";
    return tl::unexpected(read.error());
}

}  // namespace fairlead::sync
