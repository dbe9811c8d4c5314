// SPDX-License-Identifier: Apache-2.0
#include "ctl/instance.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

TEST(Instance, PathsFollowTheName) {
    const auto paths = InstancePaths::of(kDefaultInstance);
    ASSERT_TRUE(paths.has_value());
    EXPECT_EQ(paths->name, "default");
    EXPECT_EQ(paths->tables, "/sys/fs/bpf/fairlead/default");
    EXPECT_EQ(paths->socket, "/run/fairlead/default.sock");
    EXPECT_EQ(paths->lock, "/run/fairlead/default.lock");
    EXPECT_EQ(paths->state, "/var/lib/fairlead/default.json");
}

TEST(Instance, NamesThatAFileMayHave) {
    for (const auto& name : {std::string("a"), std::string("edge-1"), std::string("EDGE_2"), std::string(48, 'x')})
        EXPECT_TRUE(InstancePaths::of(name).has_value()) << name;
    for (const auto& name : {std::string(), std::string(49, 'x'), std::string("a.b"), std::string(".."),
                             std::string("a/b"), std::string("a b"), std::string("a\n"), std::string("a\0b", 3),
                             std::string("gr\xc3\xbc\xc3\x9f"), std::string("a:b")}) {
        const auto paths = InstancePaths::of(name);
        ASSERT_FALSE(paths.has_value()) << name;
        EXPECT_EQ(paths.error().code, EINVAL);
    }
}

}  // namespace
}  // namespace fairlead
