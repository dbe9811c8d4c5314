// SPDX-License-Identifier: Apache-2.0
// The words of a VIP by which a later fragment, which has no ports, is steered all the same (layout.h, struct fl_vip):
// while all services of the VIP and the protocol share one pool that chooses by the client's address, one of them; else
// none. A word that is not 0 must be true of everything that a reader can find beside it: it is cleared before a service
// of another pool is published or the pool's affinity changes, moved to another id before its own is unlinked, and set
// when all is published and unlinked.
#include <map>
#include <unordered_set>

#include "dataplane/tables/writer_impl.h"

namespace fairlead::tables {
namespace {

// What the services of one VIP and protocol are to have in common.
struct Shared {
    std::string_view pool;  // of the first of them
    bool by_client = true;  // all of them have this pool, and it chooses by the client's address
};
using SharedPools = std::unordered_map<IpAddress, std::map<std::uint8_t, Shared>>;  // by VIP and protocol

SharedPools shared_pools(const Desired& desired) {
    std::unordered_set<std::string_view> by_client;
    for (const auto& pool : desired.pools)
        if (pool.flags & FL_POOL_CLIENT_IP) by_client.insert(pool.name);
    SharedPools all;
    for (const auto& service : desired.services) {
        const auto [found, first] = all[service.vip].try_emplace(service.protocol, Shared{service.pool, true});
        if (found->second.pool != service.pool || !by_client.contains(service.pool)) found->second.by_client = false;
    }
    return all;
}

// The pool by which later fragments to the VIP are to be steered; empty: none.
std::string_view client_pool(const SharedPools& pools, const IpAddress& vip, std::uint8_t protocol) {
    const auto of_vip = pools.find(vip);
    if (of_vip == pools.end()) return {};
    const auto found = of_vip->second.find(protocol);
    return found == of_vip->second.end() || !found->second.by_client ? std::string_view() : found->second.pool;
}

}  // namespace

// What stays true all through the change is left: no fragment loses its way to a reload that does not concern it.
void TableWriter::Impl::clear_client_words(const Desired& desired) {
    const auto shared = shared_pools(desired);
    for (const auto& [address, id] : vips)
        for (const auto& [protocol, member] : kClientWords) {
            auto& word = tables.vips()[id].*member;
            if (!word) continue;
            const auto found = pool_ids.find(client_pool(shared, address, protocol));
            const bool stays = found != pool_ids.end() && tables.services()[word].pool == found->second;
            if (!stays) store_word(word, 0);
        }
}

// Those that stand leave the ids that are about to be unlinked; the others must wait until nothing is left to be found
// that is of another pool.
void TableWriter::Impl::set_client_words(const Desired& desired, Which which) {
    const auto shared = shared_pools(desired);
    std::unordered_map<IpAddress, std::map<std::uint8_t, std::uint32_t>> lowest;
    for (const auto& service : desired.services) {
        const auto id = services.find({service.vip, service.port, service.protocol})->second;
        auto& least = lowest[service.vip].try_emplace(service.protocol, id).first->second;
        least = std::min(least, id);
    }
    for (const auto& vip : desired.vips)
        for (const auto& [protocol, member] : kClientWords) {
            const bool steered = !client_pool(shared, vip.address, protocol).empty();
            auto& word = tables.vips()[vips.find(vip.address)->second].*member;
            if (!word && which == Which::kThoseThatStand) continue;
            const std::uint32_t wanted = steered ? lowest[vip.address][protocol] : 0;
            if (word != wanted) store_word(word, wanted);
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
