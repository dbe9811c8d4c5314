// SPDX-License-Identifier: Apache-2.0
// Any bytes may come in as a frame: the core reads and writes nothing outside it, says what to do with it, counts it
// once, and leaves alone what is not for a VIP.
//
// Input: one byte that chooses the entry and the room around the frame, then the frame. Well-formed frames of every kind
// come in by the mutator, from the maker that the other tests use; libFuzzer damages them.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

// The frame lies in a heap block of its exact size, a new one with each change of its bounds: a byte too far, or a
// pointer from before, is the address sanitizer's to find.
#define FL_MEMORY_OWN_RESIZE
#include "dataplane/tables/memory_access.h"

static int fl_resize(struct fl_engine* e, struct fl_packet* p, int head, __u32 length) {
    constexpr int kStale = 0xa5;  // what lies in head and tail room is nobody's zeros
    const auto have = static_cast<int>(static_cast<__u8*>(p->end) - static_cast<__u8*>(p->data));
    if (head > static_cast<int>(e->headroom) || -head > have) return -1;
    const auto grows = static_cast<int>(length) - (have + head);
    if (grows > static_cast<int>(e->tailroom)) return -1;
    e->headroom -= static_cast<__u32>(head);
    e->tailroom -= static_cast<__u32>(grows);
    auto* block = static_cast<__u8*>(std::malloc(length));
    std::memset(block, kStale, length);
    for (int at = 0; at < static_cast<int>(length); ++at)
        if (at >= head && at - head < have) block[at] = static_cast<__u8*>(p->data)[at - head];
    std::free(p->data);
    p->data = block;
    p->end = block + length;
    return 0;
}

// After the access it is to use.
#include "dataplane/core/steer.h"
#include "dataplane/tables/grace.h"
#include "tests/bpf/frames.h"

namespace fairlead::test {
namespace {

#define FL_EXPECT(condition)                                                             \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                                \
        }                                                                                \
    } while (false)

enum Choice : std::uint8_t { kUnwrap = 1, kNoHeadroom = 2, kNoTailroom = 4, kNoTokens = 8, kMoving = 16, kDpdk = 32 };
constexpr unsigned kChoices = 64;  // of all of them
constexpr std::size_t kMaximumFrame = 2048;
constexpr int kTags = FL_VLAN_TAGS * sizeof(fl_vlan);
constexpr int kMostOverhead = sizeof(fl_ipv6) + sizeof(fl_udp);
constexpr __u64 kNow = 1'000'000'000'000;

constexpr fl_reason_class kClasses[] = {
#define FL_X(symbol, class, name, help) FL_CLASS_##class,
    FL_REASON_LIST(FL_X)
#undef FL_X
};

// Counters of the stride that the fuzzer counts in, summed by what they count.
struct Sums {
    std::array<std::uint64_t, FL_REASON_COUNT> reasons{};
    std::uint64_t refused = 0, services = 0, backends = 0, bytes = 0;
};

class Target {
  public:
    explicit Target(bool settled)
        : settled_(settled),
          tables_(tables::Tables::create_anonymous(
                      tables::limits_for(
                          {.vips = 16, .services = 128, .pools = 16, .backends = 128, .slots = 1024, .pins = 64}, 1))
                      .value()),
          grace_(tables::make_grace(tables_).value()) {
        auto writer = tables::TableWriter::create(tables_, *grace_).value();
        fill_tables(writer);  // asserts by GoogleTest, which prints and goes on
        FL_EXPECT(!testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed());
        if (!settled_) unsettle(writer);
        state_.resize(state_bytes());
        copy_state(state_.data());
    }

    void run(std::uint8_t choices, const std::uint8_t* frame, std::size_t size) {
        const bool steers = !(choices & kUnwrap);
        fl_engine engine = tables_.engine();
        engine.ingress_port = kOwnPort;
        engine.now_ns = engine.now_coarse_ns = kNow;
        engine.headroom = choices & kNoHeadroom ? 0 : 256;
        engine.tailroom = choices & kNoTailroom ? 0 : 320;
        engine.hands_over = choices & kDpdk ? 1 : 0;
        tables_.throttles()[0] = {};
        if (choices & kNoTokens) tables_.throttles()[0].answers.refilled_ns = kNow;

        auto* block = static_cast<std::uint8_t*>(std::malloc(size));
        if (size) std::memcpy(block, frame, size);
        fl_packet packet{block, block + size};
        const Sums before = sums();
        __u32 port = 0;
        const fl_verdict verdict = steers ? fl_steer(&engine, &packet, &port) : fl_unwrap(&engine, &packet);
        const auto length =
            static_cast<std::size_t>(static_cast<std::uint8_t*>(packet.end) - static_cast<std::uint8_t*>(packet.data));
        const bool same = length == size && (size == 0 || std::memcmp(packet.data, frame, size) == 0);
        if (steers || size >= sizeof(fl_eth))
            check(before, sums(), verdict, port, size, length, same, steers);
        else
            FL_EXPECT(verdict == FL_VERDICT_PASS && same);
        std::free(packet.data);
        check_state();
    }

  private:
    Sums sums() const {
        Sums sums;
        const fl_limits& limits = tables_.limits();
        const auto counters = tables_.counters();
        for (std::size_t at = 0; at < FL_COUNTER_STRIDE(&limits); ++at) {
            const fl_counter& counter = counters[at];
            if (at >= FL_EVENTS_AT && at < FL_REASONS_RESERVED) continue;  // beside a packet's end
            if (at < FL_REASON_COUNT) sums.reasons[at] = counter.packets;
            auto& kind = at < FL_COUNTER_SERVICE(&limits, 0)   ? sums.refused
                         : at < FL_COUNTER_BACKEND(&limits, 0) ? sums.services
                                                               : sums.backends;
            kind += counter.packets;
            if (at < FL_COUNTER_BACKEND(&limits, 0)) sums.bytes += counter.bytes;
        }
        return sums;
    }

