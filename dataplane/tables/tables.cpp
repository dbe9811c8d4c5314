// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/tables.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <string>
#include <utility>

namespace fairlead::tables {
namespace fs = std::filesystem;
namespace {

struct TableShape {
    const char* name;
    std::size_t element;  // bytes, as its struct
    std::size_t count;
};
using Shapes = std::array<TableShape, FL_TABLE_COUNT>;

constexpr const char* kTableNames[] = {
#define FL_X(name, type, count) #name,
    FL_TABLE_LIST(FL_X)
#undef FL_X
};

Shapes shapes_for(const fl_limits& limits) {
    const fl_limits* l = &limits;
    return {{
#define FL_X(name, type, count) {#name, FL_ELEMENT_STRIDE(type), static_cast<std::size_t>(count)},
        FL_TABLE_LIST(FL_X)
#undef FL_X
    }};
}

std::size_t mapped_bytes(const TableShape& shape) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return (shape.element * shape.count + page - 1) / page * page;
}

std::string capability_hint(int error) {
    if (error != EPERM && error != EACCES) return {};
    return " (needs CAP_BPF and CAP_NET_ADMIN, or root)";
}

class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    int get() const { return fd_; }

  private:
    int fd_;
};

fs::path pin_path(const fs::path& folder, std::size_t table) { return folder / kTableNames[table]; }

bool is_bpffs(const fs::path& folder) {
    struct statfs info{};
    return statfs(folder.c_str(), &info) == 0 && info.f_type == BPF_FS_MAGIC;
}

fs::path nearest_existing(fs::path path) {
    std::error_code ignored;
    while (!path.empty() && path != path.root_path() && !fs::exists(path, ignored)) path = path.parent_path();
    return path;
}

Result<void> make_folders(const fs::path& folder) {
    std::error_code error;
    if (fs::is_directory(folder, error)) return {};
    if (folder.has_parent_path() && folder.parent_path() != folder)
        if (auto made = make_folders(folder.parent_path()); !made) return made;
    if (mkdir(folder.c_str(), 0750) && errno != EEXIST)
        return fail("make folder " + folder.string() + ": " + std::strerror(errno) + capability_hint(errno), errno);
    return {};
}

// The map's own shape, as the kernel knows it.
Result<bpf_map_info> map_info(int fd) {
    bpf_map_info info{};
    __u32 size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &size)) return fail_errno("read a map's properties", errno);
    return info;
}

enum class FolderState { kEmpty, kHalfMade, kFinished };

// For writing even where the memory is mapped for reading alone: the kernel maps no map from a read-only descriptor
// (mmap takes VM_SHARED off such a mapping, and bpf_map_mmap() refuses one without it).
Result<Descriptor> open_pin(const fs::path& path) {
    const int fd = bpf_obj_get(path.c_str());
    if (fd < 0) return fail("open " + path.string() + ": " + std::strerror(errno) + capability_hint(errno), errno);
    return Descriptor(fd);
}

Result<void*> map_memory(int fd, std::size_t bytes, Access access, const char* table) {
    const int protection = access == Access::kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE;
    const int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void* memory = mmap(nullptr, bytes, protection, flags, fd, 0);
    if (memory == MAP_FAILED)
        return fail(
            std::string("map table '") + table + "' (" + std::to_string(bytes) + " bytes): " + std::strerror(errno),
            errno);
    return memory;
}

// The header of pinned tables, copied out of a mapping of its own.
Result<fl_meta> read_meta(const fs::path& folder) {
    const auto path = pin_path(folder, FL_TABLE_meta);
    auto fd = open_pin(path);
    if (!fd) return tl::unexpected(fd.error());
    auto info = map_info(fd->get());
    if (!info) return tl::unexpected(info.error());
    fl_meta meta{};
    if (info->type != BPF_MAP_TYPE_ARRAY || info->value_size < offsetof(fl_meta, limits))
        return fail(path.string() + " is not a table of Fairlead's", EPROTO);
    const std::size_t length = std::min<std::size_t>(info->value_size, sizeof(meta));
    const auto mapped = mapped_bytes({"meta", info->value_size, 1});
    auto memory = map_memory(fd->get(), mapped, Access::kReadOnly, "meta");
    if (!memory) return tl::unexpected(memory.error());
    meta.magic = __atomic_load_n(&static_cast<const fl_meta*>(*memory)->magic, __ATOMIC_ACQUIRE);
    const auto magic = meta.magic;
    std::memcpy(&meta, *memory, length);
    meta.magic = magic;
    munmap(*memory, mapped);
    return meta;
}

