// SPDX-License-Identifier: Apache-2.0
#include "ctl/config/reader.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

namespace fairlead::config {
namespace {

constexpr std::size_t kMaxQuoted = 60;
constexpr std::size_t kMaxName = 63;
constexpr std::size_t kMaxHinted = 40;
// Hints cost a comparison with every candidate: a file that is wrong everywhere gets no more of them.
constexpr std::size_t kMaxHints = 200;

// Optimal string alignment: insert, delete, replace, swap neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
    std::iota(last.begin(), last.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        now[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + change});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = std::min(now[j], before[j - 2] + 1);
        }
        before.swap(last);
        last.swap(now);
    }
    return last[b.size()];
}

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == ':';
}

std::string join(std::span<const std::string_view> names, std::string_view last_separator) {
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (i > 0) text += i + 1 == names.size() ? last_separator : std::string_view(", ");
        text += "\"" + std::string(names[i]) + "\"";
    }
    return text;
}

std::string format(Milliseconds span) {
    const auto count = span.count();
    if (count == 0) return "0s";
    if (count % 3'600'000 == 0) return std::to_string(count / 3'600'000) + "h";
    if (count % 60'000 == 0) return std::to_string(count / 60'000) + "m";
    if (count % 1000 == 0) return std::to_string(count / 1000) + "s";
    return std::to_string(count) + "ms";
}

}  // namespace

void Report::add(Position at, std::string message) {
    found_.push_back({file_, std::max(at.line, 1U), std::max(at.column, 1U), std::move(message)});
}

void Report::add_missing(Position at, std::string message) {
    if (!incomplete_) add(at, std::move(message));
}

std::vector<Diagnostic> Report::take() && {
    const auto key = [](const Diagnostic& d) { return std::tie(d.line, d.column, d.message); };
    std::sort(found_.begin(), found_.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
    const auto same = [&](const auto& a, const auto& b) { return key(a) == key(b); };
    found_.erase(std::unique(found_.begin(), found_.end(), same), found_.end());
    return std::move(found_);
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
    if (word.size() < 2 || word.size() > kMaxHinted) return {};
    std::size_t best = std::min<std::size_t>(3, std::max<std::size_t>(1, word.size() / 3)) + 1;
    std::string_view found;
    for (const auto candidate : candidates) {
        const auto longer = std::max(candidate.size(), word.size());
        if (longer - std::min(candidate.size(), word.size()) >= best) continue;
        const auto distance = edit_distance(word, candidate);
        if (distance >= best) continue;
        best = distance;
        found = candidate;
    }
    return found;
}

std::string near_miss(std::string_view word, std::span<const std::string_view> candidates) {
    const auto found = nearest(word, candidates);
    return found.empty() ? "" : "; did you mean '" + std::string(found) + "'?";
}

std::string quote(std::string_view text) {
    std::string shown;
    for (const char c : text.substr(0, kMaxQuoted))
        shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    // A cut must not leave half a character.
    if (text.size() > kMaxQuoted) {
        while (!shown.empty() && (shown.back() & 0xc0) == 0x80) shown.pop_back();
        if (!shown.empty() && (shown.back() & 0x80) != 0) shown.pop_back();
        shown += "...";
    }
    return "'" + shown + "'";
}

std::string describe(const Value& value) {
    switch (value.kind) {
        case Kind::kString:
            return "the string " + quote(value.text);
        case Kind::kInteger:
            return "the integer " + std::to_string(value.integer);
        case Kind::kFloat:
            return "a floating-point number";
        case Kind::kBoolean:
            return value.boolean ? "the boolean true" : "the boolean false";
        case Kind::kDateTime:
            return "a date or time";
        case Kind::kArray:
            return "a list";
        case Kind::kTable:
            return "a table";
    }
    return "something else";
}

std::optional<Milliseconds> parse_duration(std::string_view text) {
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{} || count < 0 || text.starts_with('-')) return std::nullopt;
    const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
    for (const auto& [name, factor] : kUnits)
        if (unit == name && count <= std::numeric_limits<std::int64_t>::max() / factor)
            return Milliseconds(count * factor);
    return std::nullopt;
}

std::string name_fault(std::string_view name) {
    if (name.empty()) return "is empty";
    if (name.size() > kMaxName) return "is longer than " + std::to_string(kMaxName) + " characters";
    if (!std::all_of(name.begin(), name.end(), is_name_character))
        return "has other characters than A-Z a-z 0-9 - _ . :";
    return "";
}

TableReader::TableReader(Report& report, const Value& table, std::string_view title, const KeyList& keys)
    : report_(report), table_(table), title_(title) {
    check_keys(keys);
}

void TableReader::check_keys(const KeyList& keys) {
    const auto has = [](const auto& list, std::string_view key) {
        return std::find(list.begin(), list.end(), key) != list.end();
    };
    for (const auto& entry : table_.entries) {
        if (has(keys.known, entry.key)) continue;
        if (has(keys.reserved, entry.key))
            report_.add(entry.key_at, quote(entry.key) + " in " + title_ + " is " + std::string(kReserved));
        else
            report_.add(entry.key_at, "unknown key " + quote(entry.key) + " in " + title_ + hint(entry.key, keys));
    }
}