    static void check(const Sums& before, const Sums& after, fl_verdict verdict, __u32 port, std::size_t size,
                      std::size_t length, bool same, bool steers) {
        const auto served = after.services - before.services;
        FL_EXPECT(after.refused - before.refused + served == 1);
        FL_EXPECT(after.backends - before.backends == served);
        FL_EXPECT(after.bytes - before.bytes == size);
        FL_EXPECT(steers || verdict == FL_VERDICT_PASS || verdict == FL_VERDICT_DROP);
        const int grown = static_cast<int>(length) - static_cast<int>(size);
        if (served) {
            FL_EXPECT(verdict == FL_VERDICT_PASS || verdict == FL_VERDICT_TRANSMIT);
            if (verdict == FL_VERDICT_TRANSMIT) {
                FL_EXPECT(port == kOwnPort || port == kOtherPort);
                FL_EXPECT(grown >= -kTags && grown <= kTags + kMostOverhead);
            } else {  // local, perhaps out of a tunnel
                FL_EXPECT(same || grown <= -static_cast<int>(sizeof(fl_ipv4)));
            }
            return;
        }
        std::size_t reason = 0;
        while (reason < FL_REASON_COUNT && after.reasons[reason] == before.reasons[reason]) ++reason;
        FL_EXPECT(reason < FL_REASON_COUNT);
        FL_EXPECT(reason != FL_REASON_INTERNAL);
        switch (kClasses[reason]) {
            case FL_CLASS_PASSED:
                FL_EXPECT(verdict == FL_VERDICT_PASS);
                FL_EXPECT(same == (reason != FL_REASON_DECAPSULATED));
                break;
            case FL_CLASS_ANSWERED:
                FL_EXPECT(verdict == FL_VERDICT_TRANSMIT && port == kOwnPort);
                break;
            case FL_CLASS_DROPPED:
                FL_EXPECT(verdict == FL_VERDICT_DROP);
                break;
            case FL_CLASS_HANDED:
                FL_EXPECT(verdict == FL_VERDICT_EXCEPTION && same);
                break;
        }
    }

    // What no packet changes; pins and stamps only where every slot is settled.
    template <typename Visit>
    void each_state(Visit visit) const {
        const auto bytes = [&](auto span) { visit(span.data(), span.size_bytes()); };
        bytes(tables_.vips());
        bytes(tables_.services());
        bytes(tables_.pools());
        bytes(tables_.slots());
        bytes(tables_.backends());
        bytes(tables_.nexthops());
        if (!settled_) return;
        bytes(tables_.stamps());
        bytes(tables_.pins());
    }
    std::size_t state_bytes() const {
        std::size_t total = 0;
        each_state([&](const void*, std::size_t size) { total += size; });
        return total;
    }
    void copy_state(std::uint8_t* to) const {
        each_state([&](const void* from, std::size_t size) {
            std::memcpy(to, from, size);
            to += size;
        });
    }
    void check_state() const {
        const std::uint8_t* expected = state_.data();
        each_state([&](const void* now, std::size_t size) {
            FL_EXPECT(std::memcmp(now, expected, size) == 0);
            expected += size;
        });
    }

    bool settled_;
    tables::Tables tables_;
    std::unique_ptr<tables::GracePeriod> grace_;
    std::vector<std::uint8_t> state_;
};

}  // namespace
}  // namespace fairlead::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static fairlead::test::Target settled(true), moving(false);
    if (size == 0 || size > fairlead::test::kMaximumFrame) return 0;
    (data[0] & fairlead::test::kMoving ? moving : settled).run(data[0], data + 1, size - 1);
    return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {
// Makes the outer IP header say the frame's own length, so that what is cut short gets past the first look at it.
void mend_length(std::uint8_t* frame, std::size_t size) {
    constexpr std::size_t kEth = sizeof(fl_eth), kIpv6 = kEth + sizeof(fl_ipv6);
    const bool v6 = size > kEth && frame[kEth] >> 4 == 6;
    if (size < (v6 ? kIpv6 : kEth + sizeof(fl_ipv4))) return;
    const auto length = size - (v6 ? kIpv6 : kEth);
    auto* field = frame + kEth + (v6 ? 4 : 2);
    field[0] = static_cast<std::uint8_t>(length >> 8);
    field[1] = static_cast<std::uint8_t>(length);
}

std::size_t fresh(std::uint8_t* data, std::size_t max_size, unsigned seed) {
    const auto frame = fairlead::test::FrameMaker(seed).next();
    if (frame.size() >= max_size) return 0;
    data[0] = static_cast<std::uint8_t>(seed / 8 % fairlead::test::kChoices);
    std::memcpy(data + 1, frame.data(), frame.size());
    return frame.size() + 1;
}
}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
    std::size_t result = 0;
    switch (seed % 8) {
        case 0:
        case 1:
            result = fresh(data, max_size, seed);
            break;
        case 2:
        case 3:  // cut: the headers' own sizes are what it takes
            if (size > 1) {
                result = 1 + seed / 8 % std::min<std::size_t>(size, 160);
                mend_length(data + 1, result - 1);
            }
            break;
        case 4:
            result = LLVMFuzzerMutate(data, size, max_size);
            mend_length(data + 1, result - 1);
            break;
        default:
            break;
    }
    return result ? result : LLVMFuzzerMutate(data, size, max_size);
}
