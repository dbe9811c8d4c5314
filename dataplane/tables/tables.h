// SPDX-License-Identifier: Apache-2.0
// The shared tables of one instance (DESIGN section 4): BPF array maps that are mapped here and pinned in a folder, or
// the same layout in anonymous memory for tests. Tables makes, opens and maps them; it decides nothing about their
// contents. The object belongs to one thread, the memory to everybody who maps it (dataplane/core/layout.h says who
// writes what).
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "dataplane/tables/limits.h"
#include "dataplane/tables/memory_access.h"
#include "dataplane/tables/result.h"

namespace fairlead::tables {

enum class Access { kReadOnly, kReadWrite };

// Makes sure that `folder` exists (mode 0750) and lies in a BPF file system; mounts one on /sys/fs/bpf if the folder
// is to lie there and nobody has (needs root).
Result<void> ensure_bpffs(const std::filesystem::path& folder);

// A name as it is pinned: the BPF file system takes no dots, interface names no colons.
std::string pin_name(const std::string& name);

// Where the XSKMAP of an interface, receive queue -> socket of lb-dpdk, is pinned for as long as the XDP program is
// attached there: beside the tables.
std::filesystem::path exceptions_path(const std::filesystem::path& folder, const std::string& ifname);

class Tables {
  public:
    // Shared anonymous memory: threads and forked children see one set of tables.
    static Result<Tables> create_anonymous(const fl_limits& limits);

    // Makes the maps, maps them and pins them as folder/TABLE. A folder that was left half made is taken over; one
    // that holds finished tables is an error (EEXIST).
    static Result<Tables> create_pinned(const std::filesystem::path& folder, const fl_limits& limits);

    // Error codes: ENOENT nothing there, EUCLEAN half made, EPROTO another layout (what to do is in the message).
    static Result<Tables> open_pinned(const std::filesystem::path& folder, Access access);

    // Tables that new ones are to take over from (CarryOver), for reading alone: of any sizes, and of an older layout too
    // where that has today's shape; of a table that it did not have there are no elements. Errors as of open_pinned().
    static Result<Tables> open_to_carry(const std::filesystem::path& folder);

    // Pins the tables of a folder in folder/old instead, so that new ones can be made beside them; what was there is
    // dropped. With them there a take-over that was not finished can be begun again.
    static Result<void> set_aside(const std::filesystem::path& folder);
    static std::filesystem::path aside(const std::filesystem::path& folder) { return folder / "old"; }

    // Unpins the tables (not what others pinned beside them, nor what is set aside) and removes the folder if it is then empty. A program or
    // process that still has them keeps them. Nothing there is not an error.
    static Result<void> remove_pinned(const std::filesystem::path& folder);

    Tables(Tables&&) noexcept;
    Tables& operator=(Tables&&) noexcept;
    Tables(const Tables&) = delete;
    Tables& operator=(const Tables&) = delete;
    ~Tables();

    // vips(), services(), ... : one accessor for each table of FL_TABLE_LIST, a span of all its elements; meta() is
    // the one element itself. From a const Tables they are const; with Access::kReadOnly a store is a fault.
    template <typename T>
    using View = std::conditional_t<std::is_same_v<std::remove_const_t<T>, fl_meta>, T&, std::span<T>>;
#define FL_X(name, type, count)                               \
    View<type> name() { return view<type>(FL_TABLE_##name); } \
    View<const type> name() const { return view<const type>(FL_TABLE_##name); }
    FL_TABLE_LIST(FL_X)
#undef FL_X

    const fl_limits& limits() const;

    // For the core's accessors; lives, at this address, as long as the tables do, moves included.
    const fl_memory& memory() const;

    // An engine context over these tables for the calling thread (tests, `lbctl explain`): stride 0, clocks 0.
    fl_engine engine() const;

    // The map's descriptor for the loader, or -1 with anonymous memory. Stays ours.
    int fd(fl_table table) const;
    bool is_pinned() const;
    Access access() const;

    // All tables together, as the kernel allocates them.
    std::size_t bytes() const;

    static std::string_view name_of(fl_table table);

  private:
    struct State;
    explicit Tables(std::unique_ptr<State> state);
    static Result<Tables> open(const std::filesystem::path& folder, Access access, std::uint32_t oldest_layout);

    template <typename T>
    View<T> view(fl_table table) const {
        const fl_memory& m = memory();
        static_assert(sizeof(T) == FL_ELEMENT_STRIDE(T), "a span has no room between its elements");
        auto* first = static_cast<T*>(m.base[table]);
        if constexpr (std::is_same_v<std::remove_const_t<T>, fl_meta>)
            return *first;
        else
            return std::span<T>(first, m.count[table]);
    }

    std::unique_ptr<State> state_;
};

// CLOCK_MONOTONIC now, in the unit of the tables' times.
std::uint64_t monotonic_ns();

// Word access to tables that others read or write meanwhile.
template <typename T>
T load_word(const T& word) {
    return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}
template <typename T>
void store_word(T& word, std::type_identity_t<T> value) {
    __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}

}  // namespace fairlead::tables
