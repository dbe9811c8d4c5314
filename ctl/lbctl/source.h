// SPDX-License-Identifier: Apache-2.0
// Where lbctl's objects come from: lbd's control API, or the pinned tables when lbd is not there. One thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "ctl/instance.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/tables.h"

namespace fairlead::lbctl {

using Json = nlohmann::ordered_json;

// docs/api.md, "Exit codes of lbctl".
enum ExitCode { kDone = 0, kRefused = 1, kUsage = 2, kNoController = 3, kNothing = 4 };

// An object, and what to say with it when it comes from the tables: "data path running, controller down since ...".
struct View {
    Json json;
    std::string notice;  // empty: lbd answered
};

// What a person is told of tables whose controller is not there.
std::string notice_of(const tables::Tables& tables);

class Source {
  public:
    explicit Source(InstancePaths paths) : paths_(std::move(paths)) {}

    // "status", "services", "backends", "transitions", "ha", "sync", "counters", "cores". ENOENT: neither lbd nor tables are there.
    Result<View> view(const std::string& name) const;

    // Whether an lbd listens.
    bool has_controller() const;

    // POST to lbd. Code ECONNREFUSED: lbd is not there. An answer of lbd that is an error comes back as its message and
    // details, a line each.
    Result<Json> post(const std::string& path, const Json& body) const;

    // The pinned tables. ENOENT: none.
    Result<tables::Tables> tables(tables::Access access = tables::Access::kReadOnly) const;

    const InstancePaths& paths() const { return paths_; }

  private:
    Result<View> view_of_tables(const std::string& name) const;

    InstancePaths paths_;
};

}  // namespace fairlead::lbctl
