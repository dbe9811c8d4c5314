// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/grace.h"

#include <bpf/bpf.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fairlead::tables {
namespace {
using Clock = std::chrono::steady_clock;

constexpr auto kFirstPause = std::chrono::microseconds(20);
constexpr auto kLongestPause = std::chrono::microseconds(2000);  // and from there on, whether the process still lives

// A store of ours before it is seen by every reader whose loads come after their own fence. ThreadSanitizer knows no
// fences, but an exchange of a word of our own is one.
void full_fence() {
#ifdef __SANITIZE_THREAD__
    static std::uint64_t word;
    __atomic_exchange_n(&word, 1, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

// State, thread count and start time of a process: proc(5), fields 3, 20 and 22 of /proc/PID/stat.
struct ProcessFacts {
    char state = 0;
    std::uint64_t threads = 0;
    std::uint64_t started = 0;
};

bool read_process(std::uint32_t pid, ProcessFacts& facts) {
    const auto path = "/proc/" + std::to_string(pid) + "/stat";
    std::FILE* file = std::fopen(path.c_str(), "re");
    if (!file) return false;
    char text[1024];
    const auto length = std::fread(text, 1, sizeof(text) - 1, file);
    std::fclose(file);
    std::string_view rest(text, length);
    const auto bracket = rest.rfind(')');  // the name before it may hold anything
    if (bracket == std::string_view::npos || bracket + 2 >= rest.size()) return false;
    rest.remove_prefix(bracket + 2);
    facts.state = rest.front();
    for (int field = 3; field <= 22 && !rest.empty(); ++field) {
        const auto space = std::min(rest.find(' '), rest.size());
        auto* value = field == 20 ? &facts.threads : field == 22 ? &facts.started : nullptr;
        if (value) std::from_chars(rest.data(), rest.data() + space, *value);
        rest.remove_prefix(std::min(space + 1, rest.size()));
    }
    return facts.started != 0;
}

// Whether the process that registered may still run. When in doubt it may.
bool may_live(std::uint32_t pid, std::uint64_t started) {
    if (kill(static_cast<pid_t>(pid), 0) && errno == ESRCH) return false;
    ProcessFacts facts;
    if (!read_process(pid, facts)) return true;
    if (started && facts.started != started) return false;  // another process by the same number
    return !((facts.state == 'Z' || facts.state == 'X') && facts.threads <= 1);
}

class WorkerGrace : public GracePeriod {
  public:
    WorkerGrace(Tables& tables, GraceOptions options) : tables_(&tables), options_(options) {}

    Result<void> wait() override {
        auto inside = readers_inside();
        const auto deadline = Clock::now() + options_.patience;
        for (auto pause = kFirstPause; !inside.empty(); pause = std::min(pause * 2, kLongestPause)) {
            const bool ask_process = pause >= kLongestPause;
            std::erase_if(inside, [&](const Reader& r) { return has_left(r, ask_process); });
            if (inside.empty()) break;
            if (Clock::now() >= deadline) return timed_out(inside.front());
            std::this_thread::sleep_for(pause);
        }
        return {};
    }

  private:
    struct Reader {
        fl_worker* worker;
        std::uint64_t epoch;
    };

    std::vector<Reader> readers_inside() {
        full_fence();  // a burst that begins after this sees all that was unlinked before it
        std::vector<Reader> inside;
        for (auto& worker : tables_->workers()) {
            if (!load_word(worker.pid)) continue;
            const auto epoch = load_word(worker.epoch);
            if (epoch & 1) inside.push_back({&worker, epoch});
        }
        return inside;
    }

    static bool has_left(const Reader& reader, bool ask_process) {
        if (load_word(reader.worker->epoch) != reader.epoch) return true;
        const auto pid = load_word(reader.worker->pid);
        return !pid || (ask_process && !may_live(pid, load_word(reader.worker->started)));
    }

    static Result<void> timed_out(const Reader& reader) {
        return fail("worker with pid " + std::to_string(load_word(reader.worker->pid)) +
                        " has been in one burst for too long (is it stopped?): what it may hold cannot be reused",
                    ETIMEDOUT);
    }

    Tables* tables_;
    GraceOptions options_;
};

// An update of an array-of-maps returns after an RCU grace period (kernel/bpf/syscall.c, maybe_wait_bpf_programs), and
// an XDP program runs inside one read-side section.
class KernelGrace : public GracePeriod {
  public:
    static Result<std::unique_ptr<GracePeriod>> create(Tables& tables, GraceOptions options) {
        auto grace = std::unique_ptr<KernelGrace>(new KernelGrace(tables, options));
        grace->inner_ = bpf_map_create(BPF_MAP_TYPE_ARRAY, "fl_grace_inner", 4, 4, 1, nullptr);
        if (grace->inner_ < 0) return failed("create the map of the grace period");
        DECLARE_LIBBPF_OPTS(bpf_map_create_opts, outer);
        outer.inner_map_fd = static_cast<__u32>(grace->inner_);
        grace->outer_ = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "fl_grace", 4, 4, 1, &outer);
        if (grace->outer_ < 0) return failed("create the map of the grace period");
        return grace;
    }

    ~KernelGrace() override {
        if (inner_ >= 0) close(inner_);
        if (outer_ >= 0) close(outer_);
    }

    Result<void> wait() override {
        const __u32 key = 0;
        if (bpf_map_update_elem(outer_, &key, &inner_, BPF_ANY)) return failed("wait for the kernel's grace period");
        return workers_.wait();
    }

  private:
    KernelGrace(Tables& tables, GraceOptions options) : workers_(tables, options) {}

    static tl::unexpected<Error> failed(const char* what) {
        const int error = errno;
        std::string text = std::string(what) + ": " + std::strerror(error);
        if (error == EPERM) text += " (needs CAP_BPF)";
        return fail(text, error);
    }

    WorkerGrace workers_;
    int inner_ = -1;
    int outer_ = -1;
};

std::uint64_t own_start_time() {
    ProcessFacts facts;
    return read_process(static_cast<std::uint32_t>(getpid()), facts) ? facts.started : 0;
}
}  // namespace

Result<std::unique_ptr<GracePeriod>> make_grace(Tables& tables, GraceOptions options) {
    if (tables.is_pinned()) return KernelGrace::create(tables, options);
    return std::unique_ptr<GracePeriod>(std::make_unique<WorkerGrace>(tables, options));
}

namespace {
std::uint32_t stride_of(const Tables& tables, std::uint32_t worker) {
    return tables.limits().strides - FL_MAX_WORKERS + worker;
}
}  // namespace

std::vector<LivingWorker> living_workers(const Tables& tables) {
    const auto workers = tables.workers();
    std::vector<LivingWorker> living;
    for (std::uint32_t i = 0; i < workers.size(); ++i) {
        const auto pid = load_word(workers[i].pid);
        if (pid && may_live(pid, load_word(workers[i].started))) living.push_back({i, pid, stride_of(tables, i)});
    }
    return living;
}

bool any_worker_lives(const Tables& tables) { return !living_workers(tables).empty(); }

Result<WorkerSlot> WorkerSlot::create(Tables& tables) {
    const auto own = static_cast<std::uint32_t>(getpid());
    const auto workers = tables.workers();
    for (std::uint32_t i = 0; i < workers.size(); ++i) {
        auto& worker = workers[i];
        std::uint32_t holder = load_word(worker.pid);
        if (holder && may_live(holder, load_word(worker.started))) continue;
        if (!__atomic_compare_exchange_n(&worker.pid, &holder, own, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        store_word(worker.started, own_start_time());
        if (const auto epoch = load_word(worker.epoch); epoch & 1) store_word(worker.epoch, epoch + 1);  // died inside
        return WorkerSlot(&worker, i, stride_of(tables, i));
    }
    return fail("all " + std::to_string(workers.size()) + " places for workers are taken", ENOSPC);
}

WorkerSlot::WorkerSlot(fl_worker* worker, std::uint32_t index, std::uint32_t stride)
    : worker_(worker), epoch_(load_word(worker->epoch)), index_(index), stride_(stride) {}

WorkerSlot::WorkerSlot(WorkerSlot&& other) noexcept
    : worker_(std::exchange(other.worker_, nullptr)),
      epoch_(other.epoch_),
      index_(other.index_),
      stride_(other.stride_) {}

WorkerSlot& WorkerSlot::operator=(WorkerSlot&& other) noexcept {
    std::swap(worker_, other.worker_);
    std::swap(epoch_, other.epoch_);
    std::swap(index_, other.index_);
    std::swap(stride_, other.stride_);
    return *this;
}

WorkerSlot::~WorkerSlot() { leave(); }

void WorkerSlot::leave() {
    if (!worker_) return;
    if (epoch_ & 1) end_burst();
    store_word(worker_->started, 0);
    store_word(worker_->pid, 0);
    worker_ = nullptr;
}

}  // namespace fairlead::tables
