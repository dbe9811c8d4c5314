// SPDX-License-Identifier: Apache-2.0
// The rules of DESIGN section 4 at every single store. The tables are write-protected; each store of the writer faults,
// is let through one instruction at a time, and right after it
//   - a reader that comes just now must find a whole world,
//   - every reader that came at an earlier store, since the last grace period, must still find what it holds whole,
//   - a controller that dies just there must leave tables that another one adopts and finishes.
// x86-64 only. Not part of the sanitizers' builds, which want the signals for themselves: the plain build runs it.
#include <gtest/gtest.h>

#include "tests/unit/dataplane/tables/store_tracer.h"

#ifdef FAIRLEAD_STORE_TRACER

#include <sys/mman.h>

#include <map>

#include "tests/unit/dataplane/tables/support.h"

namespace fairlead::tables {
namespace {
using namespace test;  // the small world

// A reader that stopped between two loads, with all it had read.
struct Held {
    int vip_number;
    std::uint16_t port;
    Found found;
    std::string pool_name;
    std::uint64_t slots;
    std::uint32_t base;
    std::vector<std::uint32_t> words;
    std::vector<fl_address> addresses;  // of their owners, by this base
    std::uint32_t client = 0;           // the service by which the VIP's later fragments are steered
    std::uint32_t client_pool = 0;
    auto key() const {
        return std::tie(vip_number, port, found.vip, found.service, found.pool, slots, base, words, client);
    }
    bool operator<(const Held& other) const { return key() < other.key(); }
};

class EveryStore : public testing::Test {
  protected:
    EveryStore() : tables_(anonymous()), engine_(tables_.engine()) {}

    void read_now() {
        if (!fault_.empty()) return;
        fault_ = world_fault(engine_, tables_);
        for (int v = 0; v < kVips; ++v)
            for (const auto port : kPortNumbers) hold(v, port);
    }

    void hold(int v, std::uint16_t port) {
        Held held{v, port, look_up(engine_, tables_, v, port, fault_), {}, 0, 0, {}, {}, 0, 0};
        if (!held.found.service) return;
        held.client = tables_.vips()[held.found.vip].client_tcp;
        if (held.client) held.client_pool = tables_.services()[held.client].pool;
        const auto& pool = tables_.pools()[held.found.pool];
        held.pool_name = load_name(tables_.names(), pool.name);
        held.slots = pool.slots;
        held.base = pool.backend_base;
        for (std::uint32_t i = 0; i <= FL_SLOTS_MASK(held.slots); ++i) {
            const auto slot = FL_SLOTS_BASE(held.slots) + i;
            held.words.push_back(tables_.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE]);
            held.addresses.push_back(tables_.backends()[held.base + FL_SLOT_OWNER(held.words.back())].address);
        }
        held_.insert(std::move(held));
    }

    std::string fault_of(const Held& held) {
        const auto address = to_record(vip_address(held.vip_number));
        if (std::memcmp(&tables_.vips()[held.found.vip].address, &address, sizeof(address)) != 0)
            return "a held VIP became another";
        const auto& service = tables_.services()[held.found.service];
        if (service.vip != held.found.vip || service.port != fl_htons(held.port) || service.pool != held.found.pool)
            return "a held service became another";
        const auto& client = tables_.services()[held.client];
        if (held.client && (client.vip != held.found.vip || client.pool != held.client_pool))
            return "a held fragment's service became another";
        const auto& pool = tables_.pools()[held.found.pool];
        if (load_name(tables_.names(), pool.name) != held.pool_name) return "a held pool became another";
        for (std::size_t i = 0; i < held.words.size(); ++i) {
            const auto owner = FL_SLOT_OWNER(held.words[i]);
            for (const auto base : {held.base, static_cast<std::uint32_t>(pool.backend_base)}) {
                const auto& backend = tables_.backends()[base + owner];
                if (auto fault = backend_fault(tables_, held.found.pool, held.pool_name, backend); !fault.empty())
                    return "a held owner: " + fault;
                if (std::memcmp(&backend.address, &held.addresses[i], sizeof(fl_address)) != 0)
                    return "a held backend became another";
            }
            // The word where the held range is, read late.
            const auto slot = FL_SLOTS_BASE(held.slots) + i;
            const auto word = tables_.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE];
            for (const auto base : {held.base, static_cast<std::uint32_t>(pool.backend_base)}) {
                const auto& backend = tables_.backends()[base + FL_SLOT_OWNER(word)];
                if (auto fault = backend_fault(tables_, held.found.pool, held.pool_name, backend); !fault.empty())
                    return "a held slot: " + fault;
            }
        }
        return {};
    }

