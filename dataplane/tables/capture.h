// SPDX-License-Identifier: Apache-2.0
// Seeing packets before and after they are steered (dataplane/core/capture.h): says in the tables what is wanted, keeps the
// capture alive, and takes what the engines put into the rings. Needs no controller. It may die at any time: the engines
// end a capture that is not renewed.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "dataplane/tables/grace.h"
#include "dataplane/tables/tables.h"

namespace fairlead::tables {

struct Captured {
    fl_capture_entry entry{};
    std::uint32_t stride = 0;         // of the CPU or worker that dealt with the packet
    std::vector<std::uint8_t> bytes;  // the frame's first entry.kept
};

// What is not among the packets that were read, and why.
struct CaptureCounts {
    std::uint64_t matched = 0;      // packets that the filter let through, sampled or not
    std::uint64_t limited = 0;      // of those, not kept because of the rate
    std::uint64_t overwritten = 0;  // entries that were gone before they were read
};

// Belongs to one thread; keeps references. There must be no other over the same tables: the filter is theirs.
class Capture {
  public:
    static constexpr std::chrono::milliseconds kLease{1000};  // how long the engines go on without renew()

    // Returns when every engine knows the filter; `number` in it is not looked at. The first renew() is the beginning.
    // ENOTSUP: the tables have no rings of this size.
    static Result<Capture> create(Tables& tables, GracePeriod& grace, const fl_capture_filter& filter);
    Capture(Capture&& other) noexcept;
    Capture& operator=(Capture&&) = delete;
    ~Capture() { end(); }

    void renew();
    void end();

    // What came since the last call, by time. What was decided and what came of it stand behind one another where they
    // have one time.
    std::vector<Captured> read();
    CaptureCounts counts() const;

  private:
    struct Place {
        std::uint64_t next = 0;
        std::uint64_t matched = 0, limited = 0;  // when this began
    };
    explicit Capture(Tables& tables) : tables_(&tables) {}
    const fl_ring& ring(std::uint32_t stride) const;
    void read_ring(std::uint32_t stride, std::vector<Captured>& into);
    bool read_entry(std::uint32_t stride, std::uint64_t number, Captured& into) const;

    Tables* tables_;
    std::uint32_t number_ = 0;
    std::vector<Place> places_;  // by stride
    std::uint64_t overwritten_ = 0;
};

}  // namespace fairlead::tables
