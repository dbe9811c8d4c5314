// SPDX-License-Identifier: Apache-2.0
// What the kernel makes of the programs: which functions they call, and at what cost for whom.
#include "xdp/program.h"

#include <bpf/bpf.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "tests/bpf/sandbox.h"

namespace fairlead::xdp {
namespace {

using test::Sandbox;

class XdpProgram : public testing::TestWithParam<ProgramKind> {
  protected:
    void SetUp() override { FAIRLEAD_NEEDS_ROOT(); }
};

std::vector<bpf_insn> instructions(const Program& program) {
    std::vector<bpf_insn> all(program.info().xlated_bytes / sizeof(bpf_insn));
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    info.xlated_prog_len = program.info().xlated_bytes;
    info.xlated_prog_insns = reinterpret_cast<std::uintptr_t>(all.data());
    EXPECT_EQ(bpf_obj_get_info_by_fd(program.fd(), &info, &size), 0);
    return all;
}

// The kernel's functions by address; empty where it does not show them.
std::multimap<std::uint64_t, std::string> kernel_symbols() {
    std::multimap<std::uint64_t, std::string> symbols;
    std::ifstream file("/proc/kallsyms");
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields(line);
        std::string type, name;
        std::uint64_t address = 0;
        if (fields >> std::hex >> address >> type >> name && address) symbols.emplace(address, name);
    }
    return symbols;
}

struct Call {
    std::uint8_t kind;  // 0 a helper, BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL
    std::int32_t target;
};

std::vector<Call> calls(const Program& program) {
    std::vector<Call> found;
    for (const bpf_insn& instruction : instructions(program))
        if (instruction.code == (BPF_JMP | BPF_CALL)) found.push_back({instruction.src_reg, instruction.imm});
    return found;
}

// Once verified, a helper is called by its address less that of __bpf_call_base.
std::set<std::string> called_functions(const Program& program) {
    const auto symbols = kernel_symbols();
    std::uint64_t base = 0;
    for (const auto& [address, name] : symbols)
        if (name == "__bpf_call_base") base = address;
    std::set<std::string> names;
    if (!base) return names;
    for (const Call& call : calls(program)) {
        if (call.kind == BPF_PSEUDO_CALL) continue;  // a function of the program's own
        const auto range = symbols.equal_range(base + static_cast<std::uint64_t>(std::int64_t{call.target}));
        std::string name = "unknown function";
        for (auto each = range.first; each != range.second; ++each)
            if (name == "unknown function" || each->second.starts_with("bpf_")) name = each->second;
        names.insert(name);
    }
    return names;
}

// A look-up in an array map is inlined; what is left to call must stay this short.
TEST_P(XdpProgram, CallsOnlyWhatItMay) {
    const std::set<std::string> allowed = {
        "bpf_xdp_adjust_head",      "bpf_xdp_adjust_tail",
        "bpf_xdp_redirect_map",     "dev_map_redirect",  // the same one; newer kernels call the map's own function
        "bpf_ktime_get_ns",         "bpf_ktime_get_coarse_ns",
        "bpf_get_smp_processor_id",  // inlined from kernel 6.10 on
    };
    Sandbox sandbox;
    const auto tables = sandbox.make_tables();
    const auto program = Program::load(tables, GetParam(), 1);
    ASSERT_TRUE(program.has_value()) << program.error().message;
    const auto called = called_functions(*program);
    if (called.empty()) GTEST_SKIP() << "this kernel does not show its symbols";
    for (const std::string& name : called) EXPECT_TRUE(allowed.contains(name)) << name;
    EXPECT_TRUE(called.contains("bpf_xdp_adjust_head")) << "the calls were not found at all";
}

TEST_P(XdpProgram, CallsNoKernelFunctionByBtf) {
    Sandbox sandbox;
    const auto tables = sandbox.make_tables();
    const auto program = Program::load(tables, GetParam(), 1);
    ASSERT_TRUE(program.has_value()) << program.error().message;
    for (const Call& call : calls(*program)) EXPECT_NE(call.kind, BPF_PSEUDO_KFUNC_CALL);
}

// --- as whom ---

bool become(std::initializer_list<int> capabilities) {
    constexpr uid_t kNobody = 65534;
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || ::setgroups(0, nullptr) || ::setresgid(kNobody, kNobody, kNobody) ||
        ::setresuid(kNobody, kNobody, kNobody))
        return false;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    for (const int capability : capabilities) {
        data[capability / 32].effective |= 1U << (capability % 32);
        data[capability / 32].permitted |= 1U << (capability % 32);
    }
    return ::syscall(SYS_capset, &header, data) == 0;
}

