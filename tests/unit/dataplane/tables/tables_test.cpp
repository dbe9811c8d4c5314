// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/tables.h"

#include <bpf/bpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "dataplane/tables/grace.h"
#include "tests/unit/dataplane/tables/support.h"

namespace fairlead::tables {
namespace {

TEST(Limits, DefaultsHoldWhatTheyPromiseAndStaySmall) {
    const auto limits = default_limits(2);
    ASSERT_OK(check_limits(limits));
    EXPECT_GT(limits.services, 4096U);  // ids start at 1
    EXPECT_EQ(limits.strides, 2U + FL_MAX_WORKERS);
    EXPECT_GE(limits.slots, 1U << 20);
    auto tables = Tables::create_anonymous(limits);
    ASSERT_OK(tables);
    EXPECT_LE(tables->bytes(), 64U << 20);
}

TEST(Limits, LargestAreThoseOfTheDesign) {
    const auto limits =
        limits_for({.vips = ~0U, .services = ~0U, .pools = ~0U, .backends = ~0U, .slots = ~0U, .pins = ~0U}, 4);
    ASSERT_OK(check_limits(limits));
    EXPECT_GT(limits.services, 65536U);
    EXPECT_EQ(limits.backends, 1U << 20);
    EXPECT_EQ(limits.slots, 1U << 24);
    EXPECT_EQ(limits.pins, 1U << 26);
}

// Any shape of pools within the configured numbers has its ranges.
TEST(Limits, BackendsFitWhateverTheirPools) {
    constexpr std::uint32_t kBackends = 300;
    constexpr std::uint32_t kPools = 20;
    const auto limits = limits_for({.pools = kPools, .backends = kBackends}, 1);
    for (std::uint32_t each : {1U, 5U, 9U, 15U}) {
        std::uint32_t needed = 0;
        std::uint32_t left = kBackends;
        for (std::uint32_t p = 0; p < kPools; ++p) {
            const auto here = p + 1 == kPools ? left : std::min(each, left);
            needed += std::max(std::bit_ceil(here), kMinimumBackendRange);
            left -= here;
        }
        EXPECT_LE(needed, limits.backends) << each;
    }
}

TEST(Limits, BadSizesAreNamed) {
    auto limits = default_limits(1);
    limits.services = 1000;  // not a power of two
    auto made = Tables::create_anonymous(limits);
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("'services'"), std::string::npos);
}

TEST(AnonymousTables, CarryTheirHeaderAndTheirSizes) {
    auto tables = test::anonymous();
    EXPECT_EQ(tables.meta().magic, FL_MAGIC);
    EXPECT_EQ(tables.meta().abi, FL_ABI);
    EXPECT_EQ(tables.meta().limits.slots, tables.limits().slots);
    EXPECT_EQ(tables.services().size(), tables.limits().services);
    EXPECT_EQ(tables.slots().size(), tables.limits().slots / FL_SLOTS_PER_LINE);
    EXPECT_EQ(tables.fd(FL_TABLE_slots), -1);
    auto engine = tables.engine();
    EXPECT_EQ(fl_at_services(&engine, 3), &tables.services()[3]);
    EXPECT_EQ(fl_at_services(&engine, tables.limits().services), nullptr);
}

TEST(AnonymousTables, MovingKeepsTheMemory) {
    auto tables = test::anonymous();
    const auto* memory = &tables.memory();
    auto moved = std::move(tables);
    EXPECT_EQ(&moved.memory(), memory);
    EXPECT_EQ(moved.meta().magic, FL_MAGIC);
}

class PinnedTables : public testing::Test {
  protected:
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "needs root: BPF maps are made and pinned";
        folder_ = "/sys/fs/bpf/fairlead-test-" + std::to_string(getpid());
    }
    void TearDown() override {
        if (folder_.empty()) return;
        EXPECT_TRUE(Tables::remove_pinned(Tables::aside(folder_)));
        if (auto removed = Tables::remove_pinned(folder_); !removed) ADD_FAILURE() << removed.error().message;
        std::filesystem::remove(folder_);
    }
    std::filesystem::path folder_;
};

