// SPDX-License-Identifier: Apache-2.0
#include "xdp/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "dataplane/tables/snapshot.h"
#include "xdp/libbpf_log.h"
#include "xdp/offloads.h"

namespace fairlead::xdp {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kLeastDevices = 64;  // as in xdp/maps.h

// What sits on an interface.
struct OnInterface {
    std::uint32_t program = 0;  // its id; 0 = none
    fl_engine_kind mode = FL_ENGINE_NONE;
};

OnInterface on_interface(std::uint32_t ifindex) {
    LIBBPF_OPTS(bpf_xdp_query_opts, options);
    LibbpfLog quiet;
    if (bpf_xdp_query(static_cast<int>(ifindex), 0, &options)) return {};
    switch (options.attach_mode) {
        case XDP_ATTACHED_DRV:
            return {options.drv_prog_id, FL_ENGINE_XDP_NATIVE};
        case XDP_ATTACHED_SKB:
            return {options.skb_prog_id, FL_ENGINE_XDP_GENERIC};
        case XDP_ATTACHED_NONE:
            return {};
        default:
            return {options.hw_prog_id ? options.hw_prog_id : options.prog_id, FL_ENGINE_NONE};
    }
}

const char* mode_name(fl_engine_kind mode) { return mode == FL_ENGINE_XDP_NATIVE ? "native" : "generic"; }

// --- what is pinned ---

fs::path link_path(const fs::path& folder, const std::string& ifname) { return folder / "links" / pin_name(ifname); }
fs::path program_path(const fs::path& folder, const std::string& ifname) {
    return folder / "programs" / pin_name(ifname);
}
constexpr Frames kBothForms[] = {Frames::kWhole, Frames::kLinear};
fs::path devices_path(const fs::path& folder, Frames frames) {
    return folder / (frames == Frames::kWhole ? "devices-whole" : "devices");
}

Result<void> make_folder(const fs::path& folder) {
    if (::mkdir(folder.c_str(), 0750) && errno != EEXIST) return fail_errno("make " + folder.string(), errno);
    return {};
}

Result<void> unpin(const fs::path& path) {
    if (::unlink(path.c_str()) && errno != ENOENT) return fail_errno("remove " + path.string(), errno);
    return {};
}

struct Link {
    UniqueFd fd;
    std::uint32_t id = 0;
    std::uint32_t program = 0;
    std::uint32_t ifindex = 0;  // 0: its interface is gone
};

Result<Link> link_of(UniqueFd fd) {
    bpf_link_info info{};
    std::uint32_t size = sizeof(info);
    if (int error = bpf_obj_get_info_by_fd(fd.get(), &info, &size)) return fail_errno("ask about a link", -error);
    if (info.type != BPF_LINK_TYPE_XDP) return fail("what is pinned is not an XDP link", EINVAL);
    return Link{std::move(fd), info.id, info.prog_id, info.xdp.ifindex};
}

// No value: nothing is pinned there.
Result<std::optional<Link>> open_link(const fs::path& path) {
    UniqueFd fd(bpf_obj_get(path.c_str()));
    if (!fd) {
        if (errno == ENOENT) return std::optional<Link>();
        return fail_errno("open " + path.string(), errno);
    }
    auto link = link_of(std::move(fd));
    if (!link) return fail(path.string() + ": " + link.error().message, link.error().code);
    return std::optional<Link>(std::move(*link));
}

// The names pinned in `folder`, as interfaces have them.
std::vector<std::string> pinned_names(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        std::string name = entry.path().filename().string();
        if (name.ends_with(":new")) continue;  // an attach() that was interrupted
        std::replace(name.begin(), name.end(), ':', '.');
        names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

// Replaces what is pinned at `path`, if anything, in one step.
Result<void> pin_over(int fd, const fs::path& path) {
    const fs::path fresh = path.string() + ":new";
    if (auto removed = unpin(fresh); !removed) return removed;
    if (bpf_obj_pin(fd, fresh.c_str())) return fail_errno("pin " + fresh.string(), errno);
    if (::rename(fresh.c_str(), path.c_str())) return fail_errno("pin " + path.string(), errno);
    return {};
}

// A map from numbers to numbers that is pinned at `path`, of at least `entries`; made anew if there is none like that.
Result<UniqueFd> open_map(const fs::path& path, bpf_map_type type, const char* name, std::uint32_t entries) {
    UniqueFd pinned(bpf_obj_get(path.c_str()));
    if (pinned) {
        bpf_map_info info{};
        std::uint32_t size = sizeof(info);
        if (int error = bpf_obj_get_info_by_fd(pinned.get(), &info, &size))
            return fail_errno("ask about " + path.string(), -error);
        if (info.type == type && info.max_entries >= entries) return pinned;
    } else if (errno != ENOENT) {
        return fail_errno("open " + path.string(), errno);
    }
    UniqueFd made(bpf_map_create(type, name, sizeof(__u32), sizeof(__u32), entries, nullptr));
    if (!made) return fail_errno("make the map " + path.string(), errno);
    if (auto done = pin_over(made.get(), path); !done) return tl::unexpected(done.error());
    return made;
}

Result<UniqueFd> open_devices(const fs::path& folder, Frames frames, std::uint32_t ports) {
    return open_map(devices_path(folder, frames), BPF_MAP_TYPE_DEVMAP, "fl_devices", std::max(ports, kLeastDevices));
}

Result<UniqueFd> open_exceptions(const fs::path& folder, const std::string& ifname) {
    return open_map(exceptions_path(folder, ifname), BPF_MAP_TYPE_XSKMAP, "fl_exceptions", FL_MAX_QUEUES);
}

// --- the ports table and the offloads ---

fl_port* find_port(tables::Tables& tables, const std::string& ifname) {
    for (fl_port& port : tables.ports())
        if (!FL_PORT_DEVICE(port.way) && ifname == tables::port_name(port)) return &port;
    return nullptr;
}

void set_name(fl_port& entry, const std::string& ifname) {
    std::array<char, sizeof(entry.name)> name{};
    std::copy_n(ifname.begin(), std::min(ifname.size(), name.size() - 1), name.begin());
    if (std::memcmp(entry.name, name.data(), name.size()) != 0) std::memcpy(entry.name, name.data(), name.size());
}

// Makes the entry speak of this interface. What was switched off on another one is that one's affair.
void claim_port(fl_port& entry, const std::string& ifname, std::uint32_t ifindex) {
    if (entry.ifindex != ifindex) tables::store_word(entry.saved_features, 0);
    if (!entry.way) tables::store_word(entry.way, __u64{FL_PORT_WAY_AS_IT_CAME});
    set_name(entry, ifname);
    tables::store_word(entry.ifindex, ifindex);
}

// Records, then switches off, so that a crash in between is mended by detach().
Result<std::string> switch_features_off(fl_port& entry, const std::string& ifname, fl_engine_kind mode) {
    auto features = read_features(ifname);
    if (!features) return tl::unexpected(features.error());
    const std::uint32_t off = *features & unwanted_features(mode);
    if (!off) return std::string();
    tables::store_word(entry.saved_features, entry.saved_features | off);
    auto left = set_features(ifname, off, false);
    if (!left) return tl::unexpected(left.error());
    tables::store_word(entry.saved_features, entry.saved_features & ~*left);
    if (!*left) return std::string();
    return ifname + " does not let " + feature_names(*left) + " be switched off: frames may not look as on the wire";
}

// Returns a warning, or "".
std::string restore_features(fl_port& entry, std::uint32_t& restored) {
    const std::uint32_t saved = entry.saved_features;
    char ifname[IF_NAMESIZE];
    if (!saved) return {};
    if (!::if_indextoname(entry.ifindex, ifname)) {
        tables::store_word(entry.saved_features, 0);  // they went with the interface
        return {};
    }
    auto left = set_features(ifname, saved, true);
    if (!left) return "cannot switch on again " + feature_names(saved) + ": " + left.error().message;
    tables::store_word(entry.saved_features, *left);
    restored = saved & ~*left;
    return *left ? std::string(ifname) + " does not let " + feature_names(*left) + " be switched on again" : "";
}

// --- attaching ---

// The program in its two forms, each loaded when it is first asked for.
class Programs {
  public:
    Programs(const tables::Tables& tables, const PortSpec& port, const fs::path& folder)
        : tables_(tables), port_(port), folder_(folder) {}

    Result<const Program*> get(Frames frames) {
        auto& loaded = frames == Frames::kWhole ? whole_ : linear_;
        if (!loaded) loaded.emplace(load(frames));
        if (!*loaded) return tl::unexpected(loaded->error());
        return &**loaded;
    }

  private:
    Result<Program> load(Frames frames) const {
        auto devices = open_devices(folder_, frames, tables_.limits().ports);
        if (!devices) return tl::unexpected(devices.error());
        auto exceptions = open_exceptions(folder_, port_.ifname);
        if (!exceptions) return tl::unexpected(exceptions.error());
        return Program::load(tables_, port_.program, port_.number,
                             {devices->get(), exceptions->get(), frames, port_.steering});
    }

    const tables::Tables& tables_;
    const PortSpec& port_;
    const fs::path& folder_;
    std::optional<Result<Program>> linear_, whole_;
};

// One interface on its way to be attached.
struct Job {
    tables::Tables& tables;
    const fs::path& folder;
    const PortSpec& port;
    std::uint32_t ifindex;
    fl_port& entry;
    Programs& programs;
    Attachment& result;
};

__u32 mode_flag(fl_engine_kind mode) { return mode == FL_ENGINE_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE; }

// Puts the program to use by `attempt`, which is given its descriptor: in the form that takes frames of several buffers
// where kernel and driver do, else in the other.
template <typename Attempt>
auto with_program(const Job& job, fl_engine_kind mode, Attempt attempt) -> decltype(attempt(0)) {
    for (const Frames frames : kBothForms) {
        if (frames == Frames::kWhole && mode != FL_ENGINE_XDP_NATIVE) continue;
        auto program = job.programs.get(frames);
        if (!program && frames == Frames::kWhole) continue;
        if (!program) return tl::unexpected(program.error());
        auto done = attempt((*program)->fd());
        if (!done && frames == Frames::kWhole) continue;
        job.result.frames = frames;
        job.result.program = (*program)->info();
        return done;
    }
    return fail("no form of the program to attach", EINVAL);
}

Result<UniqueFd> create_link(const Job& job, fl_engine_kind mode) {
    return with_program(job, mode, [&](int program) -> Result<UniqueFd> {
        LIBBPF_OPTS(bpf_link_create_opts, options);
        options.flags = mode_flag(mode);
        UniqueFd fd(bpf_link_create(program, static_cast<int>(job.ifindex), BPF_XDP, &options));
        if (!fd) return fail(std::strerror(errno), errno);
        return fd;
    });
}

Result<void> update_link(const Job& job, const Link& link, fl_engine_kind mode) {
    return with_program(job, mode, [&](int program) -> Result<void> {
        if (int error = bpf_link_update(link.fd.get(), program, nullptr))
            return fail_errno("replace the program on " + job.port.ifname, -error);
        return {};
    });
}

// The kernel gives no words with a refused link; over netlink it does, so the same is asked for there.
std::string refusal(const Job& job, fl_engine_kind mode, const Error& error) {
    const __u32 flags = mode_flag(mode);
    const auto program = job.programs.get(Frames::kLinear);
    if (!program) return program.error().message;
    const int fd = (*program)->fd();
    LibbpfLog log;
    if (bpf_xdp_attach(static_cast<int>(job.ifindex), fd, flags | XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr) == 0) {
        LIBBPF_OPTS(bpf_xdp_attach_opts, options);
        options.old_prog_fd = fd;
        bpf_xdp_detach(static_cast<int>(job.ifindex), flags, &options);
    }
    const std::string message = log.kernel_message();
    return std::string(mode_name(mode)) +
           " XDP was refused: " + (message.empty() ? error.message : message + " (" + error.message + ")");
}

Error foreign_program(const std::string& ifname, const OnInterface& there) {
    const auto info = program_info_by_id(there.program);
    const std::string name = info && !info->name.empty() ? " (" + info->name + ")" : "";
    const bool ours = info && info->name.starts_with("fl_");
    return {ifname + ": another XDP program is attached, id " + std::to_string(there.program) + name + "; " +
                (ours ? "another instance of Fairlead put it there, detach that one first"
                      : "Fairlead does not replace it; take it off first (bpftool net, ip link set dev " + ifname +
                            " xdp off)"),
            EBUSY};
}

// Switches off what must be off and makes the link.
Result<UniqueFd> try_mode(const Job& job, fl_engine_kind mode) {
    auto warning = switch_features_off(job.entry, job.port.ifname, mode);
    if (!warning) return tl::unexpected(warning.error());
    auto link = create_link(job, mode);
    if (link && !warning->empty()) job.result.warnings.push_back(*warning);
    return link;
}

Result<UniqueFd> make_link(const Job& job, Mode mode) {
    std::string reason;
    if (mode != Mode::kGeneric) {
        auto link = try_mode(job, FL_ENGINE_XDP_NATIVE);
        if (link) {
            job.result.mode = FL_ENGINE_XDP_NATIVE;
            return link;
        }
        if (auto there = on_interface(job.ifindex); there.program)
            return tl::unexpected(foreign_program(job.port.ifname, there));
        reason = refusal(job, FL_ENGINE_XDP_NATIVE, link.error());
        if (mode == Mode::kNative) return fail(job.port.ifname + ": " + reason, link.error().code);
    }
    auto link = try_mode(job, FL_ENGINE_XDP_GENERIC);
    if (link) {
        job.result.mode = FL_ENGINE_XDP_GENERIC;
        job.result.reason = reason;
        return link;
    }
    if (auto there = on_interface(job.ifindex); there.program)
        return tl::unexpected(foreign_program(job.port.ifname, there));
    const std::string generic = refusal(job, FL_ENGINE_XDP_GENERIC, link.error());
    return fail(job.port.ifname + ": " + (reason.empty() ? "" : reason + "; ") + generic, link.error().code);
}

Result<void> attach_anew(const Job& job, Mode mode) {
    std::uint32_t restored = 0;
    if (auto there = on_interface(job.ifindex); there.program)
        return tl::unexpected(foreign_program(job.port.ifname, there));
    auto fd = make_link(job, mode);
    if (!fd) {
        restore_features(job.entry, restored);
        return tl::unexpected(fd.error());
    }
    auto link = link_of(std::move(*fd));
    if (!link) return tl::unexpected(link.error());
    job.result.link_id = link->id;
    auto pinned = pin_over(link->fd.get(), link_path(job.folder, job.port.ifname));
    if (!pinned) restore_features(job.entry, restored);  // the link, and the program, go when `link` does
    return pinned;
}

fl_engine_kind wanted(Mode mode, fl_engine_kind present) {
    if (mode == Mode::kAuto) return present;
    return mode == Mode::kNative ? FL_ENGINE_XDP_NATIVE : FL_ENGINE_XDP_GENERIC;
}

// Another mode needs another link, and so a moment without a program. If it is refused, the old mode comes back.
Result<void> change_mode(const Job& job, const Link& link, fl_engine_kind present, Mode mode) {
    if (int error = bpf_link_detach(link.fd.get())) return fail_errno("detach from " + job.port.ifname, -error);
    auto done = attach_anew(job, mode);
    if (done) return done;
    const Error error = done.error();
    done = attach_anew(job, present == FL_ENGINE_XDP_NATIVE ? Mode::kNative : Mode::kGeneric);
    return fail(error.message + (done ? std::string("; it stays attached, ") + mode_name(present)
                                      : "; and the old mode could not be restored: " + done.error().message),
                error.code);
}

Result<void> adopt(const Job& job, const Link& link, fl_engine_kind present, Mode mode) {
    if (wanted(mode, present) != present) return change_mode(job, link, present, mode);
    auto warning = switch_features_off(job.entry, job.port.ifname, present);
    if (!warning) return tl::unexpected(warning.error());
    if (!warning->empty()) job.result.warnings.push_back(*warning);
    if (auto updated = update_link(job, link, present); !updated) return updated;
    job.result.adopted = true;
    job.result.link_id = link.id;
    job.result.mode = present;
    if (present == FL_ENGINE_XDP_GENERIC && mode == Mode::kAuto)
        job.result.reason = "it was attached so before, and stays so until it is detached";
    return {};
}

// An interface may have been given another name since: its pins follow.
Result<void> follow_new_name(const Job& job) {
    for (const std::string& name : pinned_names(job.folder / "links")) {
        auto link = open_link(link_path(job.folder, name));
        if (!link || !link->has_value() || (*link)->ifindex != job.ifindex || name == job.port.ifname) continue;
        if (on_interface(job.ifindex).program != (*link)->program) continue;
        if (::rename(link_path(job.folder, name).c_str(), link_path(job.folder, job.port.ifname).c_str()))
            return fail_errno("rename the link of " + name, errno);
        // lb-dpdk finds the map of exceptions by the new name, and begins anew there.
        if (auto removed = unpin(exceptions_path(job.folder, name)); !removed) return removed;
        return unpin(program_path(job.folder, name));
    }
    return {};
}

// By what the interface's folder holds: adopt, or attach anew.
Result<void> attach_program(const Job& job, Mode mode) {
    const fs::path path = link_path(job.folder, job.port.ifname);
    if (auto followed = follow_new_name(job); !followed) return followed;
    auto link = open_link(path);
    if (!link) return tl::unexpected(link.error());
    if (!link->has_value()) return attach_anew(job, mode);
    const Link& found = **link;
    const OnInterface there = on_interface(found.ifindex);
    if (found.ifindex && there.program != found.program)
        return fail(path.string() +
                        " belongs to an interface of another network namespace: use another instance name, or "
                        "detach it first",
                    EBUSY);
    if (found.ifindex == job.ifindex) return adopt(job, found, there.mode, mode);
    // Its interface is gone, or has another name by now.
    if (found.ifindex) bpf_link_detach(found.fd.get());
    if (auto removed = unpin(path); !removed) return removed;
    return attach_anew(job, mode);
}

Result<void> check_request(const tables::Tables& tables, const PortSpec& port, std::uint32_t ifindex) {
    if (tables.access() != tables::Access::kReadWrite) return fail("attaching needs tables open for writing", EINVAL);
    if (port.number == 0 || port.number >= tables.limits().ports)
        return fail("port number " + std::to_string(port.number) + " is not in the ports table", EINVAL);
    if (!ifindex) return fail("there is no interface " + port.ifname, ENODEV);
    return {};
}

Result<void> make_folders(const fs::path& folder) {
    for (const fs::path& each : {folder / "links", folder / "programs", folder / "exceptions"})
        if (auto made = make_folder(each); !made) return made;
    return {};
}

// A device leaves the maps with its interface, so this is said again each time. Only redirects need it.
Result<void> name_device(const Job& job) {
    for (const Frames frames : kBothForms) {
        auto devices = open_devices(job.folder, frames, job.tables.limits().ports);
        if (!devices) return tl::unexpected(devices.error());
        if (bpf_map_update_elem(devices->get(), &job.port.number, &job.ifindex, BPF_ANY))
            job.result.warnings.push_back("no transmission through " + job.port.ifname + ": " + std::strerror(errno));
    }
    return {};
}

Result<void> finish(const Job& job) {
    tables::store_word(job.entry.mode, static_cast<std::uint32_t>(job.result.mode));
    const bool fed = job.port.steering == Steering::kByDpdk;
    const std::uint32_t frames = job.result.frames == Frames::kWhole ? FL_PORT_FRAMES : 0;
    tables::store_word(job.entry.flags, frames | (fed ? FL_PORT_FEED : 0));
    tables::store_word(job.tables.meta().engine, static_cast<std::uint32_t>(fed ? FL_ENGINE_DPDK : job.result.mode));
    job.result.saved_features = job.entry.saved_features;
    if (auto named = name_device(job); !named) return named;
    const auto program = job.programs.get(job.result.frames);
    if (!program) return tl::unexpected(program.error());
    return pin_over((*program)->fd(), program_path(job.folder, job.port.ifname));
}

}  // namespace

Result<Attachment> attach(tables::Tables& tables, const fs::path& folder, const PortSpec& port, Mode mode) {
    const std::uint32_t ifindex = ::if_nametoindex(port.ifname.c_str());
    if (auto checked = check_request(tables, port, ifindex); !checked) return tl::unexpected(checked.error());
    if (auto made = make_folders(folder); !made) return tl::unexpected(made.error());
    Programs programs(tables, port, folder);
    // Whatever is wrong with it, or with our rights, is said before anything is touched.
    if (auto program = programs.get(Frames::kWhole); !program)
        if (program = programs.get(Frames::kLinear); !program) return tl::unexpected(program.error());

    Attachment result;
    result.ifname = port.ifname;
    result.port = port.number;
    result.ifindex = ifindex;
    result.steering = port.steering;
    fl_port& entry = tables.ports()[port.number];
    claim_port(entry, port.ifname, ifindex);
    const Job job{tables, folder, port, ifindex, entry, programs, result};
    if (auto attached = attach_program(job, mode); !attached) return tl::unexpected(attached.error());
    if (auto finished = finish(job); !finished) return tl::unexpected(finished.error());
    return result;
}

// --- looking and detaching ---

namespace {

Result<Attached> describe(const fs::path& folder, const std::string& ifname) {
    const fs::path path = link_path(folder, ifname);
    auto link = open_link(path);
    if (!link) return tl::unexpected(link.error());
    if (!link->has_value()) return fail("nothing is pinned at " + path.string(), ENOENT);
    const Link& found = **link;
    Attached result;
    result.ifname = ifname;
    result.ifindex = found.ifindex;
    result.link_id = found.id;
    if (const OnInterface there = on_interface(found.ifindex); found.ifindex && there.program == found.program)
        result.mode = there.mode;
    if (auto info = program_info_by_id(found.program)) result.program = *info;
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0) result.since = std::chrono::system_clock::from_time_t(status.st_mtime);
    return result;
}

// Offloads, the ports table and the word that says which engine runs. The program is off already.
void forget(const fs::path& folder, const std::string& ifname, Detached& result) {
    auto opened = tables::Tables::open_pinned(folder, tables::Access::kReadWrite);
    if (!opened) {
        if (opened.error().code != ENOENT) result.warning = "offloads are not restored: " + opened.error().message;
        return;
    }
    if (fl_port* entry = find_port(*opened, ifname)) {
        const auto number = static_cast<std::uint32_t>(entry - opened->ports().data());
        result.warning = restore_features(*entry, result.restored_features);
        tables::store_word(entry->mode, static_cast<std::uint32_t>(FL_ENGINE_NONE));
        tables::store_word(entry->flags, 0U);
        for (const Frames frames : kBothForms) {
            const UniqueFd devices(bpf_obj_get(devices_path(folder, frames).c_str()));
            if (devices) bpf_map_delete_elem(devices.get(), &number);
        }
    }
    if (pinned_names(folder / "links").empty())
        tables::store_word(opened->meta().engine, static_cast<std::uint32_t>(FL_ENGINE_NONE));
}

}  // namespace