struct Size {
    std::uint32_t xlated = 0;
    std::uint32_t jited = 0;
    auto operator<=>(const Size&) const = default;
};

// The size of the program when it is loaded by a user with these capabilities; no value: refused.
std::optional<Size> size_for(const tables::Tables& tables, ProgramKind kind, std::initializer_list<int> capabilities) {
    int pipe_ends[2];
    EXPECT_EQ(::pipe(pipe_ends), 0);
    const UniqueFd reader(pipe_ends[0]);
    const UniqueFd writer(pipe_ends[1]);
    const int result = test::in_child([&] {
        if (!become(capabilities)) return 2;
        const auto program = Program::load(tables, kind, 1);
        if (!program) return 1;
        const Size size{program->info().xlated_bytes, program->info().jited_bytes};
        return ::write(writer.get(), &size, sizeof(size)) == sizeof(size) ? 0 : 2;
    });
    EXPECT_TRUE(result == 0 || result == 1) << result;
    Size size;
    if (result != 0) return {};
    EXPECT_EQ(::read(reader.get(), &size, sizeof(size)), static_cast<ssize_t>(sizeof(size)));
    return size;
}

// Without CAP_PERFMON the verifier puts guards against speculation around every table access.
TEST_P(XdpProgram, CostsTheServiceUserWhatItCostsRoot) {
    Sandbox sandbox;
    const auto tables = sandbox.make_tables();
    const auto program = Program::load(tables, GetParam(), 1);
    ASSERT_TRUE(program.has_value()) << program.error().message;
    const Size as_root{program->info().xlated_bytes, program->info().jited_bytes};
    const auto as_service =
        size_for(tables, GetParam(), {CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_SYS_NICE, CAP_IPC_LOCK});
    ASSERT_TRUE(as_service.has_value()) << "the capabilities of the unit file do not suffice";
    EXPECT_EQ(as_service->xlated, as_root.xlated);
    EXPECT_EQ(as_service->jited, as_root.jited);

    const auto without =
        size_for(tables, GetParam(), {CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_SYS_NICE, CAP_IPC_LOCK});
    EXPECT_TRUE(!without || without->jited > as_root.jited) << "the control is void: " << without->jited;
    RecordProperty("jited_bytes", static_cast<int>(as_root.jited));
    RecordProperty("jited_bytes_without_perfmon", without ? static_cast<int>(without->jited) : -1);
    RecordProperty("verified_insns", static_cast<int>(program->info().verified_insns));
}

TEST_P(XdpProgram, RefusalSaysWhatIsNeeded) {
    Sandbox sandbox;
    const auto tables = sandbox.make_tables();
    const int result = test::in_child([&] {
        if (!become({CAP_NET_RAW})) return 2;
        const auto program = Program::load(tables, GetParam(), 1);
        return !program && program.error().message.find("CAP_PERFMON") != std::string::npos ? 0 : 1;
    });
    EXPECT_EQ(result, 0);
}

TEST_P(XdpProgram, RunsOnAFrame) {
    Sandbox sandbox;
    const auto tables = sandbox.make_tables();
    const auto program = Program::load(tables, GetParam(), 1);
    ASSERT_TRUE(program.has_value()) << program.error().message;
    std::vector<std::uint8_t> frame(64, 0x5a);
    const auto ran = test_run(program->fd(), frame);
    ASSERT_TRUE(ran.has_value()) << ran.error().message;
    EXPECT_EQ(ran->verdict, static_cast<std::uint32_t>(XDP_PASS));
    EXPECT_EQ(ran->frame, frame);
}

INSTANTIATE_TEST_SUITE_P(Kinds, XdpProgram, testing::Values(ProgramKind::kSteer, ProgramKind::kDecap),
                         [](const auto& info) { return info.param == ProgramKind::kSteer ? "Steer" : "Decap"; });

}  // namespace
}  // namespace fairlead::xdp