TEST_F(PinnedTables, AreSharedByWhoeverOpensThem) {
    auto made = Tables::create_pinned(folder_, test::small_limits());
    ASSERT_OK(made);
    EXPECT_GE(made->fd(FL_TABLE_slots), 0);
    struct stat info{};
    ASSERT_EQ(stat(folder_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0750U);
    auto opened = Tables::open_pinned(folder_, Access::kReadWrite);
    ASSERT_OK(opened);
    EXPECT_EQ(opened->limits().backends, made->limits().backends);
    store_word(made->roles()[1].active_until_ns, 77);
    EXPECT_EQ(load_word(opened->roles()[1].active_until_ns), 77U);
    // What the kernel's own accessors see is the same: the stride is right.
    const __u32 key = 5;
    fl_vip vip{};
    made->vips()[key].role = 9;
    ASSERT_EQ(bpf_map_lookup_elem(made->fd(FL_TABLE_vips), &key, &vip), 0);
    EXPECT_EQ(vip.role, 9U);
}

TEST_F(PinnedTables, ReadOnlyOpeningSeesAndCannotStore) {
    auto made = Tables::create_pinned(folder_, test::small_limits());
    ASSERT_OK(made);
    auto opened = Tables::open_pinned(folder_, Access::kReadOnly);
    ASSERT_OK(opened);
    store_word(made->roles()[0].active_until_ns, 5);
    EXPECT_EQ(load_word(std::as_const(*opened).roles()[0].active_until_ns), 5U);
    EXPECT_DEATH(store_word(opened->roles()[0].active_until_ns, 6), "");
    test::TestGrace grace;
    EXPECT_FALSE(TableWriter::create(*opened, grace));
}

TEST_F(PinnedTables, SurviveTheirMaker) {
    {
        auto made = Tables::create_pinned(folder_, test::small_limits());
        ASSERT_OK(made);
        store_word(made->roles()[2].active_until_ns, 99);
    }
    auto opened = Tables::open_pinned(folder_, Access::kReadOnly);
    ASSERT_OK(opened);
    EXPECT_EQ(load_word(std::as_const(*opened).roles()[2].active_until_ns), 99U);
}

TEST_F(PinnedTables, FinishedOnesAreNotMadeTwice) {
    ASSERT_OK(Tables::create_pinned(folder_, test::small_limits()));
    auto again = Tables::create_pinned(folder_, test::small_limits());
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, EEXIST);
}

TEST_F(PinnedTables, AnotherLayoutIsRefusedWithWhatToDo) {
    {
        auto made = Tables::create_pinned(folder_, test::small_limits());
        ASSERT_OK(made);
        made->meta().abi = FL_ABI + 1;
    }
    auto opened = Tables::open_pinned(folder_, Access::kReadWrite);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, EPROTO);
    EXPECT_NE(opened.error().message.find("layout " + std::to_string(FL_ABI + 1)), std::string::npos);
    EXPECT_NE(opened.error().message.find("detach --all"), std::string::npos);
    EXPECT_FALSE(Tables::create_pinned(folder_, test::small_limits()));
}

TEST_F(PinnedTables, ALayoutWithoutDirtyBytesIsCarriedFromAndSetAside) {
    {
        auto made = Tables::create_pinned(folder_, test::small_limits());
        ASSERT_OK(made);
        made->meta().abi = FL_ABI_DIRTY - 1;
        unlink((folder_ / "dirty").c_str());
    }
    EXPECT_FALSE(Tables::open_pinned(folder_, Access::kReadWrite));
    {
        auto old = Tables::open_to_carry(folder_);
        ASSERT_OK(old);
        EXPECT_TRUE(old->dirty().empty());
        EXPECT_FALSE(old->pins().empty());
    }
    ASSERT_OK(Tables::set_aside(folder_));
    ASSERT_OK(Tables::open_to_carry(Tables::aside(folder_)));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "meta"));
    ASSERT_OK(Tables::create_pinned(folder_, test::small_limits()));
    ASSERT_OK(Tables::open_pinned(folder_, Access::kReadWrite));
}

TEST_F(PinnedTables, ATableThatItsLayoutHasMayNotBeMissing) {
    ASSERT_OK(Tables::create_pinned(folder_, test::small_limits()));
    unlink((folder_ / "dirty").c_str());
    EXPECT_FALSE(Tables::open_to_carry(folder_));
    EXPECT_FALSE(Tables::set_aside(folder_));
}

TEST_F(PinnedTables, SizesThatContradictTheHeaderAreRefused) {
    {
        auto made = Tables::create_pinned(folder_, test::small_limits());
        ASSERT_OK(made);
        made->meta().limits.slots *= 2;
    }
    auto opened = Tables::open_pinned(folder_, Access::kReadWrite);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, EPROTO);
}

