// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/http_response.h"

#include <algorithm>
#include <utility>

namespace fairlead::health {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// What the far end sent, made fit for one line of a log.
std::string printable(std::string_view text) {
    constexpr std::size_t kShown = 32;
    std::string shown;
    for (const char c : text.substr(0, kShown)) shown += c >= 0x20 && c < 0x7f ? c : '.';
    return text.size() > kShown ? shown + "..." : shown;
}

bool breaks_request(std::string_view text) {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; });
}

std::string host_header(const IpAddress& address, const config::Check& check) {
    if (!check.host.empty()) return check.host;
    const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
    return check.port == 80 ? host : host + ":" + std::to_string(check.port);
}

}  // namespace

Result<StatusLine> parse_status_line(std::string_view line) {
    constexpr std::string_view kPrefix = "HTTP/1.";
    constexpr std::size_t kCodeAt = kPrefix.size() + 2;  // past the minor version and a space
    const bool has_form = line.size() >= kCodeAt + 3 && line.starts_with(kPrefix) && is_digit(line[kPrefix.size()]) &&
                          line[kPrefix.size() + 1] == ' ' && is_digit(line[kCodeAt]) && line[kCodeAt] != '0' &&
                          is_digit(line[kCodeAt + 1]) && is_digit(line[kCodeAt + 2]) &&
                          (line.size() == kCodeAt + 3 || line[kCodeAt + 3] == ' ');
    if (!has_form) return fail("not an HTTP/1 answer: \"" + printable(line) + "\"");
    const auto digit = [&line](std::size_t at) { return line[at] - '0'; };
    return StatusLine{.minor_version = digit(kPrefix.size()),
                      .code = digit(kCodeAt) * 100 + digit(kCodeAt + 1) * 10 + digit(kCodeAt + 2)};
}

std::optional<Result<StatusLine>> StatusReader::feed(std::string_view bytes) {
    received_ += bytes.size();
    while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        const std::string_view piece = bytes.substr(0, end);
        if (pending_.size() + piece.size() > kMaxStatusLine && !in_interim_headers_)
            return fail("status line longer than " + std::to_string(kMaxStatusLine) + " bytes");
        if (received_ > kMaxInterimBytes && in_interim_headers_)
            return fail("interim answers longer than " + std::to_string(kMaxInterimBytes) + " bytes");
        pending_ += piece;
        if (end == std::string_view::npos) return std::nullopt;
        bytes.remove_prefix(end + 1);
        if (pending_.ends_with('\r')) pending_.pop_back();
        if (auto done = take_line(std::exchange(pending_, {}))) return done;
    }
    return std::nullopt;
}

std::optional<Result<StatusLine>> StatusReader::take_line(std::string_view line) {
    if (in_interim_headers_) {
        in_interim_headers_ = !line.empty();
        return std::nullopt;
    }
    auto status = parse_status_line(line);
    // RFC 9110 section 15.2: a client must be able to take interim answers that it did not ask for; 101 is final.
    const bool interim = status && status->code < 200 && status->code != 101;
    if (!interim || !unexpected_status(status->code, expect_)) return status;
    in_interim_headers_ = true;
    return std::nullopt;
}

std::optional<std::string> unexpected_status(int code, config::StatusRange expect) {
    if (code >= expect.first && code <= expect.last) return std::nullopt;
    std::string range = std::to_string(expect.first);
    if (expect.last != expect.first) range += "-" + std::to_string(expect.last);
    return "HTTP " + std::to_string(code) + ", expected " + range;
}

Result<std::string> http_request(const IpAddress& address, const config::Check& check) {
    const std::string host = host_header(address, check);
    if (!check.path.starts_with('/') || breaks_request(check.path))
        return fail("path \"" + printable(check.path) + "\" cannot be sent in an HTTP request");
    if (breaks_request(host)) return fail("host \"" + printable(host) + "\" cannot be sent in an HTTP request");
    return "GET " + check.path + " HTTP/1.1\r\nHost: " + host +
           "\r\nUser-Agent: fairlead-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
}

}  // namespace fairlead::health
