// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/records.h"

#include <algorithm>
#include <bit>

#include "ctl/ha/wire.h"
#include "dataplane/tables/limits.h"

namespace fairlead::sync {
namespace {

using wire::get;
using wire::put;
using Bytes = std::span<const std::uint8_t>;

enum Type : std::uint8_t { kPool = 1, kBackend = 2, kView = 3, kSlots = 4, kPins = 5, kEnd = 6 };

constexpr std::size_t kHeaderBytes = 4;
constexpr std::size_t kPoolBytes = 18, kBackendBytes = 24;  // and the name
constexpr std::size_t kViewBytes = 20, kEndBytes = 16;
constexpr std::size_t kSlotsBytes = 8, kWordBytes = 4;
constexpr std::size_t kPinsBytes = 4, kPinBytes = 12;
constexpr std::size_t kLongest = 0xffff;

constexpr std::uint8_t kHasTier = 1;
constexpr std::uint8_t kDead = 1, kDrained = 2, kHasWeight = 4, kHasUpFor = 8;
constexpr std::uint8_t kLastVerdict = 2;              // plan::Verdict
constexpr std::uint32_t kMostSlots = 1U << 24;        // DESIGN section 9
constexpr std::uint8_t kConfirmed = 2, kClosing = 3;  // enum fl_pin_state (dataplane/core/pins.h)
constexpr std::uint16_t kLastAge = 0x3ff;             // FL_PIN_TIME_MASK
constexpr unsigned kPinStateShift = 10;

bool is_name(Bytes name) {
    return !name.empty() && is_shown_name({reinterpret_cast<const char*>(name.data()), name.size()});
}

// A flag that is off has a value of 0, so that equal records are equal bytes.
std::uint32_t present(bool there, std::uint32_t value, bool& wrong) {
    wrong = wrong || (!there && value != 0);
    return value;
}

std::optional<Record> read_pool(Bytes body) {
    if (body.size() <= kPoolBytes || body.size() != kPoolBytes + body[17]) return std::nullopt;
    PoolRecord pool{get<std::uint32_t>(body, 0), get<std::uint32_t>(body, 4), get<std::uint32_t>(body, 8), {}, {}};
    bool wrong = false;
    const bool has_tier = body[16] == kHasTier;
    const auto tier = present(has_tier, get<std::uint32_t>(body, 12), wrong);
    const auto name = body.subspan(kPoolBytes);
    if (wrong || body[16] > kHasTier || !std::has_single_bit(pool.slots) || pool.slots > kMostSlots || !is_name(name))
        return std::nullopt;
    if (has_tier) pool.tier = static_cast<std::int32_t>(tier);
    pool.name.assign(name.begin(), name.end());
    return pool;
}

std::optional<Record> read_backend(Bytes body) {
    if (body.size() <= kBackendBytes || body.size() != kBackendBytes + body[7]) return std::nullopt;
    IpAddress::Bytes address{};
    std::copy_n(body.begin() + 8, address.size(), address.begin());
    const auto name = body.subspan(kBackendBytes);
    BackendRecord backend{get<std::uint32_t>(body, 0), get<std::uint16_t>(body, 4), body[6], IpAddress(address), {}};
    if (backend.index >= kNobody || backend.forward > FL_FORWARD_NAT || !is_name(name)) return std::nullopt;
    backend.name.assign(name.begin(), name.end());
    return backend;
}

std::optional<Record> read_view(Bytes body) {
    if (body.size() != kViewBytes) return std::nullopt;
    const auto flags = body[7];
    ViewRecord view{get<std::uint32_t>(body, 0),
                    get<std::uint16_t>(body, 4),
                    body[6],
                    (flags & kDead) != 0,
                    (flags & kDrained) != 0,
                    {},
                    0,
                    {}};
    const bool has_weight = (flags & kHasWeight) != 0, has_up_for = (flags & kHasUpFor) != 0;
    bool wrong = (flags & ~(kDead | kDrained | kHasWeight | kHasUpFor)) != 0;
    const auto weight = present(has_weight, get<std::uint32_t>(body, 8), wrong);
    const auto up_for = present(has_up_for, get<std::uint32_t>(body, 16), wrong);
    view.instead_of = present(has_weight, get<std::uint32_t>(body, 12), wrong);
    if (wrong || view.index >= kNobody || view.verdict > kLastVerdict) return std::nullopt;
    if (has_weight) view.weight = weight;
    if (has_up_for) view.up_for_ms = up_for;
    return view;
}

std::optional<Record> read_slots(Bytes body) {
    if (body.size() <= kSlotsBytes || (body.size() - kSlotsBytes) % kWordBytes != 0) return std::nullopt;
    SlotsRecord slots{get<std::uint32_t>(body, 0), get<std::uint32_t>(body, 4), {}};
    const auto count = (body.size() - kSlotsBytes) / kWordBytes;
    if (std::uint64_t{slots.first} + count > kMostSlots) return std::nullopt;
    slots.words.reserve(count);
    for (std::size_t at = kSlotsBytes; at < body.size(); at += kWordBytes)
        slots.words.push_back(get<std::uint32_t>(body, at));
    return slots;
}

std::optional<Record> read_pins(Bytes body) {
    if (body.size() <= kPinsBytes || (body.size() - kPinsBytes) % kPinBytes != 0) return std::nullopt;
    const auto pool = get<std::uint32_t>(body, 0);
    PinsRecord pins;
    pins.pins.reserve((body.size() - kPinsBytes) / kPinBytes);
    for (std::size_t at = kPinsBytes; at < body.size(); at += kPinBytes) {
        const auto last = get<std::uint16_t>(body, at + 10);
        const Pin pin{get<std::uint32_t>(body, at),
                      get<std::uint32_t>(body, at + 4),
                      pool,
                      get<std::uint16_t>(body, at + 8),
                      static_cast<std::uint16_t>(last & kLastAge),
                      static_cast<std::uint8_t>(last >> kPinStateShift)};
        if (pin.backend >= kNobody || (pin.state != kConfirmed && pin.state != kClosing)) return std::nullopt;
        pins.pins.push_back(pin);
    }
    return pins;
}

std::optional<Record> read_end(Bytes body) {
    if (body.size() != kEndBytes) return std::nullopt;
    return EndRecord{get<std::uint64_t>(body, 0), get<std::uint64_t>(body, 8)};
}

std::optional<Record> read_known(std::uint8_t type, Bytes body) {
    switch (type) {
        case kPool:
            return read_pool(body);
        case kBackend:
            return read_backend(body);
        case kView:
            return read_view(body);
        case kSlots:
            return read_slots(body);
        case kPins:
            return read_pins(body);
        default:
            return read_end(body);
    }
}

std::size_t same_pool(std::span<const Pin> pins) {
    const auto end = std::find_if(pins.begin(), pins.end(), [&](const Pin& pin) { return pin.pool != pins[0].pool; });
    return static_cast<std::size_t>(end - pins.begin());
}

void put_name(std::span<std::uint8_t> body, std::size_t at, const std::string& name) {
    std::copy(name.begin(), name.end(), body.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

bool is_shown_name(std::string_view name) {
    return !name.empty() && name.size() <= kNameBytes &&
           std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::span<std::uint8_t> RecordWriter::record(std::uint8_t type, std::size_t bytes) {
    if (bytes > kLongest || room_.size() - used_ < kHeaderBytes + bytes) return {};
    const auto whole = room_.subspan(used_, kHeaderBytes + bytes);
    std::fill(whole.begin(), whole.end(), std::uint8_t{0});
    whole[0] = type;
    put(whole, 2, static_cast<std::uint16_t>(bytes));
    used_ += whole.size();
    return whole.subspan(kHeaderBytes);
}

bool RecordWriter::add(const PoolRecord& pool) {
    const auto body = record(kPool, kPoolBytes + pool.name.size());
    if (body.empty()) return false;
    put(body, 0, pool.id);
    put(body, 4, pool.slots);
    put(body, 8, pool.flags);
    put(body, 12, static_cast<std::uint32_t>(pool.tier.value_or(0)));
    body[16] = pool.tier ? kHasTier : 0;
    body[17] = static_cast<std::uint8_t>(pool.name.size());
    put_name(body, kPoolBytes, pool.name);
    return true;
}

bool RecordWriter::add(const BackendRecord& backend) {
    const auto body = record(kBackend, kBackendBytes + backend.name.size());
    if (body.empty()) return false;
    put(body, 0, backend.pool);
    put(body, 4, backend.index);
    body[6] = backend.forward;
    body[7] = static_cast<std::uint8_t>(backend.name.size());
    const auto& address = backend.address.bytes();
    std::copy(address.begin(), address.end(), body.begin() + 8);
    put_name(body, kBackendBytes, backend.name);
    return true;
}

bool RecordWriter::add(const ViewRecord& view) {
    const auto body = record(kView, kViewBytes);
    if (body.empty()) return false;
    put(body, 0, view.pool);
    put(body, 4, view.index);
    body[6] = view.verdict;
    body[7] = static_cast<std::uint8_t>((view.dead ? kDead : 0) | (view.drained ? kDrained : 0) |
                                        (view.weight ? kHasWeight : 0) | (view.up_for_ms ? kHasUpFor : 0));
    put(body, 8, view.weight.value_or(0));
    put(body, 12, view.weight ? view.instead_of : 0);
    put(body, 16, view.up_for_ms.value_or(0));
    return true;
}

bool RecordWriter::add(const EndRecord& end) {
    const auto body = record(kEnd, kEndBytes);
    if (body.empty()) return false;
    put(body, 0, end.slots);
    put(body, 8, end.pins);
    return true;
}

std::size_t RecordWriter::fitting(std::size_t fixed, std::size_t each) const {
    const auto left = std::min(room_.size() - used_, kHeaderBytes + kLongest);
    return left < kHeaderBytes + fixed ? 0 : (left - kHeaderBytes - fixed) / each;
}

std::size_t RecordWriter::add_slots(std::uint32_t pool, std::uint32_t first, std::span<const std::uint32_t> words) {
    const auto count = std::min(words.size(), fitting(kSlotsBytes, kWordBytes));
    if (count == 0) return 0;
    const auto body = record(kSlots, kSlotsBytes + count * kWordBytes);
    put(body, 0, pool);
    put(body, 4, first);
    for (std::size_t i = 0; i < count; ++i) put(body, kSlotsBytes + i * kWordBytes, words[i]);
    return count;
}

std::size_t RecordWriter::add_pins(std::span<const Pin> pins) {
    std::size_t added = 0;
    while (added < pins.size()) {
        const auto rest = pins.subspan(added);
        const auto count = std::min(same_pool(rest), fitting(kPinsBytes, kPinBytes));
        if (count == 0) break;
        const auto body = record(kPins, kPinsBytes + count * kPinBytes);
        put(body, 0, rest[0].pool);
        for (std::size_t i = 0; i < count; ++i) {
            const auto at = kPinsBytes + i * kPinBytes;
            put(body, at, rest[i].bucket);
            put(body, at + 4, rest[i].signature);
            put(body, at + 8, rest[i].backend);
            put(body, at + 10, static_cast<std::uint16_t>(rest[i].age | rest[i].state << kPinStateShift));
        }
        added += count;
    }
    return added;
}

bool read_records(std::span<const std::uint8_t> bytes, const std::function<void(const Record&)>& visit) {
    while (!bytes.empty()) {
        if (bytes.size() < kHeaderBytes) return false;
        const std::size_t length = get<std::uint16_t>(bytes, 2);
        if (bytes.size() - kHeaderBytes < length) return false;
        const auto type = bytes[0];
        if (type >= kPool && type <= kEnd) {
            const auto record = bytes[1] == 0 ? read_known(type, bytes.subspan(kHeaderBytes, length)) : std::nullopt;
            if (!record) return false;
            visit(*record);
        }
        bytes = bytes.subspan(kHeaderBytes + length);
    }
    return true;
}

}  // namespace fairlead::sync
