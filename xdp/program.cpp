// SPDX-License-Identifier: Apache-2.0
#include "xdp/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <cerrno>
#include <memory>

#include "decap.skel.h"
#include "steer.skel.h"
#include "xdp/libbpf_log.h"

namespace fairlead::xdp {
namespace {

constexpr int kVerifierLines = 25;        // of the verifier's log in an error message
constexpr std::size_t kTestGrowth = 256;  // bytes by which a program may lengthen a test frame

struct Constants {
    std::uint32_t port;
    std::uint32_t counter_stride;
    std::uint32_t counter_backend;
};

// What a program is loaded over, and how.
struct Setting {
    const tables::Tables& tables;
    Constants constants;
    const ProgramOptions& options;
};

// The two skeletons are types of their own, without a common one.
template <typename Skeleton>
void set_constants(Skeleton& skeleton, const Setting& setting) {
    skeleton.rodata->fl_config_port = setting.constants.port;
    skeleton.rodata->fl_config_counter_stride = setting.constants.counter_stride;
    skeleton.rodata->fl_config_counter_backend = setting.constants.counter_backend;
    skeleton.rodata->fl_config_frames = setting.options.frames == Frames::kWhole;
    skeleton.rodata->fl_config_exceptions = setting.options.exceptions >= 0;
}

Result<void> reuse_map(bpf_object* object, const std::string& name, int fd) {
    bpf_map* map = bpf_object__find_map_by_name(object, name.c_str());
    if (!map) return fail("the program object has no map " + name, ENOENT);
    if (int error = bpf_map__reuse_fd(map, fd)) return fail_errno("use the pinned table for " + name, -error);
    return {};
}

Result<void> reuse_maps(bpf_object* object, const tables::Tables& tables, const ProgramOptions& options) {
    for (int index = 0; index < FL_TABLE_COUNT; ++index) {
        const auto table = static_cast<fl_table>(index);
        const int fd = tables.fd(table);
        if (fd < 0) return fail("an XDP program needs pinned tables", EINVAL);
        auto done = reuse_map(object, "fl_" + std::string(tables::Tables::name_of(table)), fd);
        if (!done) return done;
    }
    if (options.devices >= 0)
        if (auto done = reuse_map(object, "fl_devices", options.devices); !done) return done;
    if (options.exceptions >= 0) return reuse_map(object, "fl_exceptions", options.exceptions);
    return {};
}

Result<UniqueFd> load_object(bpf_object* object, bpf_program* program, const Setting& setting) {
    auto reused = reuse_maps(object, setting.tables, setting.options);
    if (!reused) return tl::unexpected(reused.error());
    const auto flags = bpf_program__flags(program) & ~std::uint32_t{BPF_F_XDP_HAS_FRAGS};
    bpf_program__set_flags(program, flags | (setting.options.frames == Frames::kWhole ? BPF_F_XDP_HAS_FRAGS : 0));
    LibbpfLog log;
    if (int error = bpf_object__load(object)) {
        auto failure = fail_errno("load the XDP program", -error);
        if (error == -EPERM) failure.value().message += " (needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)";
        failure.value().message += "\n" + log.tail(kVerifierLines);
        return failure;
    }
    UniqueFd fd(::fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 3));
    if (!fd) return fail_errno("duplicate the program's descriptor", errno);
    return fd;
}

Result<UniqueFd> load_steer(const Setting& setting) {
    const std::unique_ptr<fl_steer, decltype(&fl_steer__destroy)> skeleton(fl_steer__open(), fl_steer__destroy);
    if (!skeleton) return fail_errno("open the steering program", errno);
    set_constants(*skeleton, setting);
    skeleton->rodata->fl_config_feed = setting.options.steering == Steering::kByDpdk;
    return load_object(skeleton->obj, skeleton->progs.fl_steer_xdp, setting);
}

Result<UniqueFd> load_decap(const Setting& setting) {
    const std::unique_ptr<fl_decap, decltype(&fl_decap__destroy)> skeleton(fl_decap__open(), fl_decap__destroy);
    if (!skeleton) return fail_errno("open the decapsulation program", errno);
    set_constants(*skeleton, setting);
    return load_object(skeleton->obj, skeleton->progs.fl_decap_xdp, setting);
}

}  // namespace

Result<ProgramInfo> program_info(int program_fd) {
    bpf_prog_info raw{};
    std::uint32_t size = sizeof(raw);
    if (int error = bpf_obj_get_info_by_fd(program_fd, &raw, &size)) return fail_errno("ask about a program", -error);
    return ProgramInfo{raw.id, raw.name, raw.verified_insns, raw.xlated_prog_len, raw.jited_prog_len, raw.load_time};
}

Result<ProgramInfo> program_info_by_id(std::uint32_t id) {
    const UniqueFd fd(bpf_prog_get_fd_by_id(id));
    if (!fd) return fail_errno("open program " + std::to_string(id), errno);
    return program_info(fd.get());
}

Result<Program> Program::load(const tables::Tables& tables, ProgramKind kind, std::uint32_t port,
                              const ProgramOptions& options) {
    const fl_limits& limits = tables.limits();
    const Setting setting{tables,
                          {port, static_cast<std::uint32_t>(FL_COUNTER_STRIDE(&limits)),
                           static_cast<std::uint32_t>(FL_COUNTER_BACKEND(&limits, 0))},
                          options};
    auto fd = kind == ProgramKind::kSteer ? load_steer(setting) : load_decap(setting);
    if (!fd) return tl::unexpected(fd.error());
    auto info = program_info(fd->get());
    if (!info) return tl::unexpected(info.error());
    return Program(std::move(*fd), std::move(*info));
}

Result<TestRun> test_run(int program_fd, std::span<const std::uint8_t> frame) {
    TestRun result;
    result.frame.resize(frame.size() + kTestGrowth);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.data_out = result.frame.data();
    options.data_size_out = static_cast<std::uint32_t>(result.frame.size());
    options.repeat = 1;
    if (int error = bpf_prog_test_run_opts(program_fd, &options)) return fail_errno("run a program on a frame", -error);
    result.verdict = options.retval;
    result.frame.resize(options.data_size_out);
    return result;
}

}  // namespace fairlead::xdp
