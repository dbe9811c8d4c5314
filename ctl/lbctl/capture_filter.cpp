// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/capture_filter.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "ctl/api/views.h"
#include "dataplane/tables/memory_steer.h"
#include "dataplane/tables/records.h"

namespace fairlead::lbctl {
namespace {
using Name = std::pair<std::string_view, std::uint8_t>;
constexpr std::array<Name, 6> kVerdicts{{{"forward", FL_ACTION_FORWARD},
                                         {"local", FL_ACTION_LOCAL},
                                         {"pass", FL_ACTION_PASS},
                                         {"answer", FL_ACTION_ANSWER},
                                         {"drop", FL_ACTION_DROP},
                                         {"unwrap", FL_ACTION_UNWRAP}}};
constexpr std::array<Name, 4> kProtocols{
    {{"tcp", FL_PROTO_TCP}, {"udp", FL_PROTO_UDP}, {"icmp", FL_PROTO_ICMP}, {"icmpv6", FL_PROTO_ICMPV6}}};

// "a, b or c"
std::string alternatives(const std::vector<std::string>& names) {
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i)
        text += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i];
    return text;
}

template <std::size_t N>
std::string alternatives(const std::array<Name, N>& names) {
    std::vector<std::string> texts;
    for (const auto& name : names) texts.emplace_back(name.first);
    return alternatives(texts);
}

tl::unexpected<Error> refuse(const std::string& key, const std::string& value, const std::string& expected) {
    return fail("filter: " + key + " '" + value + "': " + expected, EINVAL);
}

class FilterParser {
  public:
    explicit FilterParser(const tables::Snapshot& snapshot) : snapshot_(snapshot) { filter_.one_in = 1; }

    Result<void> take(const std::string& key, const std::string& value) {
        const auto found = kKeys.find(key);
        if (found == kKeys.end()) return fail("filter: unknown word '" + key + "'; expected " + keys(), EINVAL);
        if (!given_.insert(key).second) return fail("filter: '" + key + "' stands there twice", EINVAL);
        return (this->*found->second)(value);
    }

    // A backend's name means one only together with its pool.
    Result<fl_capture_filter> finish() {
        if (backend_.empty()) return filter_;
        std::vector<std::string> pools;
        for (const auto& pool : snapshot_.pools) {
            for (const auto& backend : pool.backends) {
                if (backend.name != backend_ || (filter_.pool && filter_.pool != pool.id)) continue;
                pools.push_back(pool.name);
                filter_.backend = backend.global_index;
                filter_.by |= FL_CAPTURE_BY_BACKEND;
            }
        }
        if (pools.empty()) return refuse("backend", backend_, "there is none of that name");
        if (pools.size() > 1)
            return refuse("backend", backend_, "several pools have one: say pool " + alternatives(pools) + " as well");
        return filter_;
    }

    static std::string keys() {
        std::vector<std::string> names;
        for (const auto& [name, step] : kKeys) names.push_back(name);
        return alternatives(names);
    }

  private:
    using Step = Result<void> (FilterParser::*)(const std::string&);
    static const std::map<std::string, Step> kKeys;

    Result<void> vip(const std::string& value) {
        const auto address = IpAddress::parse(value);
        if (!address) return refuse("vip", value, address.error().message);
        for (const auto& vip : snapshot_.vips)
            if (vip.address == *address) filter_.vip = vip.id;
        if (!filter_.vip) return refuse("vip", value, "there is no such VIP");
        return {};
    }

    Result<void> client(const std::string& value) {
        const auto whole = value.find(':') == std::string::npos ? "/32" : "/128";
        const auto prefix = IpPrefix::parse(value.find('/') == std::string::npos ? value + whole : value);
        if (!prefix) return refuse("client", value, prefix.error().message);
        const int length = prefix->length + (prefix->address.is_v4() ? 96 : 0);
        filter_.client = tables::to_record(prefix->address);
        for (int bit = 0; bit < length; ++bit)
            filter_.client_mask.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80 >> (bit % 8));
        return {};
    }

    Result<void> port(const std::string& value) {
        std::uint16_t number = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        if (error != std::errc{} || end != value.data() + value.size() || !number)
            return refuse("port", value, "expected 1 to 65535");
        filter_.port = fl_htons(number);
        return {};
    }

    template <std::size_t N>
    static Result<std::uint8_t> one_of(const std::array<Name, N>& names, const char* key, const std::string& value) {
        for (const auto& [name, number] : names)
            if (name == value) return number;
        return refuse(key, value, "expected " + alternatives(names));
    }

    Result<void> protocol(const std::string& value) {
        const auto number = one_of(kProtocols, "protocol", value);
        if (!number) return tl::unexpected(number.error());
        filter_.protocol = *number;
        return {};
    }

    Result<void> verdict(const std::string& value) {
        const auto action = one_of(kVerdicts, "verdict", value);
        if (!action) return tl::unexpected(action.error());
        filter_.action = *action;
        filter_.by |= FL_CAPTURE_BY_ACTION;
        return {};
    }

    Result<void> reason(const std::string& value) {
        for (int i = 0; i < FL_REASON_COUNT; ++i) {
            if (api::reason_text(static_cast<fl_reason>(i)).name != value) continue;
            filter_.reason = static_cast<std::uint8_t>(i);
            filter_.by |= FL_CAPTURE_BY_REASON;
            return {};
        }
        return refuse("reason", value, "there is no such reason; 'lbctl counters --all' lists them");
    }

    Result<void> pool(const std::string& value) {
        const auto* found = snapshot_.find_pool(value);
        if (!found) return refuse("pool", value, "there is none of that name");
        filter_.pool = found->id;
        return {};
    }

    Result<void> backend(const std::string& value) {
        backend_ = value;
        return {};
    }

    const tables::Snapshot& snapshot_;
    fl_capture_filter filter_{};
    std::set<std::string> given_;
    std::string backend_;
};

const std::map<std::string, FilterParser::Step> FilterParser::kKeys{
    {"vip", &FilterParser::vip},           {"client", &FilterParser::client}, {"port", &FilterParser::port},
    {"protocol", &FilterParser::protocol}, {"pool", &FilterParser::pool},     {"backend", &FilterParser::backend},
    {"verdict", &FilterParser::verdict},   {"reason", &FilterParser::reason}};
}  // namespace

Result<fl_capture_filter> parse_filter(const std::vector<std::string>& words, const tables::Snapshot& snapshot) {
    FilterParser parser(snapshot);
    if (words.size() % 2 != 0)
        return fail("filter: nothing after '" + words.back() + "'; expected pairs of words, beginning with " +
                        FilterParser::keys(),
                    EINVAL);
    for (std::size_t i = 0; i < words.size(); i += 2)
        if (auto taken = parser.take(words[i], words[i + 1]); !taken) return tl::unexpected(taken.error());
    return parser.finish();
}

std::string_view verdict_name(std::uint8_t action) {
    for (const auto& [name, number] : kVerdicts)
        if (number == action) return name;
    return "hand";
}

}  // namespace fairlead::lbctl
