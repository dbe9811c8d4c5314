// SPDX-License-Identifier: Apache-2.0
// The one file that sees toml++. It is used header-only and without exceptions, whatever the distribution built.
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
// Its assertions fail on mere syntax errors ("[=]"), which the lines behind them then report in good order; and with
// NDEBUG it would have the compiler take them for granted.
#undef NDEBUG
#define TOML_ASSERT(expression) static_cast<void>(0)
#include "ctl/config/document.h"

#include <toml++/toml.h>
#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace fairlead::config {
namespace {

// A statement that cannot be read is taken out and the rest read again; a file with more of them is not a config.
constexpr int kMaxSyntaxErrors = 50;
// The library destroys nested tables recursively, so a key of 100,000 dots would overflow the stack. Ours have two.
constexpr int kMaxKeyDots = 8;
// Nothing in a config is nested deeper than this; what is, is an unknown key or a wrong type anyway.
constexpr int kMaxDepth = 12;
// Stands in for a table header that could not be read, so that what follows does not join the table before it.
constexpr std::string_view kBrokenHeader = "-broken-";

// ---- what each byte of the text is ----

// One mark a byte: 's' string (quotes included), '#' comment, 'n' line end, 'c' all else.
class Marker {
  public:
    explicit Marker(std::string_view text) : text_(text), marks_(text.size(), 'c') {}

    std::string run() && {
        while (at_ < text_.size()) step();
        return std::move(marks_);
    }

  private:
    bool starts(std::string_view what) const { return text_.substr(at_, what.size()) == what; }

    void mark(char kind, std::size_t count) {
        count = std::min(count, text_.size() - at_);
        std::fill_n(marks_.begin() + static_cast<std::ptrdiff_t>(at_), count, kind);
        at_ += count;
    }

    void step() {
        const char c = text_[at_];
        if (starts("\"\"\"") || starts("'''")) return long_string(text_.substr(at_, 3));
        if (c == '"' || c == '\'') return short_string(c);
        if (c == '\n') return mark('n', 1);
        if (c == '#') {
            while (at_ < text_.size() && text_[at_] != '\n') mark('#', 1);
            return;
        }
        mark('c', 1);
    }

    void short_string(char quote) {
        mark('s', 1);
        while (at_ < text_.size() && text_[at_] != '\n') {
            if (text_[at_] == quote) return mark('s', 1);
            const bool escape = quote == '"' && text_[at_] == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] != '\n';
            mark('s', escape ? 2 : 1);
        }
    }

    void long_string(std::string_view quotes) {
        mark('s', 3);
        while (at_ < text_.size()) {
            if (starts(quotes)) {
                mark('s', 3);
                for (int extra = 0; extra < 2 && at_ < text_.size() && text_[at_] == quotes[0]; ++extra) mark('s', 1);
                return;
            }
            mark('s', quotes[0] == '"' && text_[at_] == '\\' ? 2 : 1);
        }
    }

    std::string_view text_;
    std::string marks_;
    std::size_t at_ = 0;
};

// ---- statements: the lines that are taken out together ----

struct Statement {
    std::size_t first_line = 0;    // from 0
    std::size_t end_line = 0;      // one past the last
    bool header = false;           // [x] or [[x]]
    bool dotted = false;           // a header of a table within a table
    bool cut_short = false;        // the next statement began while a bracket was open
    int open = 0;                  // brackets opened and not closed
    std::size_t bracket_line = 0;  // the last one opened
    std::size_t bracket_byte = 0;
    Position bracket;  // the same, if it was cut short
};

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }
// Not a continuation byte of UTF-8.
bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }
bool is_key_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-'; }

class Splitter {
  public:
    explicit Splitter(std::string_view text) : marks_(Marker(text).run()) {
        for (std::size_t from = 0; from <= text.size();) {
            const auto end = std::min(text.find('\n', from), text.size());
            lines_.push_back(text.substr(from, end - from));
            starts_.push_back(from);
            from = end + 1;
        }
    }

