// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

namespace fairlead::sync {
namespace {

class SyncKeyFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "sync-key-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
        file_ = folder_ / "sync.key";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    void write(const std::string& text, mode_t mode = 0600) {
        std::ofstream(file_) << text;
        ASSERT_EQ(chmod(file_.c_str(), mode), 0);
    }
    std::filesystem::path folder_, file_;
    const std::string digits_ = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
};

TEST_F(SyncKeyFile, IsRead) {
    for (const auto* end : {"", "\n", "\r\n"}) {
        write(digits_ + end);
        const auto key = load_key(file_);
        ASSERT_TRUE(key.has_value()) << key.error().message;
        for (std::size_t i = 0; i < key->bytes.size(); ++i) EXPECT_EQ(key->bytes[i], i);
    }
}

TEST_F(SyncKeyFile, IsNeverMadeAndTheErrorSaysHow) {
    const auto key = load_key(file_);
    ASSERT_FALSE(key.has_value());
    EXPECT_EQ(key.error().code, ENOENT);
    for (const auto* part : {"sync key", "openssl rand -hex 32", "all nodes"})
        EXPECT_NE(key.error().message.find(part), std::string::npos) << key.error().message;
    EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(SyncKeyFile, OtherReadersAreRefused) {
    for (const mode_t mode : {0640, 0604, 0620, 0666}) {
        write(digits_, mode);
        const auto key = load_key(file_);
        ASSERT_FALSE(key.has_value()) << std::oct << mode;
        EXPECT_EQ(key.error().code, EPERM);
        EXPECT_NE(key.error().message.find("chmod 600"), std::string::npos) << key.error().message;
    }
}

TEST_F(SyncKeyFile, BadContentIsRefusedAndNeverQuoted) {
    for (const auto& text : {std::string(), digits_.substr(1), digits_ + "0", "x" + digits_.substr(1),
                             digits_.substr(0, 32), digits_ + "\nmore", digits_ + std::string(32, ' ')}) {
        write(text);
        const auto key = load_key(file_);
        ASSERT_FALSE(key.has_value()) << text;
        EXPECT_EQ(key.error().code, EINVAL);
        EXPECT_NE(key.error().message.find("64 hexadecimal digits"), std::string::npos) << key.error().message;
        EXPECT_EQ(key.error().message.find("0203040506"), std::string::npos) << key.error().message;
    }
}

}  // namespace
}  // namespace fairlead::sync
