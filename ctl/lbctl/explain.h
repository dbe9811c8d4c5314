// SPDX-License-Identifier: Apache-2.0
// Why a packet goes where it goes: runs the steering core itself on a packet made up for the question, over the live
// tables, and says what it decided. Changes nothing: what the core would write goes to memory of its own.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "dataplane/tables/address.h"
#include "dataplane/tables/tables.h"

namespace fairlead::lbctl {

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;  // host order

    // "192.0.2.7:40000" or "[2001:db8::7]:40000"
    static Result<Endpoint> parse(const std::string& text);
    std::string to_string() const;
};

struct Question {
    Endpoint source, destination;
    bool udp = false;
};

// EINVAL: the two are not of one family.
Result<nlohmann::ordered_json> explain(const tables::Tables& tables, const Question& question);

}  // namespace fairlead::lbctl
