// SPDX-License-Identifier: Apache-2.0
// Stops after every single store into the tables, one instruction at a time. x86-64 only, and not in the sanitizers' builds,
// which want the signals for themselves: where FAIRLEAD_STORE_TRACER is not defined there is none.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FAIRLEAD_STORE_TRACER

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <functional>
#include <vector>

#include "dataplane/tables/tables.h"

namespace fairlead::tables::test {

inline constexpr long long kTrapFlag = 0x100;  // EFLAGS.TF

// Calls a function after every instruction that stores into the tables. What the function itself stores is not its affair:
// lift() for as long.
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
    void lift(const std::function<void()>& function) {
        protect(PROT_READ | PROT_WRITE);
        function();
        protect(PROT_READ);
    }

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

}  // namespace fairlead::tables::test

#endif
