// SPDX-License-Identifier: Apache-2.0
#include "xdp/decap.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>

#include "dataplane/tables/grace.h"
#include "dataplane/tables/limits.h"
#include "dataplane/tables/snapshot.h"
#include "dataplane/tables/writer.h"

namespace fairlead::xdp {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kLeastVips = 64;
constexpr std::uint32_t kPort = 1;
constexpr int kMappedBits = 96;  // of an IPv4-mapped address, before the IPv4 address

fs::path folder_of(const fs::path& base, const std::string& ifname) { return base / ("decap-" + pin_name(ifname)); }

std::optional<IpAddress> address_of(const sockaddr& raw) {
    if (raw.sa_family == AF_INET) {
        std::array<std::uint8_t, 4> bytes{};
        std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in&>(raw).sin_addr, bytes.size());
        return IpAddress::from_v4(bytes);
    }
    if (raw.sa_family != AF_INET6) return {};
    IpAddress::Bytes bytes{};
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in6&>(raw).sin6_addr, bytes.size());
    return IpAddress(bytes);
}

// In the kernel's order, which puts an interface's primary address first.
Result<std::vector<IpAddress>> addresses_of(const std::string& ifname) {
    ifaddrs* raw = nullptr;
    if (::getifaddrs(&raw)) return fail_errno("addresses of " + ifname, errno);
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(raw, ::freeifaddrs);
    std::vector<IpAddress> found;
    for (const ifaddrs* each = raw; each; each = each->ifa_next) {
        if (!each->ifa_addr || ifname != each->ifa_name) continue;
        if (auto address = address_of(*each->ifa_addr); address && !address->is_link_local()) found.push_back(*address);
    }
    return found;
}

// Fills in node4 and node6, as far as there are such addresses: a tunnel may be of another family than what is in it.
Result<void> complete_nodes(DecapSpec& spec) {
    auto present = addresses_of(spec.ifname);
    if (!present) return tl::unexpected(present.error());
    for (const bool v4 : {true, false}) {
        std::optional<IpAddress>& node = v4 ? spec.node4 : spec.node6;
        const auto of_family = [&](const IpAddress& address) { return address.is_v4() == v4; };
        if (node && !of_family(*node))
            return fail(node->to_string() + " is not an IPv" + (v4 ? "4" : "6") + " address", EINVAL);
        if (node) continue;
        const auto fits = [&](const IpAddress& address) {
            return of_family(address) && std::find(spec.vips.begin(), spec.vips.end(), address) == spec.vips.end();
        };
        const auto found = std::find_if(present->begin(), present->end(), fits);
        if (found != present->end()) node = *found;
    }
    if (!spec.node4 && !spec.node6) return fail(spec.ifname + " has no address for tunnels to end at", EADDRNOTAVAIL);
    return {};
}

Result<void> check_spec(const DecapSpec& spec) {
    if (spec.vips.empty()) return fail("no VIP given", EINVAL);
    if (spec.sources.empty()) return fail("no source given: anybody could send into the VIPs", EINVAL);
    if (!::if_nametoindex(spec.ifname.c_str())) return fail("there is no interface " + spec.ifname, ENODEV);
    return {};
}

Result<tables::Tables> make_tables(const fs::path& folder, std::size_t vips) {
    auto cpus = tables::possible_cpus();
    if (!cpus) return tl::unexpected(cpus.error());
    tables::Capacity capacity{.vips = kLeastVips, .services = 1, .pools = 1, .backends = 1, .slots = 16, .pins = 8};
    while (capacity.vips < vips) capacity.vips *= 2;
    return tables::Tables::create_pinned(folder, tables::limits_for(capacity, *cpus));
}

// Makes the tables say what `spec` says. EBUSY: what must not change under a program would have to; ENOSPC: too small.
Result<void> fill(tables::Tables& tables, const DecapSpec& spec) {
    auto grace = tables::make_grace(tables);
    if (!grace) return tl::unexpected(grace.error());
    auto writer = tables::TableWriter::create(tables, **grace);
    if (!writer) return tl::unexpected(writer.error());
    if (auto done = writer->set_node(spec.node4, spec.node6); !done) return done;
    if (auto done = writer->set_sources(spec.sources); !done) return done;
    if (auto done = writer->set_gue_port(spec.gue_port); !done) return done;
    tables::Desired desired;
    for (const IpAddress& vip : spec.vips) desired.vips.push_back({.address = vip, .local = true});
    if (auto done = writer->apply(desired); !done) return tl::unexpected(done.error());
    return writer->set_meta_flags(FL_META_DECAP);
}

Result<Attachment> attach_filled(tables::Tables& tables, const fs::path& folder, const DecapSpec& spec) {
    return attach(tables, folder, {kPort, spec.ifname, ProgramKind::kDecap}, spec.mode);
}

