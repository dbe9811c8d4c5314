// SPDX-License-Identifier: Apache-2.0
// Small steps that the writer and the snapshot share: records and names are stored and read a word at a time, because
// lbctl reads them under no grace period and checks the name generation instead.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/tables/address.h"
#include "dataplane/tables/tables.h"

namespace fairlead::tables {

template <typename T>
void store_record(T& record, const T& value) {
    static_assert(sizeof(T) % sizeof(__u64) == 0);
    __u64 words[sizeof(T) / sizeof(__u64)];
    std::memcpy(words, &value, sizeof(T));
    auto* to = reinterpret_cast<__u64*>(&record);
    for (const auto word : words) __atomic_store_n(to++, word, __ATOMIC_RELAXED);
}

template <typename T>
T load_record(const T& record) {
    static_assert(sizeof(T) % sizeof(__u64) == 0);
    __u64 words[sizeof(T) / sizeof(__u64)];
    const auto* from = reinterpret_cast<const __u64*>(&record);
    for (auto& word : words) word = __atomic_load_n(from++, __ATOMIC_RELAXED);
    T value;
    std::memcpy(&value, words, sizeof(T));
    return value;
}

inline void store_name(fl_name& name, std::string_view text) {
    fl_name value{};
    std::copy_n(text.begin(), std::min<std::size_t>(text.size(), FL_NAME_BYTES - 1), value.text);
    store_record(name, value);
}

inline std::string load_name(std::span<const fl_name> names, std::uint32_t index) {
    if (index == 0 || index >= names.size()) return {};
    const auto name = load_record(names[index]);
    return std::string(name.text, strnlen(name.text, FL_NAME_BYTES));
}

inline fl_address to_record(const IpAddress& address) {
    fl_address record;
    std::copy(address.bytes().begin(), address.bytes().end(), record.bytes);
    return record;
}

inline IpAddress from_record(const fl_address& record) {
    IpAddress::Bytes bytes;
    std::copy(std::begin(record.bytes), std::end(record.bytes), bytes.begin());
    return IpAddress(bytes);
}

// The first byte of the address is the lowest byte of the word.
inline std::uint64_t mac_word(const MacAddress& mac) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < mac.bytes.size(); ++i) word |= static_cast<std::uint64_t>(mac.bytes[i]) << (8 * i);
    return word;
}

// The ids that the index in use names.
inline std::vector<std::uint32_t> indexed_ids(std::span<const fl_index_bucket> table, const __u64& index_word) {
    std::vector<std::uint32_t> ids;
    const auto index = load_word(index_word);
    const std::size_t base = FL_INDEX_BASE(index);
    const std::size_t buckets = std::size_t{FL_INDEX_MASK(index)} + 1;
    if (base + buckets > table.size()) return ids;
    for (const auto& bucket : table.subspan(base, buckets))
        for (const auto& word : bucket.words)
            if (const auto id = static_cast<std::uint32_t>(load_word(word))) ids.push_back(id);
    return ids;
}

}  // namespace fairlead::tables
