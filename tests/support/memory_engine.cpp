// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/memory_steer.h"
#include "tests/support/steer_engine.h"

namespace fairlead::test {
namespace {

constexpr std::uint32_t kRoom = 128;  // before and behind a frame

class MemoryEngine : public SteerEngine {
  public:
    std::string missing() const override { return {}; }

    tables::Tables make_tables(const fl_limits& limits) override {
        return std::move(tables::Tables::create_anonymous(limits).value());
    }

    Steered run(const tables::Tables& tables, const std::vector<std::uint8_t>& frame, bool unwrap_only,
                std::uint64_t now_ns) override {
        std::vector<std::uint8_t> room(kRoom + frame.size() + kRoom);
        std::copy(frame.begin(), frame.end(), room.begin() + kRoom);
        fl_engine engine = tables.engine();
        engine.ingress_port = 1;
        engine.now_ns = engine.now_coarse_ns = now_ns;
        engine.headroom = engine.tailroom = kRoom;
        fl_packet packet{room.data() + kRoom, room.data() + kRoom + frame.size()};
        Steered out;
        out.verdict = unwrap_only ? fl_unwrap(&engine, &packet) : fl_steer(&engine, &packet, &out.port);
        out.bytes.assign(static_cast<std::uint8_t*>(packet.data), static_cast<std::uint8_t*>(packet.end));
        return out;
    }
};

}  // namespace

std::unique_ptr<SteerEngine> make_steer_engine() { return std::make_unique<MemoryEngine>(); }

}  // namespace fairlead::test