Result<FolderState> folder_state(const fs::path& folder) {
    std::error_code error;
    bool any = false;
    for (std::size_t t = 0; t < FL_TABLE_COUNT; ++t) any = any || fs::exists(pin_path(folder, t), error);
    if (!any) return FolderState::kEmpty;
    if (!fs::exists(pin_path(folder, FL_TABLE_meta), error)) return FolderState::kHalfMade;
    auto meta = read_meta(folder);
    if (!meta) return tl::unexpected(meta.error());
    return meta->magic == FL_MAGIC ? FolderState::kFinished : FolderState::kHalfMade;
}

std::string remedy(const fs::path& folder) {
    return "; run 'lbctl detach --all' with the version that made them, or remove " + folder.string() +
           ", and start lbd again";
}

Result<void> check_meta(const fs::path& folder, const fl_meta& meta, std::uint32_t oldest_layout) {
    const auto where = "the tables in " + folder.string();
    if (meta.magic != FL_MAGIC) return fail(where + " are half made: start lbd, which makes them anew", EUCLEAN);
    if (meta.abi < oldest_layout || meta.abi > FL_ABI || meta.size != sizeof(fl_meta))
        return fail(where + " have layout " + std::to_string(meta.abi) + ", this program knows layout " +
                        std::to_string(FL_ABI) + remedy(folder),
                    EPROTO);
    if (auto sound = check_limits(meta.limits); !sound)
        return fail(where + ": " + sound.error().message + remedy(folder), EPROTO);
    return {};
}

// What a layout did not have yet cannot be carried over from it, and need not be.
bool may_lack(const fl_meta& meta, std::size_t table) { return table == FL_TABLE_dirty && meta.abi < FL_ABI_DIRTY; }

