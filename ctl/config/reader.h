// SPDX-License-Identifier: Apache-2.0
// Typed reading of one TOML table. Every fault goes to a Report with its position; reading goes on, so that one run
// names all of them. An unreadable value and an absent one both come back empty: the fault has been reported.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/config/document.h"

namespace fairlead::config {

// A value and where it stands, for faults that show only later.
template <typename T>
struct Located {
    T value{};
    Position at;
};

class Report {
  public:
    explicit Report(std::string_view file) : file_(file) {}

    void add(Position at, std::string message);
    // For what a statement that could not be read may have held: silent once there was a syntax error.
    void add_missing(Position at, std::string message);
    void set_incomplete() { incomplete_ = true; }
    bool incomplete() const { return incomplete_; }
    std::size_t size() const { return found_.size(); }
    // In order of position, each once.
    std::vector<Diagnostic> take() &&;

  private:
    std::string file_;
    std::vector<Diagnostic> found_;
    bool incomplete_ = false;
};

// The candidate that `word` is likely a slip of the pen for; empty if none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);
// "; did you mean 'affinity'?", or "" if none is near.
std::string near_miss(std::string_view word, std::span<const std::string_view> candidates);
// "the string \"x\"", "the integer 5", "a table": what a person wrote, for messages.
std::string describe(const Value& value);
std::string quote(std::string_view text);

struct KeyList {
    std::vector<std::string_view> known;
    std::vector<std::string_view> reserved;  // their feature is not there yet: an error, never ignored
    std::vector<std::pair<std::string_view, std::string_view>> elsewhere;  // key, the table that it belongs to
};

template <typename E>
struct Choice {
    std::string_view name;
    std::optional<E> value;  // none: reserved
};

struct Range {
    std::int64_t low;
    std::int64_t high;
};

inline constexpr std::string_view kReserved = "reserved: not available in this version";

class TableReader {
  public:
    // `title` is how messages call the table: "[[pool]]". Unknown and reserved keys are reported here.
    TableReader(Report& report, const Value& table, std::string_view title, const KeyList& keys);

    Position at() const { return table_.at; }
    bool has(std::string_view key) const { return table_.find(key) != nullptr; }
    // An unknown key was reported as likely meant to be this one.
    bool is_misspelt(std::string_view key) const;
    // Its value, whatever its type; null if absent.
    const Value* get(std::string_view key) const;
    // Reports "[[service]] needs a 'vip': EXPECTED" if the key is absent (and not misspelt).
    bool require(std::string_view key, std::string_view expected) const;

    std::optional<Located<std::string>> string(std::string_view key, std::string_view expected) const;
    std::optional<Located<std::string>> name(std::string_view key) const;
    std::optional<Located<bool>> boolean(std::string_view key) const;
    std::optional<Located<std::int64_t>> integer(std::string_view key, Range range) const;
    std::optional<Located<Milliseconds>> duration(std::string_view key, Milliseconds low, Milliseconds high) const;
    std::optional<Located<IpAddress>> address(std::string_view key) const;
    // A list of tables, [[key]] or inline; empty if absent. `form` shows how to write it: "[[pool]]".
    std::vector<const Value*> tables(std::string_view key, std::string_view form) const;
    // A list of strings, or, where `single` is said, one string alone.
    std::optional<std::vector<Located<std::string>>> strings(std::string_view key, std::string_view expected,
                                                             bool single) const;

    template <typename E>
    std::optional<Located<E>> choice(std::string_view key, std::span<const Choice<E>> choices) const {
        std::vector<std::string_view> names;
        for (const auto& c : choices)
            if (c.value) names.push_back(c.name);
        const auto text = string(key, one_of(names));
        if (!text) return std::nullopt;
        for (const auto& c : choices) {
            if (c.name != text->value) continue;
            if (c.value) return Located<E>{*c.value, text->at};
            report_.add(text->at, quote(key) + " = \"" + text->value + "\" is " + std::string(kReserved) +
                                      "; expected " + one_of(names));
            return std::nullopt;
        }
        bad_choice(key, *text, names);
        return std::nullopt;
    }

    Report& report() const { return report_; }
    std::string_view title() const { return title_; }
    // "'weight' must be EXPECTED, not the string "x"" at the value.
    void wrong(std::string_view key, const Value& value, std::string_view expected) const;

  private:
    static std::string one_of(std::span<const std::string_view> names);
    void bad_choice(std::string_view key, const Located<std::string>& text,
                    std::span<const std::string_view> names) const;
    void check_keys(const KeyList& keys);
    std::string hint(std::string_view key, const KeyList& keys);

    Report& report_;
    const Value& table_;
    std::string title_;
    std::vector<std::string_view> misspelt_;  // known keys that an unknown one was likely meant to be: not missing too
};

// "500ms", "1s", "5m", "1h": a whole number and a unit.
std::optional<Milliseconds> parse_duration(std::string_view text);
// What is wrong with a name of a node, pool, backend or service; empty if nothing is.
std::string name_fault(std::string_view name);

}  // namespace fairlead::config
