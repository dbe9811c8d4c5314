// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.1 request to a unix socket, for lbctl. Synchronous; thread-safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "dataplane/tables/result.h"

namespace fairlead::api {

struct ClientRequest {
    std::string method = "GET";
    std::string target = "/";  // path and query
    std::string body;          // JSON, if not empty
};

struct ClientResponse {
    unsigned status = 0;
    std::string content_type;
    std::string body;
};

// Sends the request and waits for the whole answer, at most `timeout` for everything (0 = as long as it takes).
// An answer of any status is a success. Error codes: ENOENT or ECONNREFUSED: nobody listens; EACCES: may not connect;
// ETIMEDOUT; EPROTO: not HTTP; ECONNRESET: closed before the answer was whole.
Result<ClientResponse> request_unix(const std::filesystem::path& socket, const ClientRequest& request,
                                    std::chrono::milliseconds timeout);

}  // namespace fairlead::api
