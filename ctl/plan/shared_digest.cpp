// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/shared_digest.h"

#include <algorithm>
#include <concepts>
#include <string>
#include <vector>

#include "ctl/plan/maglev.h"
#include "ctl/plan/name_hash.h"

namespace fairlead::plan {
namespace {

// A key of its own; no secret.
constexpr NameHashKey kDigestKey{kMaglevSeed, 0x646967657374};  // "digest"

// Words between blanks, strings in their length, so that no two lines of different meaning are the same.
class Line {
  public:
    explicit Line(std::string_view kind) : text_(kind) {}
    Line& add(std::string_view text) {
        text_ += " " + std::to_string(text.size()) + ":";
        text_ += text;
        return *this;
    }
    Line& add(std::integral auto number) {
        text_ += " " + std::to_string(number);
        return *this;
    }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
};

template <typename Enum>
int number_of(Enum value) {
    return static_cast<int>(value);
}

std::string line_of(const config::Service& service) {
    Line line("service");
    line.add(service.name).add(service.vip.to_string()).add(config::to_string(service.protocol));
    line.add(service.pool).add(config::to_string(service.unlisted));
    for (const auto port : service.ports) line.add(port);
    return line.take();
}

std::string line_of(const config::Pool& pool) {
    Line line("pool");
    line.add(pool.name).add(config::to_string(pool.affinity)).add(pool.quorum).add(config::to_string(pool.all_down));
    line.add(config::to_string(pool.too_big)).add(pool.gue_port).add(pool.table).add(pool.idle_timeout.count());
    line.add(pool.failure_grace.count()).add(pool.slow_start.count());
    line.add(pool.failback).add(pool.failback_delay.count());
    line.add(number_of(pool.check_policy));
    for (const auto& check : pool.checks) {
        line.add(config::to_string(check.type)).add(check.port).add(check.path).add(check.host);
        line.add(check.expect.first).add(check.expect.last).add(check.interval.count()).add(check.timeout.count());
        line.add(check.rise).add(check.fall);
    }
    return line.take();
}

std::string line_of(const config::Pool& pool, const config::Backend& backend) {
    Line line("backend");
    line.add(pool.name).add(backend.name).add(backend.address.to_string()).add(backend.tier).add(backend.weight);
    return line.add(config::to_string(backend.forward)).take();
}

std::string line_of(const config::HaGroup& group) {
    Line line("group");
    line.add(group.vrid).add(group.advert_interval.count());
    for (const auto& vip : group.vips) line.add(vip.to_string());
    return line.take();
}

}  // namespace

std::uint64_t shared_digest(const config::Config& config) {
    std::vector<std::string> lines;
    lines.reserve(config.services.size() + config.pools.size());
    for (const auto& service : config.services) lines.push_back(line_of(service));
    for (const auto& pool : config.pools) {
        lines.push_back(line_of(pool));
        for (const auto& backend : pool.backends) lines.push_back(line_of(pool, backend));
    }
    for (const auto& group : config::groups_of(config)) lines.push_back(line_of(group));
    std::sort(lines.begin(), lines.end());
    std::string all;
    for (const auto& line : lines) all += line + "\n";
    return name_hash(all, kDigestKey);
}

}  // namespace fairlead::plan