    // The first key with more dots than kMaxKeyDots.
    std::optional<Position> too_deep() const {
        for (std::size_t line = 0; line < lines_.size(); ++line) {
            int dots = 0;
            for (std::size_t i = 0; i < lines_[line].size(); ++i) {
                if (mark(line, i) != 'c') continue;
                const char c = lines_[line][i];
                if (c == '.' && ++dots > kMaxKeyDots) return position(line, i);
                if (c == '=' || c == ',' || c == '[' || c == '{') dots = 0;
            }
        }
        return std::nullopt;
    }

    // The first character of each line that is neither ASCII nor in a comment.
    std::vector<Position> beyond_ascii() const {
        std::vector<Position> found;
        for (std::size_t line = 0; line < lines_.size(); ++line) {
            std::size_t i = 0;
            while (i < lines_[line].size() && (is_ascii(lines_[line][i]) || mark(line, i) == '#')) ++i;
            if (i < lines_[line].size()) found.push_back(position(line, i));
        }
        return found;
    }

    // The lines with one '?' for each character beyond ASCII, so that columns stay what they are.
    std::vector<std::string> ascii_lines() const {
        std::vector<std::string> all;
        for (const auto line : lines_) {
            std::string& ascii = all.emplace_back();
            for (const char c : line)
                if (is_ascii(c) || begins_character(c)) ascii += is_ascii(c) ? c : '?';
        }
        return all;
    }

    std::vector<Statement> split() {
        for (std::size_t line = 0; line < lines_.size(); ++line) {
            const std::size_t at = lines_[line].find_first_not_of(" \t\r");
            const bool inside_string =
                at == std::string_view::npos || (mark(line, 0) == 's' && line > 0 && marks_[starts_[line] - 1] == 's');
            if (!inside_string && mark(line, at) != '#') begin_statement(line, at);
            count_brackets(line);
            if (!statements_.empty()) statements_.back().end_line = line + 1;
        }
        return std::move(statements_);
    }

    const std::vector<std::string_view>& lines() const { return lines_; }

  private:
    char mark(std::size_t line, std::size_t column) const {
        const auto at = starts_[line] + column;
        return at < marks_.size() ? marks_[at] : 'n';
    }

    Position position(std::size_t line, std::size_t byte) const {
        std::uint32_t column = 1;
        for (std::size_t i = 0; i < byte; ++i) column += begins_character(lines_[line][i]);
        return {static_cast<std::uint32_t>(line + 1), column};
    }

    // Within an open bracket only what cannot be a value begins a statement: `key =`, `[name]`, `[[name`.
    void begin_statement(std::size_t line, std::size_t at) {
        const auto text = lines_[line].substr(at);
        const auto inner = std::min(text.find_first_not_of("[ \t"), text.size());
        const bool bracket = text[0] == '[';
        const auto word_end = std::find_if_not(text.begin() + static_cast<std::ptrdiff_t>(inner), text.end(),
                                               [](char c) { return is_key_character(c) || c == '.'; });
        const auto word = text.substr(inner, static_cast<std::size_t>(word_end - text.begin()) - inner);
        const auto after = text.substr(inner + word.size());
        const auto next = after.find_first_not_of(" \t");
        const bool header = bracket && !word.empty() && !std::isdigit(static_cast<unsigned char>(word[0]));
        const bool assigns = !bracket && !word.empty() && next != std::string_view::npos && after[next] == '=';
        if (!statements_.empty() && statements_.back().open > 0) {
            if (!header && !assigns) return;
            auto& last = statements_.back();
            last.cut_short = true;
            last.bracket = position(last.bracket_line, last.bracket_byte);
        }
        Statement statement;
        statement.first_line = line;
        statement.header = bracket;
        statement.dotted = bracket && word.find('.') != std::string_view::npos;
        statements_.push_back(statement);
    }

