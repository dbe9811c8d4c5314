// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/memory_steer.h"
#include "tests/support/steer_engine.h"

namespace fairlead::test {
namespace {

constexpr std::uint32_t kHeadroom = 256;   // XDP_PACKET_HEADROOM
constexpr std::uint32_t kTailroom = 1000;  // less than what the other engines leave after the largest frame of any test

class MemoryEngine : public SteerEngine {
  public:
    const char* name() const override { return "memory"; }
    std::string missing() const override { return {}; }

    tables::Tables make_tables(const fl_limits& limits) override {
        return std::move(tables::Tables::create_anonymous(limits).value());
    }

    Steered run(tables::Tables& tables, const std::vector<std::uint8_t>& frame, bool unwrap_only,
                std::uint64_t now_ns) override {
        std::vector<std::uint8_t> room(kHeadroom + frame.size() + kTailroom);
        std::copy(frame.begin(), frame.end(), room.begin() + kHeadroom);
        fl_engine engine = tables.engine();
        engine.ingress_port = 1;
        engine.now_ns = engine.now_coarse_ns = now_ns;
        engine.headroom = cramped_ ? 0 : kHeadroom;
        engine.tailroom = kTailroom;
        fl_packet packet{room.data() + kHeadroom, room.data() + kHeadroom + frame.size()};
        Steered out;
        if (unwrap_only) {
            out.verdict = fl_unwrap(&engine, &packet);
        } else {  // fl_steer(), step by step
            fl_decision& decision = out.decision.emplace();
            fl_decide(&engine, &packet, &decision);
            out.exception = decision.exception || engine.scratch.ip.fault == FL_FAULT_CHAIN ||
                            engine.scratch.inner.fault == FL_FAULT_CHAIN;
            out.verdict = fl_finish(&engine, &packet, &decision, &out.port);
        }
        out.bytes.assign(static_cast<std::uint8_t*>(packet.data), static_cast<std::uint8_t*>(packet.end));
        return out;
    }
};

}  // namespace

std::unique_ptr<SteerEngine> make_memory_engine() { return std::make_unique<MemoryEngine>(); }

}  // namespace fairlead::test
