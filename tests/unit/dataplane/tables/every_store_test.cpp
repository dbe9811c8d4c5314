// SPDX-License-Identifier: Apache-2.0
// The rules of DESIGN section 4 at every single store. The tables are write-protected; each store of the writer faults,
// is let through one instruction at a time, and right after it
//   - a reader that comes just now must find a whole world,
//   - every reader that came at an earlier store, since the last grace period, must still find what it holds whole,
//   - a controller that dies just there must leave tables that another one adopts and finishes.
// x86-64 only. Not part of the sanitizers' builds, which want the signals for themselves: the plain build runs it.
#include <gtest/gtest.h>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <map>

#include "tests/unit/dataplane/tables/support.h"

namespace fairlead::tables {
namespace {
using namespace test;  // the small world

constexpr long long kTrapFlag = 0x100;  // EFLAGS.TF

// Calls a function after every instruction that stores into the tables.
class StoreTracer {
  public:
    StoreTracer(Tables& tables, std::function<void()> after_store) : after_store_(std::move(after_store)) {
        const auto& memory = tables.memory();
        const fl_limits* l = &memory.limits;
#define FL_X(name, type, count) \
    regions_.push_back({static_cast<char*>(memory.base[FL_TABLE_##name]), pages(sizeof(type) * (count))});
        FL_TABLE_LIST(FL_X)
#undef FL_X
        active_ = this;
        struct sigaction action{};
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
            active_->handle(signal, info, static_cast<ucontext_t*>(context));
        };
        sigaction(SIGSEGV, &action, &old_segv_);
        sigaction(SIGTRAP, &action, &old_trap_);
        protect(PROT_READ);
    }
    ~StoreTracer() {
        protect(PROT_READ | PROT_WRITE);
        sigaction(SIGSEGV, &old_segv_, nullptr);
        sigaction(SIGTRAP, &old_trap_, nullptr);
        active_ = nullptr;
    }
    StoreTracer(const StoreTracer&) = delete;
    StoreTracer& operator=(const StoreTracer&) = delete;
    int stores() const { return stores_; }

  private:
    struct Region {
        char* base;
        std::size_t length;
    };
    static std::size_t pages(std::size_t bytes) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        return (bytes + page - 1) / page * page;
    }
    void protect(int protection) {
        for (const auto& region : regions_) mprotect(region.base, region.length, protection);
    }
    void handle(int signal, siginfo_t* info, ucontext_t* context) {
        auto& flags = context->uc_mcontext.gregs[REG_EFL];
        if (signal == SIGTRAP) {  // the store is done; nothing of ours is locked at an instruction of the writer's
            flags &= ~kTrapFlag;
            ++stores_;
            after_store_();
            for (const auto* region : open_) mprotect(region->base, region->length, PROT_READ);
            open_.clear();
            return;
        }
        const auto* at = static_cast<char*>(info->si_addr);
        for (const auto& region : regions_) {
            if (at < region.base || at >= region.base + region.length) continue;
            mprotect(region.base, region.length, PROT_READ | PROT_WRITE);
            open_.push_back(&region);
            flags |= kTrapFlag;
            return;
        }
        ::signal(SIGSEGV, SIG_DFL);  // somebody else's fault, in both senses: it comes again
    }

    static inline StoreTracer* active_ = nullptr;
    std::vector<Region> regions_;
    std::vector<const Region*> open_;  // written by the instruction under way
    std::function<void()> after_store_;
    struct sigaction old_segv_{};
    struct sigaction old_trap_{};
    int stores_ = 0;
};

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