std::string TableReader::hint(std::string_view key, const KeyList& keys) {
    for (const auto& [other, place] : keys.elsewhere)
        if (other == key) return "; it belongs in " + std::string(place);
    if (report_.size() >= kMaxHints) return "";
    if (const auto found = nearest(key, keys.known); !found.empty()) {
        misspelt_.push_back(found);
        return "; did you mean '" + std::string(found) + "'?";
    }
    std::string all;
    for (const auto known : keys.known) all += (all.empty() ? "; expected one of " : ", ") + std::string(known);
    return all;
}

const Value* TableReader::get(std::string_view key) const {
    const auto* entry = table_.find(key);
    return entry == nullptr ? nullptr : &entry->value;
}

bool TableReader::is_misspelt(std::string_view key) const {
    return std::find(misspelt_.begin(), misspelt_.end(), key) != misspelt_.end();
}

bool TableReader::require(std::string_view key, std::string_view expected) const {
    if (has(key)) return true;
    if (is_misspelt(key)) return false;
    report_.add_missing(at(), title_ + " needs '" + std::string(key) + "': " + std::string(expected));
    return false;
}

void TableReader::wrong(std::string_view key, const Value& value, std::string_view expected) const {
    report_.add(value.at, quote(key) + " must be " + std::string(expected) + ", not " + describe(value));
}

std::string TableReader::one_of(std::span<const std::string_view> names) { return join(names, " or "); }

void TableReader::bad_choice(std::string_view key, const Located<std::string>& text,
                             std::span<const std::string_view> names) const {
    report_.add(text.at, quote(key) + " must be " + one_of(names) + ", not the string " + quote(text.value) +
                             near_miss(text.value, names));
}

std::optional<Located<std::string>> TableReader::string(std::string_view key, std::string_view expected) const {
    const auto* value = get(key);
    if (value == nullptr) return std::nullopt;
    if (value->kind == Kind::kString) return Located<std::string>{value->text, value->at};
    wrong(key, *value, expected);
    return std::nullopt;
}

std::optional<Located<std::string>> TableReader::name(std::string_view key) const {
    auto text = string(key, "a name (a string)");
    if (!text) return std::nullopt;
    const auto fault = name_fault(text->value);
    if (fault.empty()) return text;
    report_.add(text->at,
                quote(key) + " " + fault + "; expected 1 to " + std::to_string(kMaxName) + " of A-Z a-z 0-9 - _ . :");
    return std::nullopt;
}

std::optional<Located<bool>> TableReader::boolean(std::string_view key) const {
    const auto* value = get(key);
    if (value == nullptr) return std::nullopt;
    if (value->kind == Kind::kBoolean) return Located<bool>{value->boolean, value->at};
    wrong(key, *value, "true or false");
    return std::nullopt;
}

std::optional<Located<std::int64_t>> TableReader::integer(std::string_view key, Range range) const {
    const auto* value = get(key);
    if (value == nullptr) return std::nullopt;
    if (value->kind == Kind::kInteger && value->integer >= range.low && value->integer <= range.high)
        return Located<std::int64_t>{value->integer, value->at};
    wrong(key, *value, "an integer from " + std::to_string(range.low) + " to " + std::to_string(range.high));
    return std::nullopt;
}

std::optional<Located<Milliseconds>> TableReader::duration(std::string_view key, Milliseconds low,
                                                           Milliseconds high) const {
    const auto* value = get(key);
    if (value == nullptr) return std::nullopt;
    if (value->kind == Kind::kString)
        if (const auto span = parse_duration(value->text); span && *span >= low && *span <= high)
            return Located<Milliseconds>{*span, value->at};
    wrong(key, *value,
          "a duration from \"" + format(low) + "\" to \"" + format(high) + "\" (a string with ms, s, m or h)");
    return std::nullopt;
}

std::optional<Located<IpAddress>> TableReader::address(std::string_view key) const {
    constexpr std::string_view kExpected = "an IPv4 or IPv6 address such as \"192.0.2.1\"";
    const auto text = string(key, kExpected);
    if (!text) return std::nullopt;
    if (const auto parsed = IpAddress::parse(text->value)) return Located<IpAddress>{*parsed, text->at};
    wrong(key, *get(key), kExpected);
    return std::nullopt;
}

std::vector<const Value*> TableReader::tables(std::string_view key, std::string_view form) const {
    const auto* value = get(key);
    std::vector<const Value*> found;
    if (value == nullptr) return found;
    if (value->kind != Kind::kArray) {
        wrong(key, *value, "a list of tables, written " + std::string(form));
        return found;
    }
    for (const auto& item : value->items) {
        if (item.kind == Kind::kTable)
            found.push_back(&item);
        else
            report_.add(item.at, "each item of " + quote(key) + " must be a table, not " + describe(item));
    }
    return found;
}

std::optional<std::vector<Located<std::string>>> TableReader::strings(std::string_view key, std::string_view expected,
                                                                      bool single) const {
    const auto* value = get(key);
    if (value == nullptr) return std::nullopt;
    std::vector<Located<std::string>> found;
    if (single && value->kind == Kind::kString) {
        found.push_back({value->text, value->at});
        return found;
    }
    if (value->kind != Kind::kArray) {
        wrong(key, *value, expected);
        return std::nullopt;
    }
    for (const auto& item : value->items) {
        if (item.kind == Kind::kString)
            found.push_back({item.text, item.at});
        else
            report_.add(item.at, "each item of " + quote(key) + " must be a string, not " + describe(item));
    }
    return found;
}

}  // namespace fairlead::config
