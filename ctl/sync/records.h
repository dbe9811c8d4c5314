// SPDX-License-Identifier: Apache-2.0
// What an active balancer tells a standby of its state, as records of a stream: values to bytes and back, with every
// check (DESIGN section 8, "What a pair shares"). Indexes in them are the sender's own, and mean nothing before the record
// that says what they name. Pure; no exceptions; whatever the bytes, nothing beyond them is read.
//
// A record is {type 1, reserved 1 (zero), length of what follows 2}, then that; numbers in network order. A reader skips
// types that it does not know: a later version may add some, and never gives another meaning to one that there is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "dataplane/tables/address.h"

namespace fairlead::sync {

inline constexpr std::size_t kNameBytes = 63;  // of a pool, a backend, a node: the most
// What may be a name: 1 to kNameBytes printable ASCII characters; it goes to terminals and metrics.
bool is_shown_name(std::string_view name);

inline constexpr std::uint16_t kNobody = 0x7fff;  // FL_NO_BACKEND: of a slot's owner or previous owner

// A pool of the sender's: names `id`, and says what both must have alike. `tier`: the one in use where failback = false
// holds the pool to it.
struct PoolRecord {
    std::uint32_t id = 0;
    std::uint32_t slots = 0;  // a power of two
    std::uint32_t flags = 0;  // FL_POOL_*
    std::optional<std::int32_t> tier;
    std::string name;  // 1 to 63 bytes
    bool operator==(const PoolRecord&) const = default;
};

// A backend of such a pool: names `index`, which is the sender's pool-local one.
struct BackendRecord {
    std::uint32_t pool = 0;
    std::uint16_t index = 0;
    std::uint8_t forward = 0;  // enum fl_forward
    IpAddress address;
    std::string name;  // 1 to 63 bytes
    bool operator==(const BackendRecord&) const = default;
};

// What the sender thinks of a backend: what its checks said, and what an operator set at run time.
struct ViewRecord {
    std::uint32_t pool = 0;
    std::uint16_t index = 0;
    std::uint8_t verdict = 0;  // plan::Verdict: 0 unknown, 1 up, 2 down
    bool dead = false;
    bool drained = false;
    std::optional<std::uint32_t> weight;     // set at run time, instead of `instead_of`
    std::uint32_t instead_of = 0;            // the configured one; 0 without `weight`
    std::optional<std::uint32_t> up_for_ms;  // since it came back; none: it was never away
    bool operator==(const ViewRecord&) const = default;
};

// Slot words (FL_SLOT_WORD) of slots `first` and following, with the sender's indexes in them.
struct SlotsRecord {
    std::uint32_t pool = 0;
    std::uint32_t first = 0;
    std::vector<std::uint32_t> words;
    bool operator==(const SlotsRecord&) const = default;
};

// A confirmed pin, or a closing one. Bucket and signature are alike on nodes with one hash key and tables of one size
// (dataplane/core/pins.h).
struct Pin {
    std::uint32_t bucket = 0;
    std::uint32_t signature = 0;
    std::uint32_t pool = 0;
    std::uint16_t backend = 0;  // pool-local
    std::uint16_t age = 0;      // in units of a pin's time (FL_PIN_TIME_SHIFT)
    std::uint8_t state = 0;     // enum fl_pin_state
    bool operator==(const Pin&) const = default;
};
struct PinsRecord {
    std::vector<Pin> pins;
    bool operator==(const PinsRecord&) const = default;
};

// The state has been told in whole: what was not told is not there. Changes follow.
struct EndRecord {
    std::uint64_t slots = 0, pins = 0;  // that were told since the stream began
    bool operator==(const EndRecord&) const = default;
};

using Record = std::variant<PoolRecord, BackendRecord, ViewRecord, SlotsRecord, PinsRecord, EndRecord>;

// Appends records to bytes of a fixed room. Nothing is written of what does not fit.
class RecordWriter {
  public:
    explicit RecordWriter(std::span<std::uint8_t> room) : room_(room) {}
    bool add(const PoolRecord& record);
    bool add(const BackendRecord& record);
    bool add(const ViewRecord& record);
    bool add(const EndRecord& record);
    // As many as fit; how many that were. 0: not even one fits.
    std::size_t add_slots(std::uint32_t pool, std::uint32_t first, std::span<const std::uint32_t> words);
    // 12 bytes each, and 8 more wherever the pool is another than of the pin before: put those of a pool together.
    std::size_t add_pins(std::span<const Pin> pins);
    std::size_t size() const { return used_; }

  private:
    // Room for what follows a record's header, which is written; empty: there is none.
    std::span<std::uint8_t> record(std::uint8_t type, std::size_t bytes);
    std::size_t fitting(std::size_t fixed, std::size_t each) const;

    std::span<std::uint8_t> room_;
    std::size_t used_ = 0;
};

// A room in which any one record fits, one slot or one pin among them.
inline constexpr std::size_t kRecordRoom = 4 + 24 + kNameBytes;

// Calls `visit` with each record, in order. False, and no call for that record or any after it: something is malformed.
bool read_records(std::span<const std::uint8_t> bytes, const std::function<void(const Record&)>& visit);

}  // namespace fairlead::sync