    void count_brackets(std::size_t line) {
        if (statements_.empty()) return;
        auto& statement = statements_.back();
        if (statement.header) return;
        for (std::size_t i = 0; i < lines_[line].size(); ++i) {
            if (mark(line, i) != 'c') continue;
            const char c = lines_[line][i];
            if (c == '[' || c == '{') {
                ++statement.open;
                statement.bracket_line = line;
                statement.bracket_byte = i;
            }
            if (c == ']' || c == '}') --statement.open;
        }
    }

    std::string marks_;
    std::vector<std::string_view> lines_;
    std::vector<std::size_t> starts_;
    std::vector<Statement> statements_;
};

// ---- reading on after an error ----

Position position_of(const toml::source_position& at) { return {at.line, at.column}; }

SyntaxError syntax_error(const toml::parse_error& error) {
    constexpr std::string_view kPreamble = "Error while parsing ";
    std::string_view what = error.description();
    if (what.starts_with(kPreamble)) what.remove_prefix(kPreamble.size());
    std::string message = "syntax error: " + std::string(what);
    if (what.find("could not determine value type") != std::string_view::npos)
        message += "; expected a string in quotes, a number, true, false, a list or a table";
    return {position_of(error.source().begin), std::move(message)};
}

class Recovery {
  public:
    explicit Recovery(Splitter& splitter) : lines_(splitter.ascii_lines()), statements_(splitter.split()) {}

    // Takes the statement at fault out of the text. False if there is none left to take out.
    bool remove(SyntaxError& error) {
        auto index = statement_at(error.at.line);
        if (!index) return false;
        // A missing ']' is noticed only where the next statement begins.
        if (*index > 0 && error.at.line == statements_[*index].first_line + 1 && statements_[*index - 1].cut_short &&
            !statements_[*index - 1].header)
            --*index;
        // The library reports a key written twice at its value; the key is what the reader looks for.
        if (error.message.find("cannot redefine") != std::string::npos)
            error.at = {error.at.line, first_column(error.at.line)};
        if (error.message.find("control character") != std::string::npos && is_line_end(error.at))
            error.message = "syntax error: this string is not closed before the end of the line";
        const auto& statement = statements_[*index];
        if (statement.cut_short && matching_end(*index) == *index)
            error = {statement.bracket, "this bracket is not closed before the next key begins"};
        return take_out(*index);
    }

    // The same for a fault that is known to be in this line.
    void remove_line(std::uint32_t line) {
        if (const auto index = statement_at(line)) take_out(*index);
    }

    std::string text() const {
        std::string joined;
        for (const auto& line : lines_) joined.append(line).push_back('\n');
        return joined;
    }

  private:
    std::optional<std::size_t> statement_at(std::uint32_t line) const {
        const auto after = std::partition_point(statements_.begin(), statements_.end(),
                                                [&](const Statement& s) { return s.first_line < line; });
        if (after == statements_.begin()) return std::nullopt;
        return static_cast<std::size_t>(after - statements_.begin()) - 1;
    }

    bool take_out(std::size_t index) {
        const auto last = matching_end(index);
        bool changed = false;
        for (auto i = index; i <= last; ++i) {
            changed = blank(statements_[i]) || changed;
            statements_[i].cut_short = false;
        }
        if (!statements_[index].header) return changed;
        stand_in(index);
        return true;
    }

    bool is_line_end(Position at) const {
        if (at.line > lines_.size()) return true;
        return at.column > lines_[at.line - 1].size();
    }

    std::uint32_t first_column(std::uint32_t line) const {
        if (line > lines_.size()) return 1;
        const auto blanks = lines_[line - 1].find_first_not_of(" \t");
        return blanks == std::string::npos ? 1 : static_cast<std::uint32_t>(blanks) + 1;
    }