Result<Attachment> attach_fresh(const fs::path& folder, const DecapSpec& spec) {
    auto made = make_tables(folder, spec.vips.size());
    if (!made) return tl::unexpected(made.error());
    auto filled = fill(*made, spec);
    auto attached = filled ? attach_filled(*made, folder, spec) : tl::unexpected(filled.error());
    if (!attached) detach_all(folder, TablesAfter::kRemove);
    return attached;
}

IpAddress to_address(const fl_address& raw) {
    IpAddress::Bytes bytes{};
    std::memcpy(bytes.data(), raw.bytes, bytes.size());
    return IpAddress(bytes);
}

std::optional<IpAddress> node_of(const fl_address& raw) {
    const IpAddress address = to_address(raw);
    if (address.is_unspecified()) return {};
    return address;
}

IpPrefix to_prefix(const fl_source& source) {
    int bits = 0;
    for (const std::uint8_t byte : source.mask.bytes) bits += std::popcount(byte);
    const IpAddress address = to_address(source.address);
    return {address, address.is_v4() ? bits - kMappedBits : bits};
}

Result<DecapStatus> status_of(const fs::path& folder, Attached attached) {
    auto opened = tables::Tables::open_pinned(folder, tables::Access::kReadOnly);
    if (!opened) return tl::unexpected(opened.error());
    const tables::Tables& tables = *opened;
    const fl_meta& meta = tables.meta();
    DecapStatus status;
    status.attached = std::move(attached);
    status.node4 = node_of(meta.node4);
    status.node6 = node_of(meta.node6);
    const std::uint32_t sources = std::min<std::uint32_t>(tables::load_word(meta.source_count), FL_MAX_SOURCES);
    for (std::uint32_t index = 0; index < sources; ++index)
        if (tables::load_word(meta.sources[index].address.halves[0]) != ~0ULL)  // an entry that is out of use
            status.sources.push_back(to_prefix(meta.sources[index]));
    std::sort(status.sources.begin(), status.sources.end());
    for (const auto& vip : tables::take_snapshot(tables).vips) status.vips.push_back(vip.address);
    status.gue_port = ntohs(static_cast<std::uint16_t>(tables::load_word(meta.gue_port)));
    const tables::CounterReader counters(tables);
    status.unwrapped = counters.reason(FL_REASON_DECAPSULATED);
    status.refused = counters.reason(FL_REASON_DECAP_REFUSED);
    status.passed = counters.reason(FL_REASON_NOT_VIP);
    return status;
}

}  // namespace

fs::path decap_base(const std::string& instance) {
    return instance == "default" ? fs::path(kDecapBase) : fs::path(kDecapBase) / pin_name(instance);
}

Result<Attachment> decap_attach(const DecapSpec& given, const fs::path& base) {
    DecapSpec spec = given;
    if (auto checked = check_spec(spec); !checked) return tl::unexpected(checked.error());
    if (auto complete = complete_nodes(spec); !complete) return tl::unexpected(complete.error());
    const fs::path folder = folder_of(base, spec.ifname);
    auto present = tables::Tables::open_pinned(folder, tables::Access::kReadWrite);
    if (!present) {
        const int code = present.error().code;
        if (code != ENOENT && code != EUCLEAN) return tl::unexpected(present.error());
        return attach_fresh(folder, spec);
    }
    auto filled = fill(*present, spec);
    if (filled) return attach_filled(*present, folder, spec);
    if (filled.error().code != EBUSY && filled.error().code != ENOSPC) return tl::unexpected(filled.error());
    if (auto gone = detach_all(folder, TablesAfter::kRemove); !gone) return tl::unexpected(gone.error());
    return attach_fresh(folder, spec);
}

Result<Detached> decap_detach(const std::string& ifname, const fs::path& base) {
    const fs::path folder = folder_of(base, ifname);
    std::error_code error;
    if (!fs::exists(folder, error)) return fail(ifname + ": fl_decap is not attached", ENOENT);
    auto all = detach_all(folder, TablesAfter::kRemove);
    if (!all) return tl::unexpected(all.error());
    ::rmdir(base.c_str());  // if nothing else is in it
    Detached nothing;
    nothing.ifname = ifname;
    return all->empty() ? nothing : all->front();
}

Result<std::vector<DecapStatus>> decap_list(const fs::path& base) {
    std::vector<DecapStatus> all;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(base, error)) {
        if (!entry.path().filename().string().starts_with("decap-")) continue;
        auto attached = list(entry.path());
        if (!attached) return tl::unexpected(attached.error());
        for (Attached& one : *attached) {
            auto status = status_of(entry.path(), std::move(one));
            if (!status) return tl::unexpected(status.error());
            all.push_back(std::move(*status));
        }
    }
    std::sort(all.begin(), all.end(),
              [](const DecapStatus& a, const DecapStatus& b) { return a.attached.ifname < b.attached.ifname; });
    return all;
}

}  // namespace fairlead::xdp
