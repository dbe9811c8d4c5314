// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/carry_over.h"

#include <gtest/gtest.h>

#include "dataplane/tables/limits.h"

namespace fairlead::tables {
namespace {

constexpr std::uint8_t kTcp = 6;

IpAddress address(int last) { return IpAddress::parse("198.51.100." + std::to_string(last)).value(); }

Desired world(std::initializer_list<int> backends, std::uint32_t slots) {
    Desired desired;
    desired.vips.push_back({.address = address(200)});
    DesiredPool pool{.name = "web", .flags = 0, .slots = slots, .idle_timeout_s = 60, .backends = {}};
    for (const int i : backends) pool.backends.push_back({.name = "b" + std::to_string(i), .address = address(i)});
    desired.pools.push_back(std::move(pool));
    desired.services.push_back({"web", address(200), 80, kTcp, "web"});
    return desired;
}

struct Side {
    explicit Side(const Desired& desired, std::uint32_t pins)
        : tables(std::move(*Tables::create_anonymous(
              limits_for({.vips = 4, .services = 4, .pools = 4, .backends = 64, .slots = 256, .pins = pins}, 2)))),
          grace(make_grace(tables).value()),
          writer(std::move(*TableWriter::create(tables, *grace))) {
        EXPECT_TRUE(writer.apply(desired));
        pool = writer.find_pool("web").value();
    }
    std::uint16_t local(const char* name) const { return writer.find_backend(pool, name).value(); }
    std::uint32_t global(const char* name) const { return writer.global_index(pool, local(name)); }
    std::uint32_t word(std::uint32_t slot) const { return writer.slots_of(pool).words[slot]; }