TEST_F(PinnedTables, HalfMadeOnesAreRecognisedAndReplaced) {
    auto limits = test::small_limits();
    {
        auto made = Tables::create_pinned(folder_, limits);
        ASSERT_OK(made);
        made->meta().magic = 0;  // its maker died before the last store
        unlink((folder_ / "rings").c_str());
    }
    auto opened = Tables::open_pinned(folder_, Access::kReadWrite);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, EUCLEAN);
    limits.slots *= 2;
    ASSERT_OK(Tables::create_pinned(folder_, limits));
    opened = Tables::open_pinned(folder_, Access::kReadWrite);
    ASSERT_OK(opened);
    EXPECT_EQ(opened->limits().slots, limits.slots);
}

TEST_F(PinnedTables, HalfMadeWithoutAHeaderToo) {
    ASSERT_OK(Tables::create_pinned(folder_, test::small_limits()));
    unlink((folder_ / "meta").c_str());
    auto opened = Tables::open_pinned(folder_, Access::kReadWrite);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, EUCLEAN);
    ASSERT_OK(Tables::create_pinned(folder_, test::small_limits()));
}

TEST_F(PinnedTables, RemovingLeavesOtherPinsAlone) {
    auto made = Tables::create_pinned(folder_, test::small_limits());
    ASSERT_OK(made);
    const auto other = folder_ / "link_of_somebody";
    ASSERT_EQ(bpf_obj_pin(made->fd(FL_TABLE_roles), other.c_str()), 0);
    ASSERT_OK(Tables::remove_pinned(folder_));
    EXPECT_TRUE(std::filesystem::exists(other));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "meta"));
    unlink(other.c_str());
    ASSERT_OK(Tables::remove_pinned(folder_));
    EXPECT_FALSE(std::filesystem::exists(folder_));
    auto opened = Tables::open_pinned(folder_, Access::kReadOnly);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, ENOENT);
    ASSERT_OK(Tables::remove_pinned(folder_));
}

TEST_F(PinnedTables, OldOnesAreSetAsideWhileNewOnesAreMade) {
    {
        auto made = Tables::create_pinned(folder_, test::small_limits());
        ASSERT_OK(made);
        made->meta().config_digest = 7;
    }
    ASSERT_OK(Tables::set_aside(folder_));
    EXPECT_FALSE(Tables::open_pinned(folder_, Access::kReadOnly));
    ASSERT_OK(Tables::create_pinned(folder_, test::small_limits()));
    auto old = Tables::open_to_carry(Tables::aside(folder_));
    ASSERT_OK(old);
    EXPECT_EQ(old->meta().config_digest, 7U);
    ASSERT_OK(Tables::remove_pinned(folder_));
    ASSERT_OK(Tables::open_to_carry(Tables::aside(folder_)));
    ASSERT_OK(Tables::remove_pinned(Tables::aside(folder_)));
    ASSERT_OK(Tables::remove_pinned(folder_));
    EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(PinnedTables, TheKernelsGracePeriodEnds) {
    auto made = Tables::create_pinned(folder_, test::small_limits());
    ASSERT_OK(made);
    auto grace = make_grace(*made);
    ASSERT_OK(grace);
    for (int i = 0; i < 3; ++i) ASSERT_OK((*grace)->wait());
}

TEST_F(PinnedTables, TheWriterWorksOnThemAndANewOneGoesOn) {
    const auto desired = test::smallest();
    {
        auto made = Tables::create_pinned(folder_, test::small_limits());
        ASSERT_OK(made);
        auto grace = make_grace(*made);
        ASSERT_OK(grace);
        auto writer = TableWriter::create(*made, **grace);
        ASSERT_OK(writer);
        ASSERT_OK(writer->apply(desired, test::round_robin(desired)));
    }
    auto opened = Tables::open_pinned(folder_, Access::kReadWrite);
    ASSERT_OK(opened);
    auto grace = make_grace(*opened);
    ASSERT_OK(grace);
    auto writer = TableWriter::create(*opened, **grace);
    ASSERT_OK(writer);
    auto report = writer->apply(desired, test::round_robin(desired));
    ASSERT_OK(report);
    EXPECT_FALSE(report->any());
    EXPECT_EQ(test::as_desired(*opened), test::sorted(desired));
}

TEST(EnsureBpffs, ElsewhereIsRefusedWithWhatToDo) {
    auto made = ensure_bpffs("/tmp/fairlead-not-bpffs");
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("mount -t bpf"), std::string::npos);
}

}  // namespace
}  // namespace fairlead::tables
