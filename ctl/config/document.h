// SPDX-License-Identifier: Apache-2.0
// A TOML file as a tree of values that know their place in the text. It keeps the TOML library out of every other
// file, and it reads on after a syntax error, so that one run names every fault of a file. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::config {

// Both count from 1; a column is a character (code point), not a byte.
struct Position {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    auto operator<=>(const Position&) const = default;
};

enum class Kind { kString, kInteger, kFloat, kBoolean, kDateTime, kArray, kTable };

struct Entry;

struct Value {
    Kind kind = Kind::kTable;
    Position at;
    std::string text;            // kString
    std::int64_t integer = 0;    // kInteger
    bool boolean = false;        // kBoolean
    std::vector<Value> items;    // kArray
    std::vector<Entry> entries;  // kTable, in order of key

    const Entry* find(std::string_view key) const;
};

struct Entry {
    std::string key;
    Position key_at;
    Value value;
};

struct SyntaxError {
    Position at;
    std::string message;
};

struct Document {
    Value root;
    std::vector<SyntaxError> errors;  // with any, `root` lacks the statements that could not be read
};

// Never throws on any bytes; its depth of recursion is bounded.
Document parse_document(std::string_view text);

}  // namespace fairlead::config
