// SPDX-License-Identifier: Apache-2.0
// The words of a VIP by which a later fragment, which has no ports, is steered all the same (layout.h, struct fl_vip):
// while all services of the VIP and the protocol share one pool that chooses by the client's address, one of them; else
// none. A word that is not 0 must be true of everything that a reader can find beside it: it is cleared before a service
// of another pool is published or the pool's affinity changes, moved to another id before its own is unlinked, and set
// when all is published and unlinked.
#include <unordered_set>

#include "dataplane/tables/writer_impl.h"

namespace fairlead::tables {
namespace {

// Place of a protocol's word in kClientWords; 2: it has none.
std::size_t place_of(std::uint8_t protocol) {
    const auto* found = std::find_if(std::begin(kClientWords), std::end(kClientWords),
                                     [&](const auto& word) { return word.protocol == protocol; });
    return static_cast<std::size_t>(found - std::begin(kClientWords));
}

}  // namespace

ClientPlan TableWriter::Impl::plan_clients(const Desired& desired) {
    std::unordered_set<std::string_view> by_client;
    for (const auto& pool : desired.pools)
        if (pool.flags & FL_POOL_CLIENT_IP) by_client.insert(pool.name);
    ClientPlan plan;
    for (const auto& vip : desired.vips) plan.try_emplace(vip.address);
    for (const auto& service : desired.services) {
        const auto place = place_of(service.protocol);
        if (place == std::size(kClientWords)) continue;
        auto& word = plan[service.vip][place];
        if (word.pool.empty()) word = {service.pool, by_client.contains(service.pool), 0};
        if (word.pool != service.pool) word.steered = false;
    }
    return plan;
}

// What stays true all through the change is left: no fragment loses its way to a reload that does not concern it.
void TableWriter::Impl::clear_client_words(const ClientPlan& plan) {
    for (const auto& [address, id] : vips) {
        const auto planned = plan.find(address);
        for (std::size_t place = 0; place < std::size(kClientWords); ++place) {
            auto& word = tables.vips()[id].*kClientWords[place].word;
            if (!word) continue;
            const bool wanted = planned != plan.end() && planned->second[place].steered;
            const auto pool = wanted ? pool_ids.find(planned->second[place].pool) : pool_ids.end();
            const bool stays = pool != pool_ids.end() && tables.services()[word].pool == pool->second;
            if (!stays) store_word(word, 0);
        }
    }
}

void TableWriter::Impl::choose_client_services(const Desired& desired, ClientPlan& plan) const {
    for (const auto& service : desired.services) {
        const auto place = place_of(service.protocol);
        if (place == std::size(kClientWords)) continue;
        const auto id = services.find({service.vip, service.port, service.protocol})->second;
        auto& lowest = plan[service.vip][place].lowest;
        if (lowest == 0 || id < lowest) lowest = id;
    }
}

// Those that stand leave the ids that are about to be unlinked; the others must wait until nothing is left to be found
// that is of another pool.
void TableWriter::Impl::set_client_words(const ClientPlan& plan, Which which) {
    for (const auto& [address, planned] : plan) {
        auto& record = tables.vips()[vips.find(address)->second];
        for (std::size_t place = 0; place < std::size(kClientWords); ++place) {
            auto& word = record.*kClientWords[place].word;
            if (!word && which == Which::kThoseThatStand) continue;
            const std::uint32_t wanted = planned[place].steered ? planned[place].lowest : 0;
            if (word != wanted) store_word(word, wanted);
        }
    }
}

// A word must not name a service that nobody can find: its id is soon another one's.
void TableWriter::Impl::drop_stale_client_words() {
    for (const auto& [address, id] : vips)
        for (const auto& [protocol, member] : kClientWords) {
            auto& word = tables.vips()[id].*member;
            if (!word) continue;
            const auto port = word < limits.services ? fl_ntohs(tables.services()[word].port) : std::uint16_t{0};
            const auto found = services.find({address, port, protocol});
            if (found == services.end() || found->second != word) store_word(word, 0);
        }
}

}  // namespace fairlead::tables
