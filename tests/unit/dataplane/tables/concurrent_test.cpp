// SPDX-License-Identifier: Apache-2.0
// Readers that run against the writer, as the poll-mode workers do, each checking that what it finds is whole. Under
// ThreadSanitizer this also shows that every record is published by what names it, and reused after its readers.
#include <atomic>
#include <thread>

#include "tests/unit/dataplane/tables/support.h"

namespace fairlead::tables {
namespace {
using namespace test;  // the small world

constexpr int kReaders = 2;
constexpr int kChanges = 60;

class Readers {
  public:
    explicit Readers(Tables& tables) : tables_(tables) {
        for (int i = 0; i < kReaders; ++i) threads_.emplace_back([this] { read(); });
        while (started_ < kReaders) std::this_thread::yield();
    }
    ~Readers() { stop(); }
    void stop() {
        stop_ = true;
        for (auto& thread : threads_)
            if (thread.joinable()) thread.join();
    }
    std::string fault() const { return failed_ ? fault_ : ""; }
    std::uint64_t bursts() const { return bursts_; }
    std::uint64_t found() const { return found_; }

  private:
    void read() {
        auto slot = WorkerSlot::create(tables_);
        auto engine = tables_.engine();
        ++started_;
        while (!stop_) {
            slot->begin_burst();
            std::string fault;
            for (int v = 0; v < kVips && fault.empty(); ++v) {
                for (const auto port : kPortNumbers) {
                    const auto found = look_up(engine, tables_, v, port, fault);
                    if (!found.service || !fault.empty()) continue;
                    ++found_;
                    fault = pool_fault(engine, tables_, found.pool);
                    if (!fault.empty()) break;
                }
            }
            slot->end_burst();
            ++bursts_;
            if (!fault.empty() && !failed_.exchange(true)) fault_ = fault;
        }
    }

    Tables& tables_;
    std::vector<std::thread> threads_;
    std::atomic<bool> stop_ = false;
    std::atomic<int> started_ = 0;
    std::atomic<std::uint64_t> bursts_ = 0;
    std::atomic<std::uint64_t> found_ = 0;
    std::atomic<bool> failed_ = false;
    std::string fault_;  // of the first that failed; read after stop()
};

TEST(Concurrent, ReadersFindWholeRecordsWhileTheWriterChangesEverything) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    auto tables = anonymous();
    auto grace = make_grace(tables, {.patience = std::chrono::seconds(60)}).value();
    auto writer = TableWriter::create(tables, *grace).value();
    Readers readers(tables);
    for (int change = 0; change < kChanges; ++change) {
        const auto desired = random_desired(random);
        const auto report = writer.apply(desired, round_robin(desired));
        ASSERT_TRUE(report) << report.error().message;
        ASSERT_FALSE(report->reuse_pending);
        for (const auto& pool : desired.pools) {  // health moves slots and words between changes
            const auto id = writer.find_pool(pool.name).value();
            std::vector<std::uint16_t> owners;
            for (std::uint32_t i = 0; i < writer.slot_count(id); ++i) {
                const auto& chosen = pool.backends[random() % pool.backends.size()].name;
                owners.push_back(writer.find_backend(id, chosen).value());
            }
            ASSERT_OK(writer.set_slots(id, owners));
            ASSERT_OK(writer.set_backend_state(id, owners[0], FL_BACKEND_HEALTHY, 1500, 0));
        }
    }
    readers.stop();
    EXPECT_EQ(readers.fault(), "");
    EXPECT_GT(readers.bursts(), 100U);
    EXPECT_GT(readers.found(), 100U);
}

// lbctl and the metrics read under no grace period: names may be old, never torn, nor the process harmed.
TEST(Concurrent, SnapshotsAreTakenWhileTheWriterWrites) {
    std::mt19937 random(7);
    auto tables = anonymous();
    auto grace = make_grace(tables).value();
    auto writer = TableWriter::create(tables, *grace).value();
    std::atomic<bool> stop = false;
    std::atomic<int> taken = 0;
    std::thread reader([&] {
        while (!stop) {
            const auto snapshot = take_snapshot(std::as_const(tables));
            for (const auto& service : snapshot.services) EXPECT_EQ(service.name.rfind("s", 0), 0U);
            for (const auto& pool : snapshot.pools)
                for (const auto& backend : pool.backends) EXPECT_EQ(backend.name.rfind("p", 0), 0U);
            ++taken;
        }
    });
    for (int change = 0; change < 30 || taken < 5; ++change) {
        const auto desired = random_desired(random);
        ASSERT_OK(writer.apply(desired, round_robin(desired)));
    }
    stop = true;
    reader.join();
}

}  // namespace
}  // namespace fairlead::tables