std::uint64_t realtime_ns() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::uint64_t monotonic_ns() {
    return static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

std::string pin_name(const std::string& name) {
    std::string pinned = name;
    std::replace(pinned.begin(), pinned.end(), '.', ':');
    return pinned;
}

fs::path exceptions_path(const fs::path& folder, const std::string& ifname) {
    return folder / "exceptions" / pin_name(ifname);
}

struct Tables::State {
    fl_memory memory{};
    std::array<std::size_t, FL_TABLE_COUNT> lengths{};
    std::array<Descriptor, FL_TABLE_COUNT> descriptors;
    Access access = Access::kReadWrite;
    bool pinned = false;

    ~State() {
        for (std::size_t t = 0; t < FL_TABLE_COUNT; ++t)
            if (memory.base[t]) munmap(memory.base[t], lengths[t]);
    }

    // Maps table `t` from its descriptor, or anonymously where there is none.
    Result<void> map(std::size_t t, const TableShape& shape) {
        auto at = map_memory(descriptors[t].get(), mapped_bytes(shape), access, shape.name);
        if (!at) return tl::unexpected(at.error());
        memory.base[t] = *at;
        memory.count[t] = static_cast<__u32>(shape.count);
        lengths[t] = mapped_bytes(shape);
        return {};
    }

    // The mark of finished tables comes last.
    void write_header() {
        auto& meta = *static_cast<fl_meta*>(memory.base[FL_TABLE_meta]);
        meta.abi = FL_ABI;
        meta.size = sizeof(fl_meta);
        meta.limits = memory.limits;
        meta.created_realtime_ns = realtime_ns();
        __atomic_store_n(&meta.magic, FL_MAGIC, __ATOMIC_RELEASE);
    }
};

Tables::Tables(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tables::Tables(Tables&&) noexcept = default;
Tables& Tables::operator=(Tables&&) noexcept = default;
Tables::~Tables() = default;

Result<void> ensure_bpffs(const fs::path& folder) {
    static const fs::path kStandard = "/sys/fs/bpf";
    const auto relative = folder.lexically_normal().lexically_relative(kStandard);
    const bool below_standard = !relative.empty() && *relative.begin() != "..";
    if (below_standard && !is_bpffs(kStandard)) {
        if (mount("bpf", kStandard.c_str(), "bpf", 0, "mode=0755"))
            return fail("mount a BPF file system on " + kStandard.string() + ": " + std::strerror(errno) +
                            "; as root: mount -t bpf bpf " + kStandard.string(),
                        errno);
    }
    if (!is_bpffs(nearest_existing(folder)))
        return fail(folder.string() +
                        " is not in a BPF file system; use a folder below /sys/fs/bpf, or mount one: "
                        "mount -t bpf bpf FOLDER",
                    EINVAL);
    return make_folders(folder);
}

Result<Tables> Tables::create_anonymous(const fl_limits& limits) {
    if (auto sound = check_limits(limits); !sound) return tl::unexpected(sound.error());
    auto state = std::make_unique<State>();
    state->memory.limits = limits;
    const auto shapes = shapes_for(limits);
    for (std::size_t t = 0; t < FL_TABLE_COUNT; ++t)
        if (auto mapped = state->map(t, shapes[t]); !mapped) return tl::unexpected(mapped.error());
    state->write_header();
    return Tables(std::move(state));
}

namespace {
Result<Descriptor> create_map(const TableShape& shape) {
    DECLARE_LIBBPF_OPTS(bpf_map_create_opts, options);
    options.map_flags = BPF_F_MMAPABLE;
    const auto name = ("fl_" + std::string(shape.name)).substr(0, BPF_OBJ_NAME_LEN - 1);
    const int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name.c_str(), sizeof(__u32), static_cast<__u32>(shape.element),
                                  static_cast<__u32>(shape.count), &options);
    if (fd >= 0) return Descriptor(fd);
    const int error = errno;
    std::string text = std::string("create table '") + shape.name + "' of " + std::to_string(shape.count) +
                       " entries, " + std::to_string(shape.element * shape.count) + " bytes: " + std::strerror(error);
    text += capability_hint(error);
    if (error == ENOMEM || error == E2BIG) text += " (lower [limits] in the config)";
    return fail(text, error);
}
}  // namespace

Result<Tables> Tables::create_pinned(const fs::path& folder, const fl_limits& limits) {
    if (auto sound = check_limits(limits); !sound) return tl::unexpected(sound.error());
    if (auto ready = ensure_bpffs(folder); !ready) return tl::unexpected(ready.error());
    auto found = folder_state(folder);
    if (!found) return tl::unexpected(found.error());
    if (*found == FolderState::kFinished) return fail(folder.string() + " holds tables already", EEXIST);
    if (*found == FolderState::kHalfMade) {
        if (auto cleared = remove_pinned(folder); !cleared) return tl::unexpected(cleared.error());
        if (auto ready = make_folders(folder); !ready) return tl::unexpected(ready.error());
    }
    auto state = std::make_unique<State>();
    state->pinned = true;
    state->memory.limits = limits;
    const auto shapes = shapes_for(limits);
    for (std::size_t t = 0; t < FL_TABLE_COUNT; ++t) {  // all of them, before the first pin: a limit leaves no trace
        auto fd = create_map(shapes[t]);
        if (!fd) return tl::unexpected(fd.error());
        state->descriptors[t] = std::move(*fd);
        if (auto mapped = state->map(t, shapes[t]); !mapped) return tl::unexpected(mapped.error());
    }
    for (std::size_t t = 0; t < FL_TABLE_COUNT; ++t) {
        const auto path = pin_path(folder, t);
        if (bpf_obj_pin(state->descriptors[t].get(), path.c_str()))
            return fail("pin " + path.string() + ": " + std::strerror(errno) + capability_hint(errno), errno);
    }
    state->write_header();
    return Tables(std::move(state));
}

Result<Tables> Tables::open_pinned(const fs::path& folder, Access access) { return open(folder, access, FL_ABI); }

Result<Tables> Tables::open_to_carry(const fs::path& folder) { return open(folder, Access::kReadOnly, FL_ABI_CARRIED); }

Result<Tables> Tables::open(const fs::path& folder, Access access, std::uint32_t oldest_layout) {
    std::error_code ignored;
    auto found = folder_state(folder);
    if (!found) return tl::unexpected(found.error());
    if (*found == FolderState::kEmpty)
        return fail("no tables in " + folder.string() + ": lbd has not run for this instance", ENOENT);
    if (*found == FolderState::kHalfMade)
        return fail("the tables in " + folder.string() + " are half made: start lbd, which makes them anew", EUCLEAN);
    auto meta = read_meta(folder);
    if (!meta) return tl::unexpected(meta.error());
    if (auto sound = check_meta(folder, *meta, oldest_layout); !sound) return tl::unexpected(sound.error());
    auto state = std::make_unique<State>();
    state->pinned = true;
    state->access = access;
    state->memory.limits = meta->limits;
    const auto shapes = shapes_for(meta->limits);
    for (std::size_t t = 0; t < FL_TABLE_COUNT; ++t) {
        auto fd = open_pin(pin_path(folder, t));
        if (!fd && fd.error().code == ENOENT && may_lack(*meta, t)) continue;
        if (!fd) return tl::unexpected(fd.error());
        auto info = map_info(fd->get());
        if (!info) return tl::unexpected(info.error());
        if (info->type != BPF_MAP_TYPE_ARRAY || info->value_size != shapes[t].element ||
            info->max_entries != shapes[t].count || !(info->map_flags & BPF_F_MMAPABLE))
            return fail(pin_path(folder, t).string() + " has not the size that its header says" + remedy(folder),
                        EPROTO);
        state->descriptors[t] = std::move(*fd);
        if (auto mapped = state->map(t, shapes[t]); !mapped) return tl::unexpected(mapped.error());
    }
    return Tables(std::move(state));
}

// The header last: what is left by a death half way is half made, and the folder whole or half gone with it.
Result<void> Tables::set_aside(const fs::path& folder) {
    const auto to = aside(folder);
    if (auto removed = remove_pinned(to); !removed) return removed;
    if (auto made = make_folders(to); !made) return made;
    const auto meta = read_meta(folder);
    if (!meta) return tl::unexpected(meta.error());
    for (std::size_t t = FL_TABLE_COUNT; t-- > 0;)
        if (rename(pin_path(folder, t).c_str(), pin_path(to, t).c_str()) && !(errno == ENOENT && may_lack(*meta, t)))
            return fail_errno("move " + pin_path(folder, t).string() + " to " + to.string(), errno);
    return {};
}

Result<void> Tables::remove_pinned(const fs::path& folder) {
    // The header first: what is left by a death half way is half made.
    for (std::size_t t = 0; t < FL_TABLE_COUNT; ++t) {
        const auto path = pin_path(folder, t);
        if (unlink(path.c_str()) && errno != ENOENT) return fail_errno("unpin " + path.string(), errno);
    }
    if (rmdir(folder.c_str()) && errno != ENOENT && errno != ENOTEMPTY)
        return fail_errno("remove folder " + folder.string(), errno);
    return {};
}

const fl_limits& Tables::limits() const { return state_->memory.limits; }
const fl_memory& Tables::memory() const { return state_->memory; }
int Tables::fd(fl_table table) const { return state_->descriptors[table].get(); }
bool Tables::is_pinned() const { return state_->pinned; }
Access Tables::access() const { return state_->access; }
std::string_view Tables::name_of(fl_table table) { return kTableNames[table]; }

fl_engine Tables::engine() const {
    fl_engine engine{};
    engine.memory = &state_->memory;
    return engine;
}

std::size_t Tables::bytes() const {
    std::size_t total = 0;
    for (const auto length : state_->lengths) total += length;
    return total;
}

}  // namespace fairlead::tables
