// SPDX-License-Identifier: Apache-2.0
// A pool whose slots are in transition, on anonymous tables, and the real core to ask where a segment or a datagram goes:
// what the tests of pins and of transitions share. Words are written as a controller would write them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "dataplane/tables/memory_steer.h"
#include "dataplane/tables/writer.h"
#include "tests/support/packet.h"

namespace fairlead::test {

struct MovingPoolShape {
    std::uint16_t backends = 4;
    std::uint32_t slots = 16;
    std::uint32_t pins = 1024;
    std::uint32_t idle_timeout_s = 3600;
    bool reversed = false;  // behind another pool, its backends the other way round: the same under other indexes
};

// Of one connection, built once. What the core only decides about, it does not change.
struct FlowPackets {
    FlowPackets(std::uint16_t client_port, std::uint16_t service_port)
        : syn(segment(client_port, service_port, {.syn = true})),
          data(segment(client_port, service_port, {.ack = true})),
          fin(segment(client_port, service_port, {.ack = true, .fin = true})),
          datagram((Ethernet{} / Ipv4{} / Udp{.source = client_port, .destination = service_port}).bytes()) {}

    Bytes syn, data, fin, datagram;

  private:
    static Bytes segment(std::uint16_t client_port, std::uint16_t service_port, Tcp tcp) {
        tcp.source = client_port;
        tcp.destination = service_port;
        return (Ethernet{} / Ipv4{} / tcp).bytes();
    }
};

class MovingPool {
  public:
    static constexpr std::uint16_t kPort = 8000;
    static constexpr int kNobody = -1;

    explicit MovingPool(const MovingPoolShape& shape)
        : tables_(std::make_unique<tables::Tables>(tables::Tables::create_anonymous(limits(shape)).value())),
          grace_(tables::make_grace(*tables_).value()),
          writer_(tables::TableWriter::create(*tables_, *grace_).value()) {
        check(writer_->set_hash_key({2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5}));
        check(writer_->set_role(0, UINT64_MAX));
        check(writer_->set_port(1,
                                {.name = "eth1", .ifindex = 7, .mac = MacAddress::parse("02:00:00:00:00:01").value()}));
        hop_ = writer_->allocate_nexthop().value();
        check(writer_->set_nexthop(hop_, MacAddress::parse("02:00:00:00:00:b1").value(), 1));
        publish(shape);
        base_ = FL_SLOTS_BASE(tables_->pools()[pool_].slots);
        for (std::uint16_t backend = 0; backend < shape.backends; ++backend) set_state(backend, FL_BACKEND_HEALTHY);
    }

    tables::Tables& tables() { return *tables_; }
    tables::TableWriter& writer() { return *writer_; }

    void set_state(std::uint16_t backend, fl_backend_state state) {
        check(writer_->set_backend_state(pool_, backend, state, 1500, hop_));
    }
    std::uint32_t id() const { return pool_; }
    std::uint32_t global_index(std::uint16_t backend) const { return writer_->global_index(pool_, backend); }

    std::uint32_t& word(std::uint32_t slot) {
        return tables_->slots()[(base_ + slot) / FL_SLOTS_PER_LINE].words[(base_ + slot) % FL_SLOTS_PER_LINE];
    }
    fl_stamp& stamp(std::uint32_t slot) { return tables_->stamps()[base_ + slot]; }
    void set_words(std::uint32_t word_of_all) {
        for (std::uint32_t slot = 0; slot <= FL_SLOTS_MASK(tables_->pools()[pool_].slots); ++slot)
            tables::store_word(word(slot), word_of_all);
    }

    fl_engine engine(std::uint32_t stride = 0) const {
        auto engine = tables_->engine();
        engine.ingress_port = 1;
        engine.stride = stride;
        return engine;
    }

    fl_decision decide(fl_engine& engine, const Bytes& frame) const {
        auto* data = const_cast<std::uint8_t*>(frame.data());
        const fl_packet packet{data, data + frame.size()};
        fl_decision decision;
        fl_decide(&engine, &packet, &decision);
        return decision;
    }
    // The pool-local index of the backend, or kNobody.
    int to(fl_engine& engine, const Bytes& frame) const {
        const auto decision = decide(engine, frame);
        return decision.action == FL_ACTION_FORWARD ? static_cast<int>(decision.backend_index - first_) : kNobody;
    }

    std::uint64_t events(fl_event event) const { return tables::CounterReader(*tables_).event(event); }

  private:
    static fl_limits limits(const MovingPoolShape& shape) {
        return tables::limits_for({8, 8, 8, shape.backends + 1U, 2 * shape.slots, shape.pins}, 1);
    }
    static void check(const Result<void>& result) {
        if (!result) throw std::runtime_error(result.error().message);
    }

    void publish(const MovingPoolShape& shape) {
        const auto vip = IpAddress::parse(Ipv4{}.destination).value();
        tables::Desired desired;
        desired.vips.push_back({.address = vip, .reset = true});
        tables::DesiredPool pool{.name = "web",
                                 .flags = FL_POOL_ALL_DOWN_RESET,
                                 .slots = shape.slots,
                                 .idle_timeout_s = shape.idle_timeout_s,
                                 .backends = {}};
        for (std::uint16_t backend = 0; backend < shape.backends; ++backend)
            pool.backends.push_back({.name = "b" + std::to_string(backend),
                                     .address = IpAddress::parse("203.0.113." + std::to_string(backend + 1)).value()});
        if (shape.reversed) {
            std::reverse(pool.backends.begin(), pool.backends.end());
            desired.pools.push_back({.name = "other", .slots = 16, .backends = {pool.backends.front()}});
        }
        desired.pools.push_back(pool);
        for (const std::uint8_t protocol : {6, 17})
            desired.services.push_back({"web" + std::to_string(protocol), vip, kPort, protocol, "web"});
        if (const auto report = writer_->apply(desired); !report) throw std::runtime_error(report.error().message);
        pool_ = writer_->find_pool("web").value();
        first_ = global_index(0);
    }

    std::unique_ptr<tables::Tables> tables_;
    std::unique_ptr<tables::GracePeriod> grace_;
    std::optional<tables::TableWriter> writer_;
    std::uint32_t pool_ = 0, base_ = 0, hop_ = 0, first_ = 0;
};

}  // namespace fairlead::test