    // An inline table written over several lines looks like several statements: find the one that closes it.
    std::size_t matching_end(std::size_t index) const {
        int open = statements_[index].open;
        for (auto i = index + 1; open > 0 && i < statements_.size() && !statements_[i].header; ++i)
            if ((open += statements_[i].open) <= 0) return i;
        return index;
    }

    bool blank(const Statement& statement) {
        bool changed = false;
        for (auto line = statement.first_line; line < statement.end_line; ++line) {
            changed = changed || !lines_[line].empty();
            lines_[line].clear();
        }
        return changed;
    }

    // A broken [[pool]] takes the headers of its inner tables with it, up to the next table of its own level.
    void stand_in(std::size_t index) {
        const bool inner = statements_[index].dotted;
        lines_[statements_[index].first_line] = stand_in_header();
        statements_[index].header = false;  // once is enough
        for (auto i = index + 1; !inner && i < statements_.size(); ++i) {
            if (statements_[i].header && !statements_[i].dotted) break;
            if (statements_[i].header) lines_[statements_[i].first_line] = stand_in_header();
        }
    }

    std::string stand_in_header() { return "[[" + std::string(kBrokenHeader) + std::to_string(++stand_ins_) + "]]"; }

    std::vector<std::string> lines_;
    std::vector<Statement> statements_;
    int stand_ins_ = 0;
};

// ---- from toml++ ----

Kind kind_of(const toml::node& node) {
    switch (node.type()) {
        case toml::node_type::string:
            return Kind::kString;
        case toml::node_type::integer:
            return Kind::kInteger;
        case toml::node_type::floating_point:
            return Kind::kFloat;
        case toml::node_type::boolean:
            return Kind::kBoolean;
        case toml::node_type::array:
            return Kind::kArray;
        case toml::node_type::table:
            return Kind::kTable;
        default:
            return Kind::kDateTime;
    }
}

Value convert(const toml::node& node, int depth) {
    Value value;
    value.kind = kind_of(node);
    value.at = position_of(node.source().begin);
    if (const auto* text = node.as_string()) value.text = text->get();
    if (const auto* integer = node.as_integer()) value.integer = integer->get();
    if (const auto* boolean = node.as_boolean()) value.boolean = boolean->get();
    if (depth >= kMaxDepth) return value;
    if (const auto* array = node.as_array())
        for (const auto& item : *array) value.items.push_back(convert(item, depth + 1));
    if (const auto* table = node.as_table())
        for (auto&& [key, item] : *table)
            value.entries.push_back(
                {std::string(key.str()), position_of(key.source().begin), convert(item, depth + 1)});
    return value;
}

}  // namespace

const Entry* Value::find(std::string_view key) const {
    const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.key == key; });
    return found == entries.end() ? nullptr : &*found;
}

Document parse_document(std::string_view text) {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    Document document;
    Splitter splitter(text);
    if (const auto at = splitter.too_deep()) {
        document.errors.push_back({*at, "this key has too many parts: no key here needs more than one dot"});
        return document;
    }
    Recovery recovery(splitter);
    // The library's table of Unicode blanks has undefined behaviour for most other characters (U+00E4 is one).
    for (const auto at : splitter.beyond_ascii()) {
        if (document.errors.size() >= kMaxSyntaxErrors) return document;
        document.errors.push_back(
            {at, "only comments may hold characters beyond ASCII; in a string write them as \\uXXXX"});
        recovery.remove_line(at.line);
    }
    auto result = toml::parse(recovery.text());
    while (!result) {
        auto error = syntax_error(result.error());
        const bool removed = recovery.remove(error);
        document.errors.push_back(std::move(error));
        if (!removed || document.errors.size() >= kMaxSyntaxErrors) return document;
        result = toml::parse(recovery.text());
    }
    document.root = convert(result.table(), 0);
    std::erase_if(document.root.entries, [](const Entry& e) { return e.key.starts_with(kBrokenHeader); });
    return document;
}

}  // namespace fairlead::config
