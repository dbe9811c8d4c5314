// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/sandbox.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "dataplane/tables/limits.h"
#include "xdp/loader.h"

namespace fairlead::test {

void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

Sandbox::Sandbox() : home_(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
    static int count = 0;
    folder_ = "/sys/fs/bpf/fairlead-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
    run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    run("ip link set lo up");
    make_veths();
    const auto ready = tables::ensure_bpffs(folder_);
    EXPECT_TRUE(ready.has_value()) << ready.error().message;
}

Sandbox::~Sandbox() {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.parent_path())) {
        const auto path = entry.path();
        if (!path.string().starts_with(folder_.string())) continue;
        std::error_code ignored;
        for (const auto& inner : std::filesystem::directory_iterator(path, ignored))
            if (inner.path().filename().string().starts_with("decap-")) {
                xdp::detach_all(inner.path(), xdp::TablesAfter::kRemove);
            }
        xdp::detach_all(path, xdp::TablesAfter::kRemove);
        ::rmdir(path.c_str());
        EXPECT_FALSE(std::filesystem::exists(path)) << "something stays pinned in it";
    }
    EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);  // and the namespace goes, with all that is in it
}

void Sandbox::make_veths(const std::string& left, const std::string& right) {
    run("ip link add " + left + " type veth peer name " + right);
    run("ip link set " + left + " up && ip link set " + right + " up");
}

tables::Tables Sandbox::make_tables() const {
    auto made = tables::Tables::create_pinned(folder_, small_limits());
    if (!made) {
        ADD_FAILURE() << made.error().message;
        std::abort();
    }
    return std::move(*made);
}

int in_child(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(body());
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

UniqueFd packet_socket(const std::string& ifname) {
    UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = static_cast<int>(::if_nametoindex(ifname.c_str()));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return fd;
}

std::uint32_t program_on(const std::string& ifname) {
    __u32 id = 0;
    EXPECT_EQ(bpf_xdp_query_id(static_cast<int>(::if_nametoindex(ifname.c_str())), 0, &id), 0);
    return id;
}

UniqueFd load_stranger(const char* name) {
    const bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
    };
    UniqueFd fd(bpf_prog_load(BPF_PROG_TYPE_XDP, name, "GPL", program, 2, nullptr));
    EXPECT_TRUE(fd);
    return fd;
}

}  // namespace fairlead::test
