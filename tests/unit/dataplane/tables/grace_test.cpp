// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/grace.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/unit/dataplane/tables/support.h"

namespace fairlead::tables {
namespace {
using std::chrono::milliseconds;

// A worker in a process of its own that goes into a burst, says so, and does as told.
class Child {
  public:
    enum class Then { kStop, kExitInside };

    Child(Tables& tables, Then then) {
        int ready[2];
        if (pipe(ready)) throw std::runtime_error("pipe");
        pid_ = fork();
        if (pid_ == 0) run(tables, then, ready[1]);
        close(ready[1]);
        char byte = 0;
        if (read(ready[0], &byte, 1) != 1) throw std::runtime_error("the child did not start");
        close(ready[0]);
        if (then == Then::kStop) waitpid(pid_, nullptr, WUNTRACED);
    }
    ~Child() { reap(); }
    void go_on() { kill(pid_, SIGCONT); }
    void kill_it() { kill(pid_, SIGKILL); }
    void reap() {
        if (pid_ <= 0) return;
        kill(pid_, SIGKILL);
        waitpid(std::exchange(pid_, -1), nullptr, 0);
    }
    // Until it is a zombie: dead, and its pid still taken.
    void await_death() {
        siginfo_t info{};
        waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
    }

  private:
    [[noreturn]] static void run(Tables& tables, Then then, int ready) {
        auto slot = WorkerSlot::create(tables);
        slot->begin_burst();
        if (write(ready, "r", 1) != 1) _exit(1);
        if (then == Then::kExitInside) _exit(0);
        raise(SIGSTOP);  // between two loads, for as long as it likes
        slot->end_burst();
        for (;;) pause();
    }
    pid_t pid_ = -1;
};

Result<void> wait_for(Tables& tables, milliseconds patience) {
    return make_grace(tables, {.patience = patience}).value()->wait();
}

TEST(Grace, WithoutWorkersThereIsNothingToWaitFor) {
    auto tables = test::anonymous();
    EXPECT_TRUE(wait_for(tables, milliseconds(0)));
}

TEST(Grace, AWorkerBetweenBurstsDoesNotHoldItUp) {
    auto tables = test::anonymous();
    auto slot = WorkerSlot::create(tables);
    ASSERT_OK(slot);
    EXPECT_TRUE(wait_for(tables, milliseconds(0)));
    slot->begin_burst();
    slot->end_burst();
    EXPECT_TRUE(wait_for(tables, milliseconds(0)));
}

TEST(Grace, AWorkerInsideABurstHoldsItUp) {
    auto tables = test::anonymous();
    auto slot = WorkerSlot::create(tables);
    ASSERT_OK(slot);
    slot->begin_burst();
    auto waited = wait_for(tables, milliseconds(5));
    ASSERT_FALSE(waited);
    EXPECT_EQ(waited.error().code, ETIMEDOUT);
    slot->end_burst();
    EXPECT_TRUE(wait_for(tables, milliseconds(0)));
}

// A worker is never out of work; it is enough that it has passed from one burst into the next.
TEST(Grace, ABusyWorkerHoldsItUpForOneBurstOnly) {
    auto tables = test::anonymous();
    std::atomic<bool> stop = false;
    std::atomic<bool> running = false;
    std::thread busy([&] {
        auto slot = WorkerSlot::create(tables);
        while (!stop) {
            slot->begin_burst();
            running = true;
            slot->end_burst();
        }
    });
    while (!running) std::this_thread::yield();
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(wait_for(tables, milliseconds(10'000)));
    stop = true;
    busy.join();
}

TEST(Grace, AStoppedWorkerHoldsItUpUntilItGoesOn) {
    auto tables = test::anonymous();
    Child child(tables, Child::Then::kStop);
    EXPECT_FALSE(wait_for(tables, milliseconds(20)));
    child.go_on();
    EXPECT_TRUE(wait_for(tables, milliseconds(10'000)));
}

TEST(Grace, ADeadWorkerIsPassedOver) {
    auto tables = test::anonymous();
    Child child(tables, Child::Then::kExitInside);
    child.await_death();
    EXPECT_TRUE(wait_for(tables, milliseconds(10'000)));  // a zombie holds nothing
    child.reap();
    EXPECT_TRUE(wait_for(tables, milliseconds(10'000)));
}

TEST(Grace, AWorkerKilledWhileWeWaitIsPassedOver) {
    auto tables = test::anonymous();
    Child child(tables, Child::Then::kStop);
    std::thread killer([&] {
        std::this_thread::sleep_for(milliseconds(10));
        child.kill_it();
    });
    EXPECT_TRUE(wait_for(tables, milliseconds(10'000)));
    killer.join();
}

// The pid of a dead worker may be somebody else's by now.
TEST(Grace, APidUsedAgainIsNotTakenForTheWorker) {
    auto tables = test::anonymous();
    auto& worker = tables.workers()[0];
    worker.epoch = 1;
    worker.started = 1;  // long before this process
    worker.pid = static_cast<__u32>(getpid());
    EXPECT_TRUE(wait_for(tables, milliseconds(10'000)));
    EXPECT_FALSE(any_worker_lives(tables));
    auto slot = WorkerSlot::create(tables);
    ASSERT_OK(slot);
    EXPECT_EQ(slot->index(), 0U);
    EXPECT_EQ(load_word(worker.epoch) % 2, 0U);
    EXPECT_TRUE(wait_for(tables, milliseconds(0)));
}

TEST(WorkerSlot, EachHasItsOwnStrideAndGivesItBack) {
    auto tables = test::anonymous();
    std::vector<WorkerSlot> slots;
    std::set<std::uint32_t> strides;
    for (std::uint32_t i = 0; i < FL_MAX_WORKERS; ++i) {
        auto slot = WorkerSlot::create(tables);
        ASSERT_OK(slot);
        strides.insert(slot->stride());
        slots.push_back(std::move(*slot));
    }
    EXPECT_EQ(strides.size(), std::size_t{FL_MAX_WORKERS});
    EXPECT_EQ(*strides.begin(), 1U);  // behind the one CPU
    EXPECT_LT(*strides.rbegin(), tables.limits().strides);
    EXPECT_FALSE(WorkerSlot::create(tables));
    EXPECT_TRUE(any_worker_lives(tables));
    slots.clear();
    EXPECT_FALSE(any_worker_lives(tables));
    EXPECT_TRUE(WorkerSlot::create(tables));
}

TEST(WorkerSlot, LeavingInsideABurstEndsIt) {
    auto tables = test::anonymous();
    {
        auto slot = WorkerSlot::create(tables);
        ASSERT_OK(slot);
        slot->begin_burst();
    }
    EXPECT_TRUE(wait_for(tables, milliseconds(0)));
}

// The rule as the writer keeps it: what a stopped reader may hold is neither freed nor given to another.
TEST(Reuse, NothingIsReusedWhileAReaderIsStoppedBetweenTwoLoads) {
    auto tables = test::anonymous();
    auto grace = make_grace(tables, {.patience = milliseconds(20)}).value();
    auto writer = TableWriter::create(tables, *grace);
    ASSERT_OK(writer);
    const auto before = test::smallest();
    ASSERT_OK(writer->apply(before, test::round_robin(before)));
    const auto service = writer->find_service(test::vip_address(0), 80, test::kTcp).value();
    const auto pool = writer->find_pool("pool0").value();
    const auto backend = writer->global_index(pool, writer->find_backend(pool, "p0b0").value());
    const auto slots = tables.pools()[pool].slots;
    const auto record = tables.services()[service];

    Child reader(tables, Child::Then::kStop);
    auto report = writer->apply({});
    ASSERT_OK(report);
    EXPECT_TRUE(report->reuse_pending);
    EXPECT_EQ(writer->find_pool("pool0"), std::nullopt);
    // All that it may hold is as it was.
    EXPECT_EQ(std::memcmp(&tables.services()[service], &record, sizeof(record)), 0);
    EXPECT_EQ(tables.pools()[pool].slots, slots);
    EXPECT_NE(tables.pools()[pool].name, 0U);
    EXPECT_EQ(tables.backends()[backend].pool, pool);
    // And a change that would need room does not take it.
    const Desired other{{test::vip(2)}, {test::pool(3, 2)}, {test::service(2, 443, 3)}};
    auto refused = writer->apply(other, test::round_robin(other));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ETIMEDOUT);
    EXPECT_EQ(tables.backends()[backend].pool, pool);

    reader.go_on();
    auto patient = make_grace(tables).value();
    ASSERT_OK(patient->wait());
    ASSERT_OK(writer->apply(other, test::round_robin(other)));
    EXPECT_EQ(test::as_desired(tables), test::sorted(other));
    EXPECT_EQ(writer->find_pool("pool3"), pool);  // now it is used again
}

}  // namespace
}  // namespace fairlead::tables
