// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/sync_sink.h"

#include <algorithm>
#include <utility>

#include "dataplane/tables/records.h"

namespace fairlead {
namespace {

constexpr std::uint64_t kLateNs = 500'000'000;  // for which pins are taken after a takeover
constexpr std::uint32_t kGroupsAStep = 512;     // that are swept: 2 MiB of pins

plan::BackendHealth health_of(const sync::ViewRecord& view) {
    plan::BackendHealth health;
    health.verdict = static_cast<plan::Verdict>(view.verdict);
    health.dead = view.dead;
    if (health.verdict == plan::Verdict::kDown) health.reason = "the active node found it down";
    if (view.up_for_ms) health.up_for = std::chrono::milliseconds(*view.up_for_ms);
    return health;
}

}  // namespace

void SyncSink::refuse(sync::SyncRefusal reason) { ++refused_[static_cast<std::size_t>(reason)]; }

bool SyncSink::allow(const std::set<std::uint32_t>& pools) {
    const bool grew = !std::ranges::includes(allowed_, pools);
    allowed_ = pools;
    std::erase_if(told_, [&](std::uint32_t pool) { return !allowed_.contains(pool); });
    std::erase_if(views_, [&](const auto& view) {
        const auto pool = writer_.find_pool(view.first);
        return !pool || !allowed_.contains(*pool);
    });
    if (!grew || !std::exchange(told_in_vain_, false)) return false;
    whole_ = false;  // until what is asked for now has been told
    return true;
}

std::set<std::uint32_t> SyncSink::followed() const { return told_; }

std::vector<std::string> SyncSink::followed_names() const {
    std::vector<std::string> names;
    for (const auto& [name, view] : views_) names.push_back(name);
    return names;
}

void SyncSink::forget(std::uint32_t pool) {
    if (told_.erase(pool) == 0) return;
    std::erase_if(views_, [&](const auto& view) { return writer_.find_pool(view.first) == pool; });
    allowed_.erase(pool);
    late_until_[pool] = tables::monotonic_ns() + kLateNs;
    told_in_vain_ = true;
}

void SyncSink::forget_indexes() {
    begin();
    told_.clear();
    std::erase_if(views_, [this](const auto& view) {
        const auto pool = writer_.find_pool(view.first);
        if (pool) told_.insert(*pool);
        return !pool;
    });
}

const FollowedView* SyncSink::view(const std::string& pool) const {
    const auto found = views_.find(pool);
    return found == views_.end() ? nullptr : &found->second;
}

std::set<std::string> SyncSink::take_changed() { return std::exchange(changed_, {}); }

void SyncSink::begin() {
    pools_.clear();
    marks_.clear();
    told_in_vain_ = whole_ = false;
    sweep_at_.reset();
}

bool SyncSink::apply(std::span<const std::uint8_t> records) {
    return sync::read_records(records, [this](const sync::Record& record) {
        std::visit([this](const auto& known) { take(known); }, record);
    });
}

// Allowed now, too: roles change in the middle of a stream.
bool SyncSink::takes(const Pool& pool) { return pool.here && allowed_.contains(*pool.here); }

SyncSink::Pool* SyncSink::find(std::uint32_t id) {
    const auto found = pools_.find(id);
    return found != pools_.end() && takes(found->second) ? &found->second : nullptr;
}

SyncSink::Pool* SyncSink::find_for_pins(std::uint32_t id, std::uint64_t now_ns) {
    if (auto* pool = find(id)) return pool;
    const auto found = pools_.find(id);
    if (found == pools_.end() || !found->second.here) return nullptr;
    const auto late = late_until_.find(*found->second.here);
    return late != late_until_.end() && now_ns < late->second ? &found->second : nullptr;
}

void SyncSink::take(const sync::PoolRecord& record) {
    auto& pool = pools_[record.id];
    const auto here = writer_.find_pool(record.name);
    const auto flags = [&] { return tables::load_word(tables_.pools()[*here].flags); };
    if (pool.name != record.name) pool = {};
    pool.name = record.name;
    pool.here.reset();
    if (!here || writer_.slot_count(*here) != record.slots || flags() != record.flags)
        return refuse(sync::SyncRefusal::kPool);
    pool.here = here;
    pool.base = tables::load_word(tables_.pools()[*here].backend_base);
    if (!takes(pool)) {
        told_in_vain_ = true;
        return refuse(sync::SyncRefusal::kRole);
    }
    auto& view = views_[pool.name];
    if (view.tier != record.tier) changed_.insert(pool.name);
    view.tier = record.tier;
    if (told_.insert(*here).second) changed_.insert(pool.name);
}

void SyncSink::take(const sync::BackendRecord& record) {
    auto* pool = find(record.pool);
    if (!pool) return;
    pool->names.erase(record.index);
    pool->local.erase(record.index);
    const auto local = writer_.find_backend(*pool->here, record.name);
    if (!local) return refuse(sync::SyncRefusal::kBackend);
    // A way to it is each node's own where one of them is the backend itself.
    const auto& backend = tables_.backends()[writer_.global_index(*pool->here, *local)];
    const bool same_way =
        backend.forward == record.forward || backend.forward == FL_FORWARD_LOCAL || record.forward == FL_FORWARD_LOCAL;
    if (tables::from_record(backend.address) != record.address || !same_way) return refuse(sync::SyncRefusal::kBackend);
    pool->names[record.index] = record.name;
    pool->local[record.index] = *local;
}

void SyncSink::take(const sync::ViewRecord& record) {
    const auto* pool = find(record.pool);
    if (!pool) return;
    const auto name = pool->names.find(record.index);
    if (name == pool->names.end()) return;
    auto& view = views_[pool->name];
    const auto before = view;
    view.health[name->second] = health_of(record);
    plan::BackendOverride override{record.drained, record.weight, record.instead_of};
    if (record.drained || record.weight)
        view.overrides[name->second] = override;
    else
        view.overrides.erase(name->second);
    if (view != before) changed_.insert(pool->name);
}

// Nothing: the owner is nobody's name here.
std::optional<std::uint32_t> SyncSink::translate(const Pool& pool, std::uint32_t word) {
    const auto local = [&](std::uint32_t index) -> std::optional<std::uint32_t> {
        if (index == FL_NO_BACKEND) return index;
        const auto found = pool.local.find(static_cast<std::uint16_t>(index));
        return found == pool.local.end() ? std::nullopt : std::optional<std::uint32_t>(found->second);
    };
    const auto owner = local(FL_SLOT_OWNER(word)), previous = local(FL_SLOT_PREVIOUS(word));
    if (!owner || !previous) refuse(sync::SyncRefusal::kBackend);
    if (!owner) return std::nullopt;
    return FL_SLOT_WORD(*owner, previous.value_or(*owner), !!(word & FL_SLOT_LOOKUP), !!(word & FL_SLOT_LEARNING));
}

void SyncSink::take(const sync::SlotsRecord& record) {
    const auto* pool = find(record.pool);
    if (!pool) return;
    const auto present = writer_.slots_of(*pool->here).words;
    if (record.first > present.size() || record.words.size() > present.size() - record.first)
        return refuse(sync::SyncRefusal::kContent);
    changes_.clear();
    for (std::size_t i = 0; i < record.words.size(); ++i) {
        const auto slot = static_cast<std::uint32_t>(record.first + i);
        const auto word = translate(*pool, record.words[i]);
        if (word && *word != present[slot])
            changes_.push_back({.slot = slot, .word = *word, .restart_previous = false, .restart_pin = false});
    }
    if (!transitions_.following(*pool->here)) follow_(*pool->here);
    if (!transitions_.put_slots(*pool->here, changes_)) return refuse(sync::SyncRefusal::kContent);
    slots_applied_ += record.words.size();
}

bool SyncSink::take_pin(const sync::Pin& pin, std::uint64_t now_ns) {
    const auto* pool = find_for_pins(pin.pool, now_ns);
    if (!pool) return false;
    const auto local = pool->local.find(pin.backend);
    if (local == pool->local.end()) {
        refuse(sync::SyncRefusal::kBackend);
        return false;
    }
    const auto place =
        tables::put_pin(tables_, pin.bucket, pin.signature, pool->base + local->second, pin.state, pin.age, now_ns);
    if (place)
        marks_.mark(*place);
    else
        refuse(sync::SyncRefusal::kFull);
    return place.has_value();
}

void SyncSink::take(const sync::PinsRecord& record) {
    const auto now = tables::monotonic_ns();
    for (const auto& pin : record.pins)
        if (take_pin(pin, now)) ++pins_applied_;
}

void SyncSink::take(const sync::EndRecord&) {
    whole_ = true;
    sweep_at_ = 0;
}

bool SyncSink::step() {
    if (!sweep_at_) return false;
    pins_swept_ +=
        marks_.sweep(tables_, *sweep_at_, kGroupsAStep, [this](std::uint32_t pool) { return told_.contains(pool); });
    *sweep_at_ += kGroupsAStep;
    if (*sweep_at_ >= tables::pin_groups(tables_)) sweep_at_.reset();
    return sweep_at_.has_value();
}

}  // namespace fairlead
