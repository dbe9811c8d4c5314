// SPDX-License-Identifier: Apache-2.0
// [ha] and its groups against each other, the nodes and the services.
#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "ctl/config/draft.h"

namespace fairlead::config {
namespace {

std::string at_line(Position at) { return " at line " + std::to_string(at.line); }

class HaCompleter {
  public:
    HaCompleter(Draft& draft, Report& report) : draft_(draft), report_(report) {
        for (const auto& service : draft.services) {
            if (service.vip_at) unnamed_.insert(service.value.vip);
            doubtful_ |= !service.vip_at;
        }
    }

    void run() {
        check_names();
        check_vrids();
        for (auto& group : draft_.ha.groups) take_vips(group);
        check_rest();
        check_node_priorities();
        for (auto& group : draft_.ha.groups) draft_.rest.ha.groups.push_back(std::move(group.value));
    }

  private:
    void check_names() {
        std::map<std::string_view, Position> first;
        for (const auto& group : draft_.ha.groups) {
            if (!group.name_at) continue;
            const auto& name = group.value.name;
            if (name == kDefaultGroup)
                report_.add(*group.name_at, quote(name) + " is the group of the VIPs that no [[ha.group]] names");
            const auto [found, added] = first.try_emplace(name, *group.name_at);
            if (!added)
                report_.add(*group.name_at, "a group " + quote(name) + " is already there" + at_line(found->second));
        }
    }

    void check_vrids() {
        std::map<std::uint8_t, Position> first;
        if (draft_.ha.vrid_at) first.emplace(draft_.rest.ha.vrid, *draft_.ha.vrid_at);
        for (const auto& group : draft_.ha.groups) {
            if (!group.vrid_at) continue;
            const auto [found, added] = first.try_emplace(group.value.vrid, *group.vrid_at);
            if (!added)
                report_.add(*group.vrid_at, "'vrid' " + std::to_string(group.value.vrid) +
                                                " is already that of a group" + at_line(found->second));
        }
    }

    void take_vips(HaGroupDraft& group) {
        for (const auto& vip : group.vips) {
            const auto [found, added] = named_.try_emplace(vip.value, vip.at);
            if (!added)
                report_.add(vip.at, "VIP " + vip.value.to_string() + " is already in a group" + at_line(found->second));
            else if (unnamed_.erase(vip.value) == 0 && !doubtful_)
                report_.add(vip.at, "'vips': no service has the VIP " + vip.value.to_string());
            group.value.vips.push_back(vip.value);
        }
    }

    void check_rest() {
        if (draft_.ha.needs_vrid && !unnamed_.empty())
            report_.add(draft_.ha.at, "[ha] needs 'vrid': no [[ha.group]] names the VIP " +
                                          unnamed_.begin()->to_string() + (unnamed_.size() > 1 ? " and others" : ""));
    }

    void check_node_priorities() {
        std::vector<std::string_view> known{kDefaultGroup};
        for (const auto& group : draft_.ha.groups) known.push_back(group.value.name);
        for (const auto& node : draft_.nodes)
            for (const auto& group : node.prioritized)
                if (std::find(known.begin(), known.end(), group.value) == known.end())
                    report_.add(group.at, "'priority': there is no [[ha.group]] " + quote(group.value) +
                                              near_miss(group.value, known));
    }

    Draft& draft_;
    Report& report_;
    std::set<IpAddress> unnamed_;
    std::map<IpAddress, Position> named_;
    bool doubtful_ = false;  // some service's VIP could not be read
};

}  // namespace

void complete_ha(Draft& draft, Report& report) { HaCompleter(draft, report).run(); }

}  // namespace fairlead::config