    Tables tables;
    std::unique_ptr<GracePeriod> grace;
    TableWriter writer;
    std::uint32_t pool = 0;
};

std::uint64_t count_pins(const Tables& tables, std::uint64_t word) {
    std::uint64_t found = 0;
    for (const auto& bucket : tables.pins())
        for (const auto place : bucket.words) found += place == word;
    return found;
}

TEST(CarryOver, SlotsGoByTheNamesOfTheirBackends) {
    Side old(world({1, 2, 3}, 16), 64);
    const auto a = old.local("b1"), b = old.local("b2"), c = old.local("b3");
    ASSERT_TRUE(old.writer.change_slots(old.pool,
                                        std::vector<SlotChange>{{0, FL_SLOT_SETTLED(c)},
                                                                {1, FL_SLOT_WORD(c, b, 1, 1)},
                                                                {2, FL_SLOT_WORD(b, a, 1, 0)},
                                                                {3, FL_SLOT_WORD(a, b, 1, 0)}},
                                        1));
    Side now(world({9, 3, 2}, 32), 64);  // b1 is gone, and all indexes are others
    const CarryOver carry(old.tables);
    ASSERT_TRUE(carry.slots(now.writer));
    const auto b_now = now.local("b2"), c_now = now.local("b3");
    for (const std::uint32_t copy : {0U, 16U}) {
        EXPECT_EQ(now.word(copy + 0), FL_SLOT_SETTLED(c_now));
        EXPECT_EQ(now.word(copy + 1), FL_SLOT_WORD(c_now, b_now, 1, 1));
        EXPECT_EQ(now.word(copy + 2), FL_SLOT_WORD(b_now, b_now, 1, 0)) << "a previous owner that is gone is forgotten";
        EXPECT_EQ(now.word(copy + 3), FL_SLOT_WORD(FL_NO_BACKEND, b_now, 1, 0));
        EXPECT_EQ(now.word(copy + 4), FL_SLOT_SETTLED(FL_NO_BACKEND));
    }
}

TEST(CarryOver, AnotherMachineUnderTheSameNameIsNotTheSame) {
    Side old(world({1, 2}, 16), 64);
    ASSERT_TRUE(old.writer.change_slots(
        old.pool, std::vector<SlotChange>{{0, FL_SLOT_SETTLED(old.local("b1"))}, {1, FL_SLOT_SETTLED(old.local("b2"))}},
        1));
    auto desired = world({2, 3}, 16);
    auto& backends = desired.pools[0].backends;
    backends[1].name = "b1";             // b1 has another address now
    backends[0].name = "b2, as it was";  // and b2 another name
    Side now(desired, 64);
    ASSERT_TRUE(CarryOver(old.tables).slots(now.writer));
    EXPECT_EQ(now.word(0), FL_SLOT_SETTLED(FL_NO_BACKEND));
    EXPECT_EQ(now.word(1), FL_SLOT_SETTLED(now.local("b2, as it was")));
}

class CarriedPins : public testing::TestWithParam<std::uint32_t> {};

TEST_P(CarriedPins, AreFoundByTheirFlows) {
    Side old(world({1, 2}, 16), 256);
    Side now(world({2, 1}, 16), GetParam());
    auto engine = old.tables.engine();
    auto next_engine = now.tables.engine();
    std::vector<std::uint64_t> hashes;
    for (std::uint64_t flow = 1; flow <= 40; ++flow) {
        const auto hash = fl_pin_hash(&old.tables.meta(), flow * 0x9e3779b97f4a7c15ULL);
        hashes.push_back(hash);
        ASSERT_TRUE(fl_insert_pin_step(&engine, &old.tables.meta(), hash, old.global(flow % 2 ? "b1" : "b2"),
                                       FL_PIN_CONFIRMED));
    }
    const CarryOver carry(old.tables);
    EXPECT_EQ(carry.pins(now.writer), 0U);
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        __u64 word = 0;
        ASSERT_LT(fl_find_pin(&next_engine, &now.tables.meta(), hashes[i], &word), FL_PIN_PLACES) << i;
        EXPECT_EQ(FL_PIN_BACKEND(word), now.global((i + 1) % 2 ? "b1" : "b2"));
        EXPECT_EQ(FL_PIN_STATE(word), static_cast<std::uint32_t>(FL_PIN_CONFIRMED));
    }
}
INSTANTIATE_TEST_SUITE_P(SmallerSameAndLarger, CarriedPins, testing::Values(128, 256, 1024));

TEST(CarryOver, ASecondLookAddsWhatIsNewAndLeavesWhatAnEngineMade) {
    Side old(world({1, 2}, 16), 64), now(world({1, 2}, 16), 64);
    const auto one = FL_PIN_WORD(7, old.global("b1"), FL_PIN_PROBATION, 1);
    old.tables.pins()[3].words[0] = one;
    const CarryOver carry(old.tables);
    EXPECT_EQ(carry.pins(now.writer), 0U);
    const auto touched = FL_PIN_WORD(7, now.global("b1"), FL_PIN_CONFIRMED, 2);
    for (auto& place : now.tables.pins()[3].words)
        if (place) place = touched;
    const auto two = FL_PIN_WORD(8, old.global("b2"), FL_PIN_PROBATION, 1);
    old.tables.pins()[3].words[1] = two;
    EXPECT_EQ(carry.pins(now.writer), 0U);
    EXPECT_EQ(count_pins(now.tables, touched), 1U);
    EXPECT_EQ(count_pins(now.tables, FL_PIN_WORD(8, now.global("b2"), FL_PIN_PROBATION, 1)), 1U);
}

TEST(CarryOver, SaysHowManyPinsFindNoPlace) {
    Side old(world({1}, 16), 256), now(world({1}, 16), 8);
    for (std::uint32_t i = 0; i < 20; ++i)
        old.tables.pins()[i].words[0] = FL_PIN_WORD(100 + i, old.global("b1"), FL_PIN_CONFIRMED, 1);
    EXPECT_EQ(CarryOver(old.tables).pins(now.writer), 20U - now.tables.pins().size() * FL_BUCKET_WORDS);
}

TEST(CarryOver, CountersGoOn) {
    Side old(world({1, 2}, 16), 64), now(world({2, 1}, 16), 64);
    const auto& limits = old.tables.limits();
    const auto service = old.writer.find_service(address(200), 80, kTcp).value();
    old.tables.counters()[FL_COUNTER_SERVICE(&limits, service)].packets = 70;
    old.tables.counters()[FL_COUNTER_BACKEND(&limits, old.global("b2"))].bytes = 900;
    old.tables.counters()[FL_REASON_NOT_VIP].packets = 5;
    old.tables.counters()[FL_EVENT_PREVIOUS].packets = 6;
    const CarryOver carry(old.tables);
    carry.counters(now.writer);
    now.tables.counters()[FL_REASON_NOT_VIP].packets += 2;
    const CounterReader reader(now.tables);
    EXPECT_EQ(reader.service(now.writer.find_service(address(200), 80, kTcp).value()).packets, 70U);
    EXPECT_EQ(reader.backend(now.global("b2")).bytes, 900U);
    EXPECT_EQ(reader.backend(now.global("b1")).bytes, 0U);
    EXPECT_EQ(reader.reason(FL_REASON_NOT_VIP).packets, 7U);
    EXPECT_EQ(reader.event(FL_EVENT_PREVIOUS), 6U);
}

}  // namespace
}  // namespace fairlead::tables
