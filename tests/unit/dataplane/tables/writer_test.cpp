// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/writer.h"

#include <arpa/inet.h>

#include <cstring>
#include <map>

#include "dataplane/tables/index_table.h"
#include "tests/unit/dataplane/tables/support.h"

namespace fairlead::tables {
namespace {
using namespace test;  // the small world

class Writer : public testing::Test {
  protected:
    Writer() : tables_(anonymous()), writer_(make_writer()) {}
    TableWriter make_writer() { return TableWriter::create(tables_, grace_).value(); }
    // A controller that starts again: nothing but the tables is known.
    void restart() { writer_ = make_writer(); }

    ApplyReport apply(const Desired& desired) {
        auto report = writer_.apply(desired, round_robin(desired));
        if (!report) {
            ADD_FAILURE() << report.error().message;
            return {};
        }
        auto engine = tables_.engine();
        EXPECT_EQ(world_fault(engine, tables_), "");
        EXPECT_EQ(as_desired(tables_), sorted(desired));
        const auto snapshot = take_snapshot(tables_);
        for (const auto& v : snapshot.vips) {
            EXPECT_EQ(v.client_tcp, client_service(desired, snapshot, v.address, IPPROTO_TCP));
            EXPECT_EQ(v.client_udp, client_service(desired, snapshot, v.address, IPPROTO_UDP));
        }
        return *report;
    }
    std::string fault_of(const Desired& desired) {
        auto report = writer_.apply(desired);
        return report ? "" : report.error().message;
    }
    Found found(int vip, std::uint16_t port) {
        auto engine = tables_.engine();
        std::string fault;
        auto result = look_up(engine, tables_, vip, port, fault);
        EXPECT_EQ(fault, "");
        return result;
    }
    std::vector<char> image() const {
        std::vector<char> bytes;
        const auto& memory = tables_.memory();
        const fl_limits* l = &memory.limits;
#define FL_X(name, type, count)                                                 \
    bytes.insert(bytes.end(), static_cast<char*>(memory.base[FL_TABLE_##name]), \
                 static_cast<char*>(memory.base[FL_TABLE_##name]) + sizeof(type) * (count));
        FL_TABLE_LIST(FL_X)
#undef FL_X
        return bytes;
    }
    void count(std::uint32_t index, std::uint32_t stride, std::uint64_t packets) {
        auto& counter = tables_.counters()[stride * FL_COUNTER_STRIDE(&tables_.limits()) + index];
        counter.packets += packets;
        counter.bytes += packets * 100;
    }

    Tables tables_;
    TestGrace grace_;
    TableWriter writer_;
};

TEST_F(Writer, ASecondApplyOfTheSameChangesNothing) {
    const Desired desired{{vip(0), vip(1)}, {pool(0, 3), pool(1, 9, 64)}, {service(0, 80, 0), service(1, 0, 1)}};
    const auto first = apply(desired);
    EXPECT_EQ(first.services.added, 2U);
    EXPECT_EQ(first.backends.added, 12U);
    EXPECT_EQ(first.pools_to_fill.size(), 2U);
    const auto before = image();
    const auto waits = grace_.waits;
    const auto second = apply(desired);
    EXPECT_FALSE(second.any());
    EXPECT_TRUE(second.pools_to_fill.empty());
    EXPECT_EQ(image(), before);
    EXPECT_EQ(grace_.waits, waits);  // nothing unlinked, nothing to wait for
}

TEST_F(Writer, WhatStaysKeepsItsIds) {
    apply({{vip(0), vip(1)}, {pool(0, 3), pool(1, 2)}, {service(0, 80, 0), service(1, 80, 1)}});
    const auto service_id = writer_.find_service(vip_address(1), 80, kTcp);
    const auto pool_id = writer_.find_pool("pool1");
    const auto local = writer_.find_backend(*pool_id, "p1b1");
    Desired after{{vip(1), vip(2)}, {pool(1, 2), pool(2, 2)}, {service(1, 80, 1), service(2, 80, 2)}};
    after.pools[0].backends.erase(after.pools[0].backends.begin());  // p1b0 goes, p1b1 stays where it is
    const auto report = apply(after);
    EXPECT_EQ(writer_.find_service(vip_address(1), 80, kTcp), service_id);
    EXPECT_EQ(writer_.find_pool("pool1"), pool_id);
    EXPECT_EQ(writer_.find_backend(*pool_id, "p1b1"), local);
    EXPECT_EQ(report.services.added, 1U);
    EXPECT_EQ(report.services.removed, 1U);
    EXPECT_EQ(report.pools.changed, 1U);
    EXPECT_EQ(report.backends.removed, 4U);
}

TEST_F(Writer, LookupsTakeTheNamesAsTheyCome) {
    apply({{vip(0)}, {pool(0, 2)}, {service(0, 80, 0), service(0, 0, 0)}});
    EXPECT_TRUE(writer_.find_vip(vip_address(0)));
    EXPECT_FALSE(writer_.find_vip(vip_address(1)));
    EXPECT_NE(writer_.find_service(vip_address(0), 0, kTcp), writer_.find_service(vip_address(0), 80, kTcp));
    EXPECT_FALSE(writer_.find_service(vip_address(0), 80, 17));
    const auto pool_id = writer_.find_pool(std::string_view("pool0-and-more").substr(0, 5)).value();
    EXPECT_EQ(writer_.slot_count(pool_id), 16U);
    EXPECT_FALSE(writer_.find_backend(pool_id, "p0b2"));
    EXPECT_FALSE(writer_.find_backend(pool_id + 1, "p0b1"));
}

// --- DESIGN section 4, "Publishing" ---

TEST_F(Writer, AChangedServiceGetsANewIdAndItsWordIsSwapped) {
    apply({{vip(0)}, {pool(0, 2), pool(1, 2)}, {service(0, 80, 0)}});
    const auto before = found(0, 80);
    const auto index_before = tables_.meta().service_index;
    const auto report = apply({{vip(0)}, {pool(0, 2), pool(1, 2)}, {service(0, 80, 1)}});
    EXPECT_EQ(report.services.changed, 1U);
    const auto after = found(0, 80);
    EXPECT_NE(after.service, before.service);
    EXPECT_EQ(after.pool, writer_.find_pool("pool1"));
    EXPECT_EQ(tables_.services()[before.service].pool, before.pool);  // the old record was not touched
    EXPECT_EQ(tables_.meta().service_index, index_before);
}

TEST_F(Writer, DeletingIsAStoreOfZeroAndMovesNobody) {
    apply({{vip(0)}, {pool(0, 2)}, {service(0, 80, 0), service(0, 443, 0)}});
    std::vector<fl_index_bucket> before(tables_.service_index().begin(), tables_.service_index().end());
    apply({{vip(0)}, {pool(0, 2)}, {service(0, 443, 0)}});
    int differing = 0;
    for (std::size_t b = 0; b < before.size(); ++b)
        for (int w = 0; w < FL_BUCKET_WORDS; ++w)
            if (before[b].words[w] != tables_.service_index()[b].words[w]) {
                ++differing;
                EXPECT_EQ(tables_.service_index()[b].words[w], 0U);
            }
    EXPECT_EQ(differing, 1);
}

// What a reader finds that read `index_word` a while ago.
bool finds_by(const Tables& tables, std::uint64_t index_word, std::uint32_t vip, std::uint16_t port) {
    const auto hash =
        fl_index_hash_service(&tables.vips()[vip].address, fl_htons(port), kTcp, FL_INDEX_SEED(index_word));
    const auto bucket = FL_INDEX_BASE(index_word) + (static_cast<std::uint32_t>(hash) & FL_INDEX_MASK(index_word));
    for (const auto word : tables.service_index()[bucket].words)
        if (word && word >> 32 == hash >> 32) return true;
    return false;
}

TEST_F(Writer, AnOldIndexIsWholeUntilItsReadersHaveLeft) {
    Desired desired{{vip(0)}, {pool(0, 1)}, {}};
    for (std::uint16_t port = 1; port <= 16; ++port) desired.services.push_back(service(0, port, 0));
    apply(desired);
    const auto old_index = tables_.meta().service_index;
    int asked = 0;
    grace_.on_wait = [&]() -> Result<void> {
        if (tables_.meta().service_index == old_index) return {};
        for (std::uint16_t port = 1; port <= 16; ++port, ++asked)
            EXPECT_TRUE(finds_by(tables_, old_index, writer_.find_vip(vip_address(0)).value(), port)) << port;
        grace_.on_wait = {};
        return {};
    };
    for (std::uint16_t port = 17; port <= 20; ++port) desired.services.push_back(service(0, port, 0));
    apply(desired);
    EXPECT_NE(tables_.meta().service_index, old_index);
    EXPECT_EQ(asked, 16);
}

TEST_F(Writer, ManyKeysBuildASecondIndexPublishedByOneWord) {
    auto tables = anonymous(limits_for({.vips = 15, .services = 500, .pools = 15, .backends = 64}, 1));
    auto writer = TableWriter::create(tables, grace_).value();
    Desired desired{{vip(0)}, {pool(0, 1)}, {}};
    std::set<std::uint64_t> indexes;
    auto engine = tables.engine();
    for (std::uint16_t port = 1; port <= 400; ++port) {
        desired.services.push_back(service(0, port, 0));
        if (port % 10) continue;
        ASSERT_OK(writer.apply(desired, round_robin(desired)));
        indexes.insert(tables.meta().service_index);
        for (std::uint16_t p = 1; p <= port; ++p) {
            std::string fault;
            ASSERT_NE(look_up(engine, tables, 0, p, fault).service, 0U) << p;
            ASSERT_EQ(fault, "");
        }
    }
    EXPECT_GE(indexes.size(), 4U);
    EXPECT_GE(FL_INDEX_MASK(tables.meta().service_index) + 1, 400U);
    // The half that is not in use is empty: the next index finds it so.
    std::size_t words = 0;
    for (const auto& bucket : tables.service_index())
        for (const auto word : bucket.words) words += word != 0;
    EXPECT_EQ(words, 400U);
}

TEST(IndexTable, AFullBucketTakesAnotherSeed) {
    TestGrace grace;
    std::vector<fl_index_bucket> buckets(64);
    __u64 word = 0;
    // Under an odd seed all keys share a bucket; under an even one they do not.
    IndexTable index(buckets, word, [](std::uint32_t id, std::uint32_t seed) {
        return seed % 2 ? std::uint64_t{id} << 32 : std::uint64_t{id} << 32 | id;
    });
    ASSERT_OK(index.adopt());
    index.clear_other_half();
    ASSERT_OK(index.reserve(16, grace));
    ASSERT_EQ(FL_INDEX_SEED(word) % 2, 1U);
    const auto first = word;
    for (std::uint32_t id = 1; id <= 16; ++id) ASSERT_OK(index.insert(id, grace));
    EXPECT_NE(word, first);
    EXPECT_EQ(FL_INDEX_SEED(word) % 2, 0U);
    EXPECT_NE(FL_INDEX_BASE(word), FL_INDEX_BASE(first));
    EXPECT_EQ(index.adopt().value().size(), 16U);
}

// --- DESIGN section 4, "Reuse" ---

TEST_F(Writer, AnIdIsGivenOutAgainOnlyAfterAGracePeriod) {
    apply(smallest());
    const auto before = found(0, 80);
    int freed_before_wait = 0;
    grace_.on_wait = [&]() -> Result<void> {
        freed_before_wait += tables_.pools()[before.pool].name == 0;
        return {};
    };
    const auto waits = grace_.waits;
    const Desired other{{vip(1)}, {pool(1, 2)}, {service(1, 80, 1)}};
    apply(other);  // beside the old one, which is unlinked, waited for, freed
    EXPECT_EQ(grace_.waits, waits + 1);
    EXPECT_EQ(freed_before_wait, 0);
    EXPECT_EQ(tables_.pools()[before.pool].name, 0U);
    const auto beside = found(1, 80);
    EXPECT_NE(beside.service, before.service);
    EXPECT_NE(beside.pool, before.pool);
    apply({{vip(1), vip(0)}, {pool(1, 2), pool(0, 2)}, {service(1, 80, 1), service(0, 80, 0)}});
    EXPECT_EQ(found(0, 80).pool, before.pool);
    EXPECT_EQ(found(0, 80).service, before.service);
}

// Whatever goes, even if nothing else does, waits for readers, and while they are there nothing else is begun.
TEST_F(Writer, EachKindOfRemovalWaitsForReaders) {
    const Desired full{{vip(0), vip(1)}, {pool(0, 9), pool(1, 2, 64)}, {service(0, 80, 0), service(0, 443, 0)}};
    std::map<std::string, Desired> removals = {{"service", full}, {"renamed service", full}, {"VIP", full},
                                               {"pool", full},    {"backend", full},         {"slots", full}};
    removals["service"].services.pop_back();
    removals["renamed service"].services[0].name += "-renamed";
    removals["VIP"].vips.pop_back();
    removals["pool"].pools.pop_back();
    removals["backend"].pools[0].backends.pop_back();
    removals["slots"].pools[1].slots = 32;
    for (const auto& [what, reduced] : removals) {
        SCOPED_TRACE(what);
        apply(full);
        grace_.on_wait = []() -> Result<void> { return fail("a reader is inside", ETIMEDOUT); };
        const auto report = writer_.apply(reduced, round_robin(reduced));
        ASSERT_OK(report);
        EXPECT_TRUE(report->reuse_pending);
        const auto before = image();
        const auto refused = writer_.apply(full, round_robin(full));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, ETIMEDOUT);
        EXPECT_EQ(image(), before);
        grace_.on_wait = {};
    }
}

TEST_F(Writer, ABackendsLocalIndexIsReusedOnlyAfterAGracePeriod) {
    apply(smallest(3));
    const auto id = writer_.find_pool("pool0").value();
    const auto gone = writer_.find_backend(id, "p0b1").value();
    auto after = smallest(3);
    after.pools[0].backends[1] = backend(0, 7);
    apply(after);
    EXPECT_NE(writer_.find_backend(id, "p0b7"), gone);  // not in the same breath
    after.pools[0].backends.push_back(backend(0, 8));
    apply(after);
    EXPECT_EQ(writer_.find_backend(id, "p0b8"), gone);
}

TEST_F(Writer, GrowingTheBackendRangeWaitsBeforeSlotsUseIt) {
    apply(smallest(8));
    const auto id = writer_.find_pool("pool0").value();
    const auto old_base = tables_.pools()[id].backend_base;
    std::vector<std::string> events;
    grace_.on_wait = [&]() -> Result<void> {
        const auto& record = tables_.pools()[id];
        bool beyond = false;
        for (std::uint32_t i = 0; i < 16; ++i)
            beyond |= FL_SLOT_OWNER(tables_.slots()[FL_SLOTS_BASE(record.slots) / FL_SLOTS_PER_LINE].words[i]) >= 8;
        events.push_back(std::string(record.backend_base == old_base ? "old base" : "new base") +
                         (record.backend_count > 8 ? ", new count" : ", old count") + (beyond ? ", used" : ", unused"));
        // A reader that still has the old base finds every backend there.
        for (std::uint32_t local = 0; local < 8; ++local) EXPECT_EQ(tables_.backends()[old_base + local].pool, id);
        return {};
    };
    apply(smallest(12));
    // The second wait: what follows a pin to the old range may still do so after the first.
    EXPECT_EQ(events, (std::vector<std::string>{"new base, old count, unused", "new base, new count, used"}));
    EXPECT_EQ(tables_.pools()[id].backend_count, 16U);
    for (std::uint32_t local = 0; local < 8; ++local) EXPECT_EQ(tables_.backends()[old_base + local].pool, 0U);
    EXPECT_EQ(writer_.find_backend(id, "p0b3"), 3);  // stable
}

TEST_F(Writer, AReaderThatDoesNotLeaveStopsAGrowthAndTheNextApplyFinishesIt) {
    apply(smallest(8));
    grace_.on_wait = []() -> Result<void> { return fail("a reader is inside", ETIMEDOUT); };
    auto report = writer_.apply(smallest(12));
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ETIMEDOUT);
    auto engine = tables_.engine();
    EXPECT_EQ(world_fault(engine, tables_), "");
    report = writer_.apply(smallest(12));
    ASSERT_FALSE(report);
    grace_.on_wait = {};
    EXPECT_EQ(apply(smallest(12)).pools_to_fill, std::vector<std::string>{"pool0"});
    EXPECT_EQ(writer_.set_slots(writer_.find_pool("pool0").value(), std::vector<std::uint16_t>(16, 11)), 15U);
}

TEST_F(Writer, ServicesThatCouldNotBePublishedAreDoneNextTime) {
    grace_.on_wait = []() -> Result<void> { return fail("a reader is inside", ETIMEDOUT); };
    const auto small = smallest();
    ASSERT_OK(writer_.apply(small, round_robin(small)));  // an empty half was there: nothing to wait for
    Desired large{{vip(0), vip(1)}, {pool(0, 2), pool(1, 2)}, {service(0, 80, 0)}};
    for (std::uint16_t port = 1; port <= 20; ++port) large.services.push_back(service(1, port, 1));
    const auto refused = writer_.apply(large, round_robin(large));  // the index grows into the half just left
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ETIMEDOUT);
    EXPECT_EQ(found(0, 80).service, writer_.find_service(vip_address(0), 80, kTcp));
    EXPECT_EQ(found(1, 1).vip, 0U);
    EXPECT_EQ(writer_.find_vip(vip_address(1)), std::nullopt);
    grace_.on_wait = {};
    EXPECT_EQ(apply(large).services.added, 20U);
    EXPECT_NE(found(1, 20).service, 0U);
}

// --- Slots ---

TEST_F(Writer, SetSlotsStoresWhatDiffersAndSaysHowMuch) {
    ASSERT_OK(writer_.apply(smallest(3)));
    const auto id = writer_.find_pool("pool0").value();
    std::vector<std::uint16_t> owners(16, FL_NO_BACKEND);
    EXPECT_EQ(writer_.set_slots(id, owners), 0U);  // a new pool's slots have no owner
    std::fill(owners.begin(), owners.end(), std::uint16_t{2});
    EXPECT_EQ(writer_.set_slots(id, owners), 16U);
    owners[5] = 1;
    owners[6] = FL_NO_BACKEND;
    EXPECT_EQ(writer_.set_slots(id, owners), 2U);
    const auto& line = tables_.slots()[FL_SLOTS_BASE(tables_.pools()[id].slots) / FL_SLOTS_PER_LINE];
    EXPECT_EQ(line.words[4], FL_SLOT_SETTLED(2));
    EXPECT_EQ(line.words[5], FL_SLOT_SETTLED(1));
    EXPECT_EQ(line.words[6], FL_SLOT_SETTLED(FL_NO_BACKEND));
}

TEST_F(Writer, SetSlotsRefusesABackendThatIsNotThere) {
    apply(smallest(3));
    const auto id = writer_.find_pool("pool0").value();
    const auto before = image();
    std::vector<std::uint16_t> owners(16, 0);
    owners[15] = 3;
    EXPECT_FALSE(writer_.set_slots(id, owners));
    owners[15] = 0x7ffe;
    EXPECT_FALSE(writer_.set_slots(id, owners));
    EXPECT_FALSE(writer_.set_slots(id, std::vector<std::uint16_t>(8, 0)));
    EXPECT_FALSE(writer_.set_slots(id + 1, owners));
    EXPECT_EQ(image(), before);
}

TEST_F(Writer, ChangesOfSlotsBeginStampsAnewAndStoreWords) {
    apply(smallest(3));
    const auto id = writer_.find_pool("pool0").value();
    const auto base = writer_.slots_of(id).base;
    ASSERT_EQ(writer_.slots_of(id).words.size(), 16U);
    tables_.stamps()[base + 2] = {7, 8};
    const auto word = FL_SLOT_WORD(1, 2, 1, 0);
    ASSERT_OK(writer_.change_slots(id, std::vector<SlotChange>{{1, word, true, false}, {2, word, false, true}}, 99));
    EXPECT_EQ(writer_.slots_of(id).words[1], word);
    EXPECT_EQ(writer_.slots_of(id).words[2], word);
    EXPECT_EQ(writer_.slots_of(id).stamps[1].previous_used, 99U);
    EXPECT_EQ(writer_.slots_of(id).stamps[2].previous_used, 7U);
    EXPECT_EQ(writer_.slots_of(id).stamps[2].pin_used, 99U);
    const auto before = image();
    EXPECT_FALSE(writer_.change_slots(id, std::vector<SlotChange>{{0, word}, {1, FL_SLOT_WORD(3, 0, 1, 0)}}, 100));
    EXPECT_FALSE(writer_.change_slots(id, std::vector<SlotChange>{{0, word}, {16, word}}, 100));
    EXPECT_FALSE(writer_.change_slots(id + 1, std::vector<SlotChange>{{0, word}}, 100));
    EXPECT_EQ(image(), before);
}

TEST_F(Writer, ABackendUnderAnotherNameKeepsItsIndex) {
    auto desired = smallest(3);
    apply(desired);
    const auto id = writer_.find_pool("pool0").value();
    std::swap(desired.pools[0].backends[0].name, desired.pools[0].backends[1].name);
    desired.pools[0].backends[2].name = "other";
    const auto report = writer_.apply(desired, round_robin(desired)).value();
    EXPECT_EQ(report.backends.changed, 3U);
    EXPECT_EQ(report.backends.added + report.backends.removed, 0U);
    EXPECT_EQ(writer_.find_backend(id, "p0b0"), 1);
    EXPECT_EQ(writer_.find_backend(id, "p0b1"), 0);
    EXPECT_EQ(writer_.find_backend(id, "other"), 2);
    EXPECT_EQ(writer_.find_backend(id, "p0b2"), std::nullopt);
    EXPECT_EQ(take_snapshot(tables_).find_pool("pool0")->backends[2].name, "other");
}

TEST_F(Writer, OneThatLeavesGivesItsNameToTheNextAndKeepsItsIndex) {
    auto desired = smallest(2);
    apply(desired);
    const auto id = writer_.find_pool("pool0").value();
    auto& backends = desired.pools[0].backends;
    auto leaving = backends[0];
    leaving.name = "p0b0~2";
    backends[0].address = IpAddress::parse("203.0.113.77").value();
    backends.push_back(leaving);
    const auto report = writer_.apply(desired, round_robin(desired)).value();
    EXPECT_EQ(report.backends.added, 1U);
    EXPECT_EQ(report.backends.removed, 0U);
    EXPECT_EQ(writer_.find_backend(id, "p0b0~2"), 0);
    EXPECT_EQ(writer_.find_backend(id, "p0b0"), 2);
}

TEST_F(Writer, SlotsForgetABackendThatIsRemoved) {
    auto desired = smallest(3);
    apply(desired);
    const auto id = writer_.find_pool("pool0").value();
    ASSERT_OK(writer_.change_slots(
        id, std::vector<SlotChange>{{0, FL_SLOT_WORD(0, 2, 1, 1)}, {1, FL_SLOT_WORD(2, 0, 1, 0)}}, 1));
    desired.pools[0].backends.pop_back();
    ASSERT_OK(writer_.apply(desired, {}, [](auto&, auto, auto) { return Result<void>{}; }));
    EXPECT_EQ(writer_.slots_of(id).words[0], FL_SLOT_WORD(0, 0, 1, 1));
    EXPECT_EQ(writer_.slots_of(id).words[1], FL_SLOT_WORD(FL_NO_BACKEND, 0, 1, 0));
}

TEST_F(Writer, PinsGoAlongWhenBackendsMoveToALargerRange) {
    apply(smallest(8));
    const auto id = writer_.find_pool("pool0").value();
    const auto old = writer_.global_index(id, 3);
    ASSERT_OK(writer_.change_slots(id, std::vector<SlotChange>{{0, FL_SLOT_WORD(0, 3, 1, 0)}}, 1));
    auto& mine = tables_.pins()[0].words[5];
    auto& foreign = tables_.pins()[0].words[6];
    mine = FL_PIN_WORD(0xabcd, old, FL_PIN_CONFIRMED, 7);
    foreign = FL_PIN_WORD(0xabcd, old + 100, FL_PIN_CONFIRMED, 7);
    const auto kept = foreign;
    ASSERT_OK(writer_.apply(smallest(12)));
    ASSERT_NE(writer_.global_index(id, 3), old);
    EXPECT_EQ(mine, FL_PIN_WORD(0xabcd, writer_.global_index(id, 3), FL_PIN_CONFIRMED, 7));
    EXPECT_EQ(foreign, kept);
}

TEST_F(Writer, GrowingATableCopiesEachWordToBothItsPlaces) {
    auto desired = smallest(4);
    ASSERT_OK(writer_.apply(desired));
    const auto id = writer_.find_pool("pool0").value();
    std::vector<std::uint16_t> owners;
    for (std::uint16_t i = 0; i < 16; ++i) owners.push_back(i % 5 == 4 ? FL_NO_BACKEND : i % 4);
    ASSERT_OK(writer_.set_slots(id, owners));
    tables_.stamps()[FL_SLOTS_BASE(tables_.pools()[id].slots) + 3].pin_used = 42;
    desired.pools[0].slots = 64;
    auto report = writer_.apply(desired);
    ASSERT_OK(report);
    EXPECT_EQ(report->pools_to_fill, std::vector<std::string>{"pool0"});
    const auto slots = tables_.pools()[id].slots;
    EXPECT_EQ(FL_SLOTS_MASK(slots), 63U);
    EXPECT_EQ(FL_SLOTS_BASE(slots) % 64, 0U);
    for (std::uint32_t i = 0; i < 64; ++i) {
        const auto slot = FL_SLOTS_BASE(slots) + i;
        EXPECT_EQ(tables_.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE],
                  FL_SLOT_SETTLED(owners[i % 16]));
    }
    EXPECT_EQ(tables_.stamps()[FL_SLOTS_BASE(slots) + 48 + 3].pin_used, 42U);
}

TEST_F(Writer, SlotsOfABackendThatGoesHaveNoOwnerUnlessTheFillerSaysSo) {
    apply(smallest(2));
    auto after = smallest(2);
    after.pools[0].backends.pop_back();
    ASSERT_OK(writer_.apply(after));
    const auto snapshot = take_snapshot(tables_);
    EXPECT_EQ(snapshot.pools[0].slots_without_owner, 8U);
    EXPECT_EQ(snapshot.pools[0].backends[0].slots_owned, 8U);
}

TEST_F(Writer, ABackendWithAnotherAddressTakesOverItsSlots) {
    apply(smallest(2));
    const auto id = writer_.find_pool("pool0").value();
    const auto before = writer_.find_backend(id, "p0b1");
    auto after = smallest(2);
    after.pools[0].backends[1] = backend(0, 1, 9);
    auto report = writer_.apply(after);
    ASSERT_OK(report);
    EXPECT_EQ(report->backends.changed, 1U);
    EXPECT_EQ(report->backends.added + report->backends.removed, 0U);
    EXPECT_NE(writer_.find_backend(id, "p0b1"), before);
    const auto snapshot = take_snapshot(tables_);
    EXPECT_EQ(snapshot.pools[0].slots_without_owner, 0U);
    EXPECT_EQ(as_desired(tables_), sorted(after));
}

TEST_F(Writer, TheFillerSeesNewBackendsBeforeTheirServiceIsFound) {
    const auto desired = smallest(2);
    int calls = 0;
    auto report = writer_.apply(desired, [&](TableWriter& writer, std::uint32_t id, std::span<std::uint16_t> owners) {
        ++calls;
        EXPECT_EQ(found(0, 80).service, 0U);
        EXPECT_TRUE(writer.set_backend_state(id, 1, FL_BACKEND_HEALTHY, 1500, 0));
        std::fill(owners.begin(), owners.end(), std::uint16_t{1});
    });
    ASSERT_OK(report);
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(take_snapshot(tables_).pools[0].backends[1].slots_owned, 16U);
}

// --- Words that change in place ---

TEST_F(Writer, WordsOfVipsPoolsAndBackendsChangeInPlace) {
    auto desired = smallest();
    apply(desired);
    const auto before = found(0, 80);
    desired.vips[0].reset = false;
    desired.vips[0].role = 3;
    desired.pools[0].flags = FL_POOL_CLIENT_IP;
    desired.pools[0].idle_timeout_s = 60;
    desired.pools[0].backends[1].tier = 1;
    const auto report = apply(desired);
    EXPECT_EQ(report.vips.changed, 1U);
    EXPECT_EQ(report.pools.changed, 1U);
    EXPECT_TRUE(report.pools_to_fill.empty());
    const auto after = found(0, 80);
    EXPECT_EQ(after.vip, before.vip);
    EXPECT_EQ(after.service, before.service);
    EXPECT_EQ(tables_.vips()[after.vip].role, 3U);
}

TEST_F(Writer, TheLocalBackendIsNamedByThePool) {
    auto desired = smallest();
    apply(desired);
    const auto id = writer_.find_pool("pool0").value();
    EXPECT_EQ(tables_.pools()[id].local, FL_NO_BACKEND);
    desired.pools[0].backends[1].forward = FL_FORWARD_LOCAL;
    apply(desired);
    EXPECT_EQ(tables_.pools()[id].local, writer_.find_backend(id, "p0b1"));
    desired.pools[0].backends[1].forward = FL_FORWARD_IPIP;
    apply(desired);
    EXPECT_EQ(tables_.pools()[id].local, FL_NO_BACKEND);
}

TEST_F(Writer, BackendStateIsOneWord) {
    apply(smallest());
    const auto id = writer_.find_pool("pool0").value();
    const auto hop = writer_.allocate_nexthop().value();
    ASSERT_OK(writer_.set_backend_state(id, 1, FL_BACKEND_HEALTHY, 1500, hop));
    const auto& record = tables_.backends()[writer_.global_index(id, 1)];
    EXPECT_EQ(record.state, FL_BACKEND_WORD(FL_BACKEND_HEALTHY, 1500, hop));
    EXPECT_FALSE(writer_.set_backend_state(id, 2, FL_BACKEND_HEALTHY, 1500, 0));
    EXPECT_FALSE(writer_.set_backend_state(id, 1, FL_BACKEND_HEALTHY, 70000, 0));
    EXPECT_FALSE(writer_.set_backend_state(id, 1, FL_BACKEND_HEALTHY, 1500, hop + 1));
    // It goes with the backend when the range moves, and is kept by the next controller.
    apply(smallest(12));
    restart();
    EXPECT_EQ(tables_.backends()[writer_.global_index(id, 1)].state, FL_BACKEND_WORD(FL_BACKEND_HEALTHY, 1500, hop));
}

// An engine that remembers the way to a backend looks at this word alone.
TEST_F(Writer, WhateverAnAdjacencyIsMadeOfRaisesItsGeneration) {
    auto before = tables_.meta().adjacency_generation;
    const auto raised = [&] {
        const auto now = tables_.meta().adjacency_generation;
        return std::exchange(before, now) < now;
    };
    apply(smallest());
    EXPECT_TRUE(raised()) << "new backends";
    const auto id = writer_.find_pool("pool0").value();
    const auto hop = writer_.allocate_nexthop().value();
    raised();
    const auto address = MacAddress::parse("02:00:5e:00:53:01").value();
    ASSERT_OK(writer_.set_nexthop(hop, address, 2));
    EXPECT_TRUE(raised()) << "a next hop";
    ASSERT_OK(writer_.set_backend_state(id, 0, FL_BACKEND_HEALTHY, 1500, hop));
    EXPECT_TRUE(raised()) << "a backend's word";
    const TableWriter::Port port{.name = "eth0", .ifindex = 7, .mac = address, .mtu = 1500};
    ASSERT_OK(writer_.set_port(1, port));
    EXPECT_TRUE(raised()) << "a port";
    ASSERT_OK(writer_.set_encap4(IpPrefix::parse("192.0.2.0/28").value()));
    EXPECT_TRUE(raised()) << "a source of tunnels";
    ASSERT_OK(writer_.set_encap6(IpPrefix::parse("2001:db8::1/128").value()));
    EXPECT_TRUE(raised());
    apply(smallest(12));
    EXPECT_TRUE(raised()) << "a range that moved";
    ASSERT_OK(writer_.release_port(1));
    ASSERT_OK(writer_.collect());
    EXPECT_TRUE(raised()) << "a port that is gone";
    restart();
    EXPECT_TRUE(raised()) << "the controller before may have died between a store and this one";

    ASSERT_OK(writer_.set_port(1, port));
    ASSERT_OK(writer_.set_nexthop(hop, address, 2));
    raised();
    ASSERT_OK(writer_.set_port(1, port));
    ASSERT_OK(writer_.set_nexthop(hop, address, 2));
    ASSERT_OK(writer_.set_backend_state(id, 0, FL_BACKEND_HEALTHY, 1500, hop));
    ASSERT_OK(writer_.set_encap4(IpPrefix::parse("192.0.2.0/28").value()));
    EXPECT_FALSE(raised()) << "nothing changed";
}

TEST_F(Writer, NextHopsAreGivenOutAgainOnlyAfterAGracePeriod) {
    apply(smallest());
    const auto id = writer_.find_pool("pool0").value();
    const auto hop = writer_.allocate_nexthop().value();
    EXPECT_EQ(hop, 1U);
    ASSERT_OK(writer_.set_nexthop(hop, MacAddress::parse("02:00:5e:00:53:01").value(), 2));
    EXPECT_EQ(tables_.nexthops()[hop].word, 0x0002'0153'005e'0002ULL);
    ASSERT_OK(writer_.set_backend_state(id, 0, FL_BACKEND_HEALTHY, 1500, hop));
    EXPECT_EQ(writer_.free_nexthop(hop).error().code, EBUSY);
    ASSERT_OK(writer_.set_backend_state(id, 0, FL_BACKEND_HEALTHY, 1500, 0));
    ASSERT_OK(writer_.free_nexthop(hop));
    EXPECT_EQ(writer_.allocate_nexthop(), 2U);
    ASSERT_OK(writer_.collect());
    EXPECT_EQ(writer_.allocate_nexthop(), hop);
    EXPECT_EQ(tables_.nexthops()[hop].word, 0U);  // unresolved, whatever it was
}

TEST_F(Writer, AdoptedNextHopsStayUntilNobodyNamesThem) {
    apply(smallest());
    const auto id = writer_.find_pool("pool0").value();
    const auto kept = writer_.allocate_nexthop().value();
    const auto moved = writer_.allocate_nexthop().value();
    ASSERT_OK(writer_.set_backend_state(id, 0, FL_BACKEND_HEALTHY, 1500, kept));
    ASSERT_OK(writer_.set_backend_state(id, 1, FL_BACKEND_HEALTHY, 1500, moved));
    restart();
    ASSERT_OK(writer_.claim_nexthop(kept));
    EXPECT_FALSE(writer_.claim_nexthop(kept));
    const auto fresh = writer_.allocate_nexthop().value();
    EXPECT_EQ(fresh, 3U);
    ASSERT_OK(writer_.set_backend_state(id, 1, FL_BACKEND_HEALTHY, 1500, fresh));
    std::set<std::uint32_t> rest;
    for (;;) {
        auto next = writer_.allocate_nexthop();
        if (!next) break;
        EXPECT_TRUE(rest.insert(*next).second);
    }
    EXPECT_TRUE(rest.contains(moved));
    EXPECT_FALSE(rest.contains(kept));
    EXPECT_EQ(rest.size(), tables_.limits().nexthops - 3U);
}

// --- Meta ---

TEST_F(Writer, PeersChangeAWordAtATime) {
    const auto a = MacAddress::parse("02:00:00:00:00:01").value();
    const auto b = MacAddress::parse("02:00:00:00:00:02").value();
    const auto c = MacAddress::parse("02:00:00:00:00:03").value();
    ASSERT_OK(writer_.set_peers(std::vector{a, b}));
    EXPECT_EQ(tables_.meta().peer_count, 2U);
    const auto word_of_b = tables_.meta().peers[1];
    ASSERT_OK(writer_.set_peers(std::vector{b, c}));
    EXPECT_EQ(tables_.meta().peers[1], word_of_b);  // it did not move under a reader that is past its place
    EXPECT_EQ(tables_.meta().peers[0], 0x030000000002ULL);
    ASSERT_OK(writer_.set_peers({}));
    for (const auto word : tables_.meta().peers) EXPECT_EQ(word, 0U);
    EXPECT_FALSE(writer_.set_peers(std::vector<MacAddress>(FL_MAX_PEERS + 1)));
}

bool accepts(const fl_meta& meta, const char* text) {
    const auto source = to_record(IpAddress::parse(text).value());
    for (std::uint32_t i = 0; i < meta.source_count; ++i) {
        const auto& s = meta.sources[i];
        if ((source.halves[0] & s.mask.halves[0]) == s.address.halves[0] &&
            (source.halves[1] & s.mask.halves[1]) == s.address.halves[1])
            return true;
    }
    return false;
}

TEST_F(Writer, SourcesNeverAcceptMoreThanTheOldAndTheNew) {
    const auto prefix = [](const char* text) { return IpPrefix::parse(text).value(); };
    ASSERT_OK(writer_.set_sources(std::vector{prefix("192.0.2.0/24"), prefix("2001:db8:1::/48")}));
    EXPECT_TRUE(accepts(tables_.meta(), "192.0.2.9"));
    EXPECT_TRUE(accepts(tables_.meta(), "2001:db8:1::5"));
    EXPECT_FALSE(accepts(tables_.meta(), "192.0.3.9"));
    EXPECT_FALSE(accepts(tables_.meta(), "::1"));
    std::vector<IpPrefix> many;
    for (int i = 0; i < FL_MAX_SOURCES; ++i)
        many.push_back(prefix(("198.51.100." + std::to_string(i) + "/32").c_str()));
    ASSERT_OK(writer_.set_sources(many));
    EXPECT_FALSE(accepts(tables_.meta(), "192.0.2.9"));
    EXPECT_FALSE(accepts(tables_.meta(), "2001:db8:1::5"));
    for (const auto& one : many) EXPECT_TRUE(accepts(tables_.meta(), one.address.to_string().c_str()));
    grace_.on_wait = [&]() -> Result<void> {  // what a reader meets on the way
        EXPECT_FALSE(accepts(tables_.meta(), "203.0.113.200"));
        EXPECT_FALSE(accepts(tables_.meta(), "198.51.100.3"));
        EXPECT_TRUE(accepts(tables_.meta(), "198.51.100.4"));
        return {};
    };
    many[3] = prefix("203.0.113.0/25");
    ASSERT_OK(writer_.set_sources(many));
    EXPECT_TRUE(accepts(tables_.meta(), "203.0.113.100"));
    EXPECT_FALSE(accepts(tables_.meta(), "203.0.113.200"));
}

TEST_F(Writer, WhatIsWiderThanAWordIsNotChangedUnderAnEngine) {
    const auto prefix4 = IpPrefix::parse("192.0.2.0/28").value();
    const auto prefix6 = IpPrefix::parse("2001:db8::1/128").value();
    const auto node = IpAddress::parse("192.0.2.1").value();
    ASSERT_OK(writer_.set_encap4(prefix4));
    ASSERT_OK(writer_.set_encap6(prefix6));
    ASSERT_OK(writer_.set_node(node, std::nullopt));
    ASSERT_OK(writer_.set_hash_key({1, 2, 3}));
    EXPECT_EQ(tables_.meta().encap4_mask, fl_htonl(0xf));
    EXPECT_EQ(tables_.meta().encap6_mask, 0U);
    EXPECT_EQ(tables_.meta().hash_multipliers[0] % 2, 1U);
    ASSERT_OK(writer_.set_engine(FL_ENGINE_XDP_NATIVE));
    const auto before = image();
    EXPECT_TRUE(writer_.set_encap4(prefix4));
    EXPECT_TRUE(writer_.set_encap6(prefix6));
    EXPECT_TRUE(writer_.set_node(node, std::nullopt));
    EXPECT_TRUE(writer_.set_hash_key({1, 2, 3}));
    EXPECT_EQ(writer_.set_encap4(std::nullopt).error().code, EBUSY);
    EXPECT_EQ(writer_.set_encap6(std::nullopt).error().code, EBUSY);
    EXPECT_EQ(writer_.set_node(std::nullopt, std::nullopt).error().code, EBUSY);
    EXPECT_EQ(writer_.set_hash_key({9}).error().code, EBUSY);
    EXPECT_EQ(image(), before);
    ASSERT_OK(writer_.set_engine(FL_ENGINE_NONE));
    {
        auto worker = WorkerSlot::create(tables_);
        EXPECT_EQ(writer_.set_hash_key({9}).error().code, EBUSY);
    }
    EXPECT_TRUE(writer_.set_hash_key({9}));
}

TEST_F(Writer, PortsAreFilledBeforeTheirInterfaceIsNamed) {
    ASSERT_OK(writer_.set_port(1, {.name = "eth0",
                                   .ifindex = 7,
                                   .mac = MacAddress::parse("02:00:5e:00:53:07").value(),
                                   .mtu = 9000,
                                   .mode = FL_ENGINE_XDP_NATIVE}));
    const auto snapshot = take_snapshot(tables_);
    ASSERT_EQ(snapshot.ports.size(), 1U);
    EXPECT_EQ(snapshot.ports[0].name, "eth0");
    EXPECT_EQ(snapshot.ports[0].ifindex, 7U);
    EXPECT_EQ(tables_.ports()[1].mac, 0x0753005e0002ULL);
    EXPECT_FALSE(writer_.set_port(0, {}));
    EXPECT_FALSE(writer_.set_port(tables_.limits().ports, {}));
}

TEST_F(Writer, ALivePortHasAWay) {
    TableWriter::Port vlan{.name = "eth0", .ifindex = 7, .mac = {}};
    ASSERT_OK(writer_.set_port(1, vlan));
    EXPECT_EQ(tables_.ports()[1].way, FL_PORT_WAY_AS_IT_CAME) << "unless it says otherwise";
    vlan.way = FL_PORT_WAY(1, 0, FL_VLAN_NONE, 7);
    vlan.flags = FL_PORT_FRAMES;
    ASSERT_OK(writer_.set_port(2, vlan));
    const auto ports = take_snapshot(tables_).ports;
    ASSERT_EQ(ports.size(), 2U);
    EXPECT_TRUE(ports[0].is_device());
    EXPECT_FALSE(ports[1].is_device());
    EXPECT_EQ(FL_PORT_VLAN_OUT(ports[1].way), 7U);
    EXPECT_EQ(ports[1].flags, FL_PORT_FRAMES);
    vlan.way = 0;
    EXPECT_FALSE(writer_.set_port(2, vlan)) << "untagged in, untagged out, by nothing";
    vlan.way = FL_PORT_WAY(tables_.limits().ports, 0, FL_VLAN_NONE, 7);
    EXPECT_FALSE(writer_.set_port(2, vlan)) << "there is no such device";
    vlan.ifindex = 0;
    EXPECT_TRUE(writer_.set_port(2, vlan)) << "a port that is gone";
}

TEST_F(Writer, AReleasedPortIsWholeUntilItsReadersHaveLeft) {
    ASSERT_OK(
        writer_.set_port(2, {.name = "eth0.7", .ifindex = 7, .mac = {}, .way = FL_PORT_WAY(1, 0, FL_VLAN_NONE, 7)}));
    ASSERT_OK(writer_.release_port(2));
    EXPECT_FALSE(writer_.release_port(0));
    grace_.on_wait = [&]() -> Result<void> {
        EXPECT_EQ(take_snapshot(tables_).ports.at(0).name, "eth0.7");
        return {};
    };
    const auto waits = grace_.waits;
    ASSERT_OK(writer_.collect());
    EXPECT_EQ(grace_.waits, waits + 1);
    EXPECT_TRUE(take_snapshot(tables_).ports.empty());
    EXPECT_EQ(tables_.ports()[2].way, 0U);
}

TEST_F(Writer, TheGuePortIsAWordInNetworkOrder) {
    ASSERT_OK(writer_.set_gue_port(6080));
    EXPECT_EQ(tables_.meta().gue_port, __u64{htons(6080)});
    ASSERT_OK(writer_.set_gue_port(0));
    EXPECT_EQ(tables_.meta().gue_port, 0U);
}

// --- Later fragments (layout.h, struct fl_vip) ---

class ClientWords : public Writer {
  protected:
    std::uint32_t tcp() { return take_snapshot(tables_).vips.at(0).client_tcp; }
    std::uint32_t udp() { return take_snapshot(tables_).vips.at(0).client_udp; }
    // VIP 0 with two TCP services and, by another pool, a UDP service; all by the client's address.
    static Desired by_client() {
        Desired desired{{vip(0)}, {pool(0, 2), pool(1, 2)}, {service(0, 80, 0), service(0, 443, 0), service(0, 53, 1)}};
        desired.services[2].protocol = IPPROTO_UDP;
        for (auto& p : desired.pools) p.flags |= FL_POOL_CLIENT_IP;
        return desired;
    }
};

TEST_F(ClientWords, NameAServiceWhereAllShareAPoolByTheClientsAddress) {
    apply(by_client());
    EXPECT_EQ(tcp(), std::min(found(0, 80).service, found(0, 443).service));
    EXPECT_EQ(udp(), writer_.find_service(vip_address(0), 53, IPPROTO_UDP).value());
    auto apart = by_client();
    apart.services[1].pool = pool_name(1);
    apply(apart);
    EXPECT_EQ(tcp(), 0U) << "two pools";
    EXPECT_NE(udp(), 0U) << "the other protocol is not concerned";
    auto by_connection = by_client();
    by_connection.pools[1].flags = 0;
    apply(by_connection);
    EXPECT_EQ(udp(), 0U) << "its ports decide";
    EXPECT_NE(tcp(), 0U);
}

// What a reader sees at the moment that the pool's affinity changes.
TEST_F(ClientWords, AreClearedBeforeAffinityOrPoolChange) {
    apply(by_client());
    const auto id = writer_.find_pool("pool0").value();
    auto next = by_client();
    next.pools[0].flags &= ~FL_POOL_CLIENT_IP;
    next.pools[0].backends.push_back(backend(0, 2));  // so that the filler is called
    bool asked = false;
    ASSERT_OK(writer_.apply(next, [&](TableWriter&, std::uint32_t pool, std::span<std::uint16_t>) {
        if (pool != id) return;
        asked = true;
        EXPECT_EQ(tcp(), 0U);
    }));
    EXPECT_TRUE(asked);
}

TEST_F(ClientWords, StayThroughAChangeThatDoesNotConcernThem) {
    apply(by_client());
    const auto before = tcp();
    auto next = by_client();
    next.services[before == found(0, 80).service ? 0 : 1].name += "-renamed";
    next.pools[0].backends.push_back(backend(0, 2));
    std::uint32_t during = 0;
    ASSERT_OK(writer_.apply(next, [&](TableWriter&, std::uint32_t, std::span<std::uint16_t>) { during = tcp(); }));
    EXPECT_EQ(during, before) << "no fragment loses its way meanwhile";
    EXPECT_EQ(tcp(), client_service(next, take_snapshot(tables_), vip_address(0), IPPROTO_TCP));
    EXPECT_NE(tcp(), before) << "its id is another one's soon";
}

TEST_F(ClientWords, DoNotOutliveAServiceThatAFailedChangeRetired) {
    apply({{vip(0)}, {pool(0, 1)}, {service(0, 80, 0)}});
    auto desired = by_client();
    desired.services = {service(0, 80, 0)};
    apply(desired);
    const auto before = tcp();
    ASSERT_NE(before, 0U);
    // A service changes and so many come that a second index is needed, which a reader does not let be built.
    auto next = desired;
    next.services[0].name += "-renamed";
    next.vips.push_back(vip(1));
    grace_.on_wait = []() -> Result<void> { return fail("a reader is inside", ETIMEDOUT); };
    for (std::uint16_t port = 1; port < 31 && tcp() == before; ++port) {
        next.services.insert(next.services.begin(), service(1, port, 1));
        (void)writer_.apply(next, round_robin(next));
        writer_.collect();
    }
    grace_.on_wait = {};
    EXPECT_TRUE(tcp() == 0 || writer_.find_service(vip_address(0), 80, kTcp) == tcp());
    apply(next);
}

TEST_F(ClientWords, OfADeadControllerAreCheckedBeforeTheyAreAdopted) {
    apply(by_client());
    const auto vip_id = found(0, 80).vip;
    tables_.vips()[vip_id].client_tcp = tables_.limits().services - 1;  // retired, and not yet another's
    const auto kept = udp();
    restart();
    EXPECT_EQ(tcp(), 0U);
    EXPECT_EQ(udp(), kept);
    apply(by_client());
    EXPECT_NE(tcp(), 0U);
}

// --- Refusals ---

TEST_F(Writer, ExhaustionNamesTheLimitAndChangesNothing) {
    apply(smallest());
    const auto before = image();
    auto desired = smallest();
    for (int i = 0; i < 40; ++i) desired.services.push_back(service(0, static_cast<std::uint16_t>(1000 + i), 0));
    EXPECT_EQ(fault_of(desired), "limit 'services' is too small: 41 needed, 31 there (one a port)");
    desired = smallest();
    for (int i = 0; i < 20; ++i) desired.vips.push_back(vip(100 + i));
    EXPECT_EQ(fault_of(desired), "limit 'vips' is too small: 21 needed, 15 there");
    desired = smallest();
    for (int i = 0; i < 20; ++i) desired.pools.push_back(pool(10 + i, 1));
    EXPECT_EQ(fault_of(desired), "limit 'pools' is too small: 21 needed, 15 there");
    desired = smallest();
    desired.pools.push_back(pool(1, 1, 1024));
    EXPECT_EQ(fault_of(desired), "limit 'slots' is too small: 1040 needed, 1024 there");
    desired = smallest();
    desired.pools.push_back(pool(1, 200));
    desired.pools.push_back(pool(2, 200));
    EXPECT_NE(fault_of(desired).find("limit 'backends' is too small: 520 needed, "), std::string::npos);
    // All would fit, but not beside what goes.
    Desired large{{vip(0)}, {pool(3, 1, 1024)}, {service(0, 80, 3)}};
    EXPECT_NE(fault_of(large).find("limit 'slots' is too small for this change: 1024 needed"), std::string::npos);
    EXPECT_EQ(image(), before);
    EXPECT_EQ(as_desired(tables_), sorted(smallest()));
    ASSERT_OK(writer_.apply({}));
    apply(large);
}

TEST_F(Writer, WhatContradictsItselfIsRefusedWhole) {
    apply(smallest());
    const auto before = image();
    auto desired = smallest();
    desired.services.push_back(service(0, 443, 5));
    EXPECT_NE(fault_of(desired).find("no pool 'pool5'"), std::string::npos);
    desired = smallest();
    desired.services.push_back(service(3, 443, 0));
    EXPECT_NE(fault_of(desired).find("is no VIP"), std::string::npos);
    desired = smallest();
    desired.services.push_back(desired.services[0]);
    EXPECT_NE(fault_of(desired).find("another service's already"), std::string::npos);
    desired = smallest();
    desired.pools.push_back(desired.pools[0]);
    EXPECT_NE(fault_of(desired).find("two pools named"), std::string::npos);
    desired = smallest();
    desired.pools[0].backends[1].name = desired.pools[0].backends[0].name;
    EXPECT_NE(fault_of(desired).find("two backends named"), std::string::npos);
    desired = smallest();
    desired.pools[0].slots = 24;
    EXPECT_NE(fault_of(desired).find("power of two"), std::string::npos);
    desired = smallest();
    desired.pools[0].backends[0].name = std::string(64, 'x');
    EXPECT_NE(fault_of(desired).find("longer than 63"), std::string::npos);
    desired = smallest();
    desired.vips[0].role = 256;
    EXPECT_NE(fault_of(desired).find("no role 256"), std::string::npos);
    desired = smallest();
    desired.vips.push_back(desired.vips[0]);
    EXPECT_NE(fault_of(desired).find("twice"), std::string::npos);
    EXPECT_EQ(image(), before);
}

TEST_F(Writer, TablesThatContradictThemselvesAreNotAdopted) {
    apply({{vip(0)}, {pool(0, 2), pool(1, 2)}, {service(0, 80, 0)}});
    const auto one = writer_.find_pool("pool0").value();
    const auto other = writer_.find_pool("pool1").value();
    const auto sound = tables_.pools()[one];
    tables_.pools()[one].slots = tables_.pools()[other].slots;
    auto adopted = TableWriter::create(tables_, grace_);
    ASSERT_FALSE(adopted);
    EXPECT_EQ(adopted.error().code, EUCLEAN);
    tables_.pools()[one] = sound;
    tables_.pools()[one].backend_base = 1U << 30;
    EXPECT_FALSE(TableWriter::create(tables_, grace_));
    tables_.pools()[one] = sound;
    EXPECT_TRUE(TableWriter::create(tables_, grace_));
}

// --- Counters ---

TEST_F(Writer, CountersAreNeverZeroedButStartAtZeroForANewOwner) {
    apply(smallest());
    const auto id = found(0, 80).service;
    const auto counter = FL_COUNTER_SERVICE(&tables_.limits(), id);
    count(counter, 0, 5);
    count(counter, 7, 3);
    CounterReader reader(tables_);
    EXPECT_EQ(reader.service(id), (Counts{8, 800, 0}));
    restart();
    apply(smallest());
    EXPECT_EQ(reader.service(id).packets, 8U);  // a new controller changes nothing
    apply({{vip(0)}, {pool(0, 2)}, {}});
    apply({{vip(0)}, {pool(0, 2)}, {service(0, 443, 0)}});
    ASSERT_EQ(found(0, 443).service, id);
    EXPECT_EQ(reader.service(id), Counts{});
    EXPECT_EQ(reader.raw(counter).packets, 8U);
    count(counter, 7, 4);
    restart();
    apply({{vip(0)}, {pool(0, 2)}, {service(0, 443, 0)}});
    EXPECT_EQ(reader.service(id).packets, 4U);
}

TEST_F(Writer, AChangedServiceGoesOnCounting) {
    apply({{vip(0)}, {pool(0, 2), pool(1, 2)}, {service(0, 80, 0)}});
    const auto before = found(0, 80).service;
    count(FL_COUNTER_SERVICE(&tables_.limits(), before), 0, 10);
    grace_.on_wait = [&]() -> Result<void> {  // packets of readers that found the old record
        count(FL_COUNTER_SERVICE(&tables_.limits(), before), 1, 2);
        grace_.on_wait = {};
        return {};
    };
    apply({{vip(0)}, {pool(0, 2), pool(1, 2)}, {service(0, 80, 1)}});
    const auto after = found(0, 80).service;
    count(FL_COUNTER_SERVICE(&tables_.limits(), after), 0, 100);
    EXPECT_EQ(CounterReader(tables_).service(after), (Counts{112, 11200, 0}));
}

TEST_F(Writer, ABackendGoesOnCountingWhenItsRangeMoves) {
    apply(smallest(8));
    const auto id = writer_.find_pool("pool0").value();
    const auto before = writer_.global_index(id, 2);
    count(FL_COUNTER_BACKEND(&tables_.limits(), before), 3, 6);
    apply(smallest(9));
    const auto after = writer_.global_index(id, 2);
    ASSERT_NE(after, before);
    EXPECT_EQ(CounterReader(tables_).backend(after).packets, 6U);
    EXPECT_EQ(CounterReader(tables_).backend(writer_.global_index(id, 8)).packets, 0U);
}

TEST_F(Writer, ReasonsAreSummedOverStrides) {
    count(FL_REASON_UNLISTED, 0, 2);
    count(FL_REASON_UNLISTED, 9, 5);
    const CounterReader reader(tables_);
    EXPECT_EQ(reader.reason(FL_REASON_UNLISTED).packets, 7U);
    EXPECT_EQ(reader.reasons().at(FL_REASON_UNLISTED).packets, 7U);
    EXPECT_EQ(reader.reasons().size(), std::size_t{FL_REASON_COUNT});
}

// --- Snapshot ---

TEST_F(Writer, ASnapshotTellsEverythingFromTheTablesAlone) {
    auto desired = smallest();
    desired.pools[0].backends[1].tier = 1;
    desired.pools[0].backends[1].forward = FL_FORWARD_GUE;
    desired.pools[0].backends[1].gue_port = 6080;
    apply(desired);
    EXPECT_EQ(tables_.backends()[writer_.global_index(writer_.find_pool("pool0").value(), 1)].gue_port, htons(6080));
    const auto id = writer_.find_pool("pool0").value();
    const auto hop = writer_.allocate_nexthop().value();
    ASSERT_OK(writer_.set_nexthop(hop, MacAddress::parse("02:00:5e:00:53:01").value(), 1));
    ASSERT_OK(writer_.set_backend_state(id, 1, FL_BACKEND_DRAINING, 1480, hop));
    ASSERT_OK(writer_.set_role(0, ~0ULL));
    count(FL_COUNTER_BACKEND(&tables_.limits(), writer_.global_index(id, 1)), 0, 3);
    const auto& tables = std::as_const(tables_);
    const auto snapshot = take_snapshot(tables);
    ASSERT_EQ(snapshot.vips.size(), 1U);
    EXPECT_EQ(snapshot.vips[0].active_until_ns, ~0ULL);
    ASSERT_EQ(snapshot.services.size(), 1U);
    EXPECT_EQ(snapshot.services[0].pool, "pool0");
    EXPECT_EQ(snapshot.services[0].port, 80);
    const auto* found_pool = snapshot.find_pool("pool0");
    ASSERT_NE(found_pool, nullptr);
    EXPECT_EQ(snapshot.find_pool("pool1"), nullptr);
    const auto& second = found_pool->backends.at(1);
    EXPECT_EQ(second.name, "p0b1");
    EXPECT_EQ(second.tier, 1U);
    EXPECT_EQ(second.state, FL_BACKEND_DRAINING);
    EXPECT_EQ(second.mtu, 1480U);
    EXPECT_EQ(FL_NEXTHOP_PORT(second.nexthop_word), 1U);
    EXPECT_EQ(second.slots_owned, 8U);
    EXPECT_EQ(second.counts.packets, 3U);
    EXPECT_EQ(snapshot.usage.at(1).table, "services");
    EXPECT_EQ(snapshot.usage.at(1).used, 1U);
    EXPECT_EQ(snapshot.usage.at(1).size, 31U);
}

// --- Many changes against a plain oracle ---

// After each change the tables say what was asked, what stayed kept its identity, and nothing leaked: the tables are
// just large enough, and a new controller takes over now and then.
TEST_F(Writer, RandomChangesAgreeWithTheOracleAndSurviveRestarts) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Desired before;
    for (int step = 0; step < 300; ++step) {
        SCOPED_TRACE("step " + std::to_string(step));
        const auto desired = random_desired(random);
        const auto old = take_snapshot(tables_);
        apply(desired);
        if (HasFailure()) return;
        const auto now = take_snapshot(tables_);
        for (const auto& p : old.pools) {
            const auto* kept = now.find_pool(p.name);
            if (!kept) continue;
            ASSERT_EQ(kept->id, p.id);
            for (const auto& b : p.backends)
                for (const auto& c : kept->backends)
                    if (c.name == b.name && c.address == b.address) {
                        ASSERT_EQ(c.local_index, b.local_index) << b.name;
                    }
        }
        for (const auto& s : old.services)
            for (const auto& t : now.services)
                if (std::tie(t.name, t.vip, t.port, t.pool) == std::tie(s.name, s.vip, s.port, s.pool)) {
                    ASSERT_EQ(t.id, s.id);
                }
        if (random() % 4 == 0) restart();
        before = desired;
    }
    apply({});
    for (const auto& record : tables_.backends()) EXPECT_EQ(record.pool, 0U);
    // Everything is free again, in one piece.
    restart();
    apply({{vip(0)}, {pool(0, 1, 1024)}, {service(0, 80, 0)}});
}

}  // namespace
}  // namespace fairlead::tables