    void check_readers() {
        for (const auto& held : held_)
            if (fault_.empty()) fault_ = fault_of(held);
    }

    Tables tables_;
    fl_engine engine_;
    std::string fault_;
    std::set<Held> held_;
};

TEST_F(EveryStore, IsSeenWholeByReadersNewAndStopped) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    TestGrace grace;
    grace.on_wait = [&]() -> Result<void> {
        check_readers();
        held_.clear();  // they have left
        return {};
    };
    auto writer = TableWriter::create(tables_, grace).value();
    int stores = 0;
    for (int step = 0; step < 15; ++step) {
        SCOPED_TRACE("step " + std::to_string(step));
        const auto desired = random_desired(random);
        {
            StoreTracer tracer(tables_, [&] { read_now(); });
            const auto report = writer.apply(desired, round_robin(desired));
            if (!report) fault_ = report.error().message;
            stores += tracer.stores();
        }
        check_readers();
        ASSERT_EQ(fault_, "");
        ASSERT_EQ(as_desired(tables_), sorted(desired));
    }
    EXPECT_GT(stores, 1000);  // the tracer did trace
}

// Copies the tables as they are right now into `to`.
void copy_tables(const Tables& from, Tables& to) {
    const fl_limits* l = &from.limits();
#define FL_X(name, type, count) \
    std::memcpy(to.memory().base[FL_TABLE_##name], from.memory().base[FL_TABLE_##name], sizeof(type) * (count));
    FL_TABLE_LIST(FL_X)
#undef FL_X
}

TEST_F(EveryStore, MayBeTheControllersLast) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    TestGrace grace;
    auto writer = TableWriter::create(tables_, grace).value();
    auto wreck = anonymous();
    auto wreck_engine = wreck.engine();
    int deaths = 0;
    for (int step = 0; step < 6; ++step) {
        SCOPED_TRACE("step " + std::to_string(step));
        const auto desired = random_desired(random);
        const auto die_here = [&] {
            if (!fault_.empty() || random() % 8) return;
            ++deaths;
            copy_tables(tables_, wreck);
            TestGrace later;
            auto adopted = TableWriter::create(wreck, later);
            if (!adopted) return void(fault_ = adopted.error().message);
            fault_ = world_fault(wreck_engine, wreck);
            auto report = adopted->apply(desired, round_robin(desired));
            if (!report) return void(fault_ = report.error().message);
            if (fault_.empty()) fault_ = world_fault(wreck_engine, wreck);
            if (fault_.empty() && as_desired(wreck) != sorted(desired)) fault_ = "the next controller did not finish";
        };
        {
            StoreTracer tracer(tables_, die_here);
            const auto report = writer.apply(desired, round_robin(desired));
            if (!report) fault_ = report.error().message;
        }
        ASSERT_EQ(fault_, "") << "after " << deaths << " deaths";
    }
    EXPECT_GT(deaths, 50);
}

}  // namespace
}  // namespace fairlead::tables

#elif !defined(__x86_64__)
TEST(EveryStore, IsSeenWholeByReadersNewAndStopped) { GTEST_SKIP() << "single-steps on x86-64"; }
#endif
