// SPDX-License-Identifier: Apache-2.0
// As much of HTTP/1.1 as a health check needs: one request out, the status of the answer in. Pure functions over
// bytes; what comes from the network is bounded here and nowhere trusted.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "ctl/config/config.h"
#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"

namespace fairlead::health {

// Longer lines than this are refused; RFC 9112 section 3 recommends that 8,000 octets be taken in a request line, and a
// status line is short in every server there is.
inline constexpr std::size_t kMaxStatusLine = 1024;
// Interim (1xx) answers and their headers, before the final status line.
inline constexpr std::size_t kMaxInterimBytes = 16 * 1024;

struct StatusLine {
    int minor_version = 1;  // HTTP/1.x
    int code = 0;           // 100 to 999
    auto operator<=>(const StatusLine&) const = default;
};

// One status line (RFC 9112 section 4) without its line end. A missing reason phrase, and the space before it, are
// accepted. Any bytes may be given.
Result<StatusLine> parse_status_line(std::string_view line);

// Collects an answer piece by piece until its final status line is known.
class StatusReader {
  public:
    // `expect` decides whether a 1xx status is what was asked for, or an interim answer to skip.
    explicit StatusReader(config::StatusRange expect) : expect_(expect) {}

    // Nothing: more bytes are needed. Not to be called again after a result.
    std::optional<Result<StatusLine>> feed(std::string_view bytes);
    std::size_t received() const { return received_; }

  private:
    std::optional<Result<StatusLine>> take_line(std::string_view line);

    config::StatusRange expect_;
    std::string pending_;  // an unfinished line, at most kMaxStatusLine or kMaxInterimBytes
    bool in_interim_headers_ = false;
    std::size_t received_ = 0;
};

// "HTTP 503, expected 200-399" or nothing when the code is in the range.
std::optional<std::string> unexpected_status(int code, config::StatusRange expect);

// The request of an HTTP check. Fails when path or host would break the request's syntax.
Result<std::string> http_request(const IpAddress& address, const config::Check& check);

}  // namespace fairlead::health