Result<std::vector<Attached>> list(const fs::path& folder) {
    std::vector<Attached> all;
    for (const std::string& ifname : pinned_names(folder / "links")) {
        auto one = describe(folder, ifname);
        if (!one && one.error().code == ENOENT) continue;  // detached meanwhile
        if (!one) return tl::unexpected(one.error());
        all.push_back(std::move(*one));
    }
    return all;
}

Result<Detached> detach(const fs::path& folder, const std::string& ifname) {
    const fs::path path = link_path(folder, ifname);
    auto link = open_link(path);
    if (!link) return tl::unexpected(link.error());
    if (!link->has_value()) return fail(ifname + ": Fairlead has attached nothing (" + path.string() + ")", ENOENT);
    // Unpinning alone would leave it to whoever else holds the link, and to the kernel's leisure.
    if ((*link)->ifindex)
        if (int error = bpf_link_detach((*link)->fd.get())) return fail_errno("detach from " + ifname, -error);
    if (auto removed = unpin(path); !removed) return tl::unexpected(removed.error());
    for (const fs::path& each : {program_path(folder, ifname), exceptions_path(folder, ifname)})
        if (auto removed = unpin(each); !removed) return tl::unexpected(removed.error());
    Detached result;
    result.ifname = ifname;
    forget(folder, ifname, result);
    return result;
}

Result<std::vector<Detached>> detach_all(const fs::path& folder, TablesAfter tables_after) {
    std::vector<Detached> all;
    std::optional<Error> first;
    auto note = [&](const auto& result) {
        if (!result && !first) first = result.error();
    };
    for (const std::string& ifname : pinned_names(folder / "links")) {
        auto one = detach(folder, ifname);
        note(one);
        if (one) all.push_back(std::move(*one));
    }
    if (!first) {
        for (const Frames frames : kBothForms) note(unpin(devices_path(folder, frames)));
        // Also of interfaces that the program could not be attached to.
        for (const std::string& name : pinned_names(folder / "exceptions")) note(unpin(exceptions_path(folder, name)));
        ::rmdir((folder / "links").c_str());
        ::rmdir((folder / "programs").c_str());
        ::rmdir((folder / "exceptions").c_str());
        if (tables_after == TablesAfter::kRemove) {
            note(tables::Tables::remove_pinned(tables::Tables::aside(folder)));
            note(tables::Tables::remove_pinned(folder));
        }
    }
    if (first) return tl::unexpected(*first);
    return all;
}

}  // namespace fairlead::xdp
