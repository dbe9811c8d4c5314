// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/hash_key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>
#include <thread>

namespace fairlead {
namespace {
constexpr const char* kDigits = "000102030405060708090a0b0c0d0e0F";

class HashKeyFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "hash-key-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
        file_ = folder_ / "hash.key";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    void write(const std::string& text, mode_t mode = 0600) {
        std::ofstream(file_) << text;
        ASSERT_EQ(chmod(file_.c_str(), mode), 0);
    }
    std::string contents() const {
        std::ifstream in(file_);
        return {std::istreambuf_iterator<char>(in), {}};
    }

    std::filesystem::path folder_, file_;
};

TEST_F(HashKeyFile, IsMadeOnceAndUsedAgain) {
    const auto first = load_or_create_hash_key(file_);
    ASSERT_TRUE(first.has_value()) << first.error().message;
    EXPECT_TRUE(first->created);
    struct stat status{};
    ASSERT_EQ(stat(file_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    const auto text = contents();
    EXPECT_EQ(text.size(), 33U);
    const auto second = load_or_create_hash_key(file_);
    ASSERT_TRUE(second.has_value());
    EXPECT_FALSE(second->created);
    EXPECT_EQ(second->bytes, first->bytes);
    EXPECT_EQ(contents(), text);
}

TEST_F(HashKeyFile, TwoAreNotEqual) {
    const auto one = load_or_create_hash_key(folder_ / "one"), two = load_or_create_hash_key(folder_ / "two");
    EXPECT_NE(one->bytes, two->bytes);
    EXPECT_NE(one->bytes, HashKey{}.bytes);
}

TEST_F(HashKeyFile, ModeIsNotLeftToTheUmask) {
    const auto old = umask(0);
    ASSERT_TRUE(load_or_create_hash_key(folder_ / "deep/er/hash.key").has_value()) << "folders are made";
    umask(old);
    struct stat status{};
    ASSERT_EQ(stat((folder_ / "deep/er/hash.key").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
}

TEST_F(HashKeyFile, ReadsWhatAnOperatorWrote) {
    for (const auto* end : {"", "\n", "\r\n", " \n"}) {
        write(kDigits + std::string(end));
        const auto key = load_or_create_hash_key(file_);
        ASSERT_TRUE(key.has_value()) << key.error().message;
        for (std::size_t i = 0; i < key->bytes.size(); ++i) EXPECT_EQ(key->bytes[i], i);
        EXPECT_FALSE(key->created);
    }
}

TEST_F(HashKeyFile, OtherReadersAreRefused) {
    for (const mode_t mode : {0644, 0640, 0604, 0610, 0666}) {
        write(kDigits, mode);
        const auto key = load_or_create_hash_key(file_);
        ASSERT_FALSE(key.has_value()) << std::oct << mode;
        EXPECT_EQ(key.error().code, EPERM);
        EXPECT_NE(key.error().message.find("chmod 600"), std::string::npos);
        EXPECT_EQ(key.error().message.find("0102030405"), std::string::npos);
    }
}

TEST_F(HashKeyFile, BadContentIsRefusedAndNeverQuoted) {
    const std::string digits = kDigits;
    for (const auto& text : {std::string(), std::string("\n"), digits.substr(1), digits + "0", "x" + digits.substr(1),
                             digits + "\nmore", "0x" + digits.substr(2), digits + std::string(40, ' ') + "more",
                             std::string(200, 'a'), digits.substr(0, 30)}) {
        write(text);
        const auto key = load_or_create_hash_key(file_);
        ASSERT_FALSE(key.has_value()) << text;
        EXPECT_EQ(key.error().code, EINVAL);
        EXPECT_NE(key.error().message.find(file_.string()), std::string::npos);
        EXPECT_EQ(key.error().message.find("0203040506"), std::string::npos) << key.error().message;
        EXPECT_EQ(contents(), text) << "a file that is there is never replaced";
    }
}

TEST_F(HashKeyFile, FolderInItsPlace) {
    std::filesystem::create_directory(file_);
    ASSERT_EQ(chmod(file_.c_str(), 0700), 0);
    EXPECT_FALSE(load_or_create_hash_key(file_).has_value());
}

// Of many that find no file at once, all come away with the one key, and nothing else is left behind.
TEST_F(HashKeyFile, ConcurrentCreatorsAgree) {
    for (int round = 0; round < 50; ++round) {
        std::filesystem::remove(file_);
        constexpr std::size_t kCreators = 4;
        std::array<Result<HashKey>, kCreators> keys;
        std::atomic<std::size_t> ready{0};
        std::vector<std::thread> threads;
        for (auto& key : keys)
            threads.emplace_back([&] {
                ++ready;
                while (ready < kCreators) std::this_thread::yield();
                key = load_or_create_hash_key(file_);
            });
        for (auto& thread : threads) thread.join();
        for (const auto& key : keys) {
            ASSERT_TRUE(key.has_value()) << key.error().message;
            EXPECT_EQ(key->bytes, keys[0]->bytes);
        }
    }
    std::set<std::string> left;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) left.insert(entry.path().filename());
    EXPECT_EQ(left, std::set<std::string>{"hash.key"});
}

}  // namespace
}  // namespace fairlead
