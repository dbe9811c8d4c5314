// SPDX-License-Identifier: Apache-2.0
// Attaching, adopting and detaching on a veth of this test's own.
#include "xdp/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "dataplane/tables/counters.h"
#include "tests/bpf/sandbox.h"
#include "xdp/offloads.h"

namespace fairlead::xdp {
namespace {

using test::program_on;
using test::run;
using test::Sandbox;
namespace fs = std::filesystem;

constexpr const char* kLeft = "left";

class Loader : public testing::Test {
  protected:
    void SetUp() override { FAIRLEAD_NEEDS_ROOT(); }

    // The attachment, or a failed test.
    static Attachment attach_or_fail(tables::Tables& tables, const Sandbox& sandbox, Mode mode = Mode::kAuto,
                                     const std::string& ifname = kLeft) {
        auto attached = attach(tables, sandbox.folder(), {.number = 1, .ifname = ifname}, mode);
        EXPECT_TRUE(attached.has_value()) << attached.error().message;
        return attached.value_or(Attachment{});
    }

    // What a port's number leads to; 0: nothing.
    static std::uint32_t device(const Sandbox& sandbox, const char* pinned, __u32 number) {
        const UniqueFd devices(bpf_obj_get((sandbox.folder() / pinned).c_str()));
        EXPECT_TRUE(devices) << pinned;
        __u32 ifindex = 0;
        return bpf_map_lookup_elem(devices.get(), &number, &ifindex) == 0 ? ifindex : 0;
    }

    // A veth's driver refuses native XDP where the peer sends by more queues than the interface receives by.
    static void make_native_impossible() { run("ethtool -L right tx 2 2>/dev/null || ethtool -L right rx 1 tx 2"); }

    static std::uint32_t features(const std::string& ifname = kLeft) { return read_features(ifname).value(); }
};

TEST_F(Loader, AttachesInTheDriverAndSaysWhatItDid) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const Attachment attached = attach_or_fail(tables, sandbox);

    EXPECT_EQ(attached.mode, FL_ENGINE_XDP_NATIVE);
    EXPECT_EQ(attached.reason, "");
    EXPECT_FALSE(attached.adopted);
    EXPECT_GT(attached.program.verified_insns, 0U);
    EXPECT_GT(attached.program.xlated_bytes, 0U);
    EXPECT_GT(attached.program.jited_bytes, 0U);
    EXPECT_EQ(attached.program.id, program_on(kLeft));
    EXPECT_TRUE(attached.warnings.empty()) << attached.warnings.front();

    const fl_port& port = tables.ports()[1];
    EXPECT_STREQ(port.name, kLeft);
    EXPECT_EQ(port.ifindex, ::if_nametoindex(kLeft));
    EXPECT_EQ(port.mode, static_cast<std::uint32_t>(FL_ENGINE_XDP_NATIVE));
    EXPECT_EQ(tables.meta().engine, static_cast<std::uint32_t>(FL_ENGINE_XDP_NATIVE));

    const auto listed = list(sandbox.folder());
    ASSERT_TRUE(listed.has_value()) << listed.error().message;
    ASSERT_EQ(listed->size(), 1U);
    EXPECT_EQ(listed->front().ifname, kLeft);
    EXPECT_EQ(listed->front().ifindex, port.ifindex);
    EXPECT_EQ(listed->front().mode, FL_ENGINE_XDP_NATIVE);
    EXPECT_EQ(listed->front().link_id, attached.link_id);
    EXPECT_EQ(listed->front().program.id, attached.program.id);
    const auto age = std::chrono::system_clock::now() - listed->front().since;
    EXPECT_LT(age, std::chrono::hours(1));
    EXPECT_GT(age, -std::chrono::hours(1));
}

TEST_F(Loader, PinsTheDeviceOfEachPort) {
    Sandbox sandbox;
    sandbox.make_veths("third", "fourth");
    auto tables = sandbox.make_tables();
    attach_or_fail(tables, sandbox);
    const auto second = attach(tables, sandbox.folder(), {.number = 2, .ifname = "third"}, Mode::kAuto);
    ASSERT_TRUE(second.has_value()) << second.error().message;

    for (const char* pinned : {"devices", "devices-whole"})
        for (const auto& [number, ifname] : {std::pair<__u32, const char*>{1, kLeft}, {2, "third"}})
            EXPECT_EQ(device(sandbox, pinned, number), ::if_nametoindex(ifname));
    ASSERT_TRUE(detach(sandbox.folder(), kLeft).has_value());
    for (const char* pinned : {"devices", "devices-whole"}) EXPECT_EQ(device(sandbox, pinned, 1), 0U);
    EXPECT_EQ(tables.meta().engine, static_cast<std::uint32_t>(FL_ENGINE_XDP_NATIVE)) << "port 2 is still attached";
}

TEST_F(Loader, SwitchesVlanStrippingOffAndDetachRestoresIt) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    ASSERT_TRUE(features() & FL_FEATURE_RXVLAN) << "a veth has it on from the start";
    const Attachment attached = attach_or_fail(tables, sandbox);
    EXPECT_FALSE(features() & FL_FEATURE_RXVLAN);
    EXPECT_EQ(attached.saved_features, FL_FEATURE_RXVLAN);
    EXPECT_EQ(tables.ports()[1].saved_features, FL_FEATURE_RXVLAN);

    // Adoption must not take what Fairlead switched off for how the operator wants it.
    EXPECT_EQ(attach_or_fail(tables, sandbox).saved_features, FL_FEATURE_RXVLAN);
    const auto detached = detach(sandbox.folder(), kLeft);
    ASSERT_TRUE(detached.has_value()) << detached.error().message;
    EXPECT_EQ(detached->restored_features, FL_FEATURE_RXVLAN);
    EXPECT_EQ(detached->warning, "");
    EXPECT_TRUE(features() & FL_FEATURE_RXVLAN);
    EXPECT_EQ(program_on(kLeft), 0U);
    EXPECT_EQ(tables.ports()[1].saved_features, 0U);
    EXPECT_EQ(tables.meta().engine, static_cast<std::uint32_t>(FL_ENGINE_NONE));
}

TEST_F(Loader, LeavesOffWhatTheOperatorHadOff) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    run("ethtool -K left rxvlan off");
    EXPECT_EQ(attach_or_fail(tables, sandbox).saved_features, 0U);
    ASSERT_TRUE(detach(sandbox.folder(), kLeft).has_value());
    EXPECT_FALSE(features() & FL_FEATURE_RXVLAN);
}

TEST_F(Loader, FallsBackToGenericWithTheKernelsReason) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    make_native_impossible();
    run("ethtool -K left gro on");
    const Attachment attached = attach_or_fail(tables, sandbox);
    EXPECT_EQ(attached.mode, FL_ENGINE_XDP_GENERIC);
    EXPECT_NE(attached.reason.find("queues"), std::string::npos) << attached.reason;
    EXPECT_EQ(list(sandbox.folder())->front().mode, FL_ENGINE_XDP_GENERIC);
    EXPECT_EQ(tables.ports()[1].mode, static_cast<std::uint32_t>(FL_ENGINE_XDP_GENERIC));
    EXPECT_EQ(attached.frames, Frames::kLinear) << "the stack makes one piece of them";
    EXPECT_EQ(tables.ports()[1].flags, 0U);
    EXPECT_FALSE(features() & (FL_FEATURE_GRO | FL_FEATURE_RXVLAN));

    ASSERT_TRUE(detach(sandbox.folder(), kLeft).has_value());
    EXPECT_EQ(features() & (FL_FEATURE_GRO | FL_FEATURE_RXVLAN), FL_FEATURE_GRO | FL_FEATURE_RXVLAN);
}

TEST_F(Loader, TakesFramesOfSeveralBuffersWhereTheDriverDoes) {
    Sandbox sandbox;
    sandbox.make_veths("third", "fourth");
    auto tables = sandbox.make_tables();
    run("ip link set right mtu 9000 && ip link set left mtu 9000");  // more than one buffer of a veth's holds
    const Attachment attached = attach_or_fail(tables, sandbox);
    EXPECT_EQ(attached.mode, FL_ENGINE_XDP_NATIVE) << attached.reason;
    EXPECT_EQ(attached.frames, Frames::kWhole);
    EXPECT_EQ(tables.ports()[1].flags, FL_PORT_FRAMES);
    EXPECT_EQ(tables.ports()[1].way, FL_PORT_WAY_AS_IT_CAME) << "nobody said another";
    // Beside it one that takes none: a map of devices serves one of the two kinds only.
    const auto second = attach(tables, sandbox.folder(), {.number = 2, .ifname = "third"}, Mode::kGeneric);
    ASSERT_TRUE(second.has_value()) << second.error().message;
    EXPECT_EQ(second->frames, Frames::kLinear);
    EXPECT_EQ(tables.ports()[2].flags, 0U);
    EXPECT_EQ(attach_or_fail(tables, sandbox).frames, Frames::kWhole) << "replaced under its link";
    ASSERT_TRUE(detach(sandbox.folder(), kLeft).has_value());
    EXPECT_EQ(tables.ports()[1].flags, 0U);
}

TEST_F(Loader, KeepsTheWayThatAPortHas) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    tables.ports()[1].way = FL_PORT_WAY(0, 0, 7, FL_VLAN_NONE);
    attach_or_fail(tables, sandbox);
    EXPECT_EQ(tables.ports()[1].way, FL_PORT_WAY(0, 0, 7, FL_VLAN_NONE));
}

TEST_F(Loader, NativeOnlyFailsAndLeavesTheInterfaceAsItWas) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    make_native_impossible();
    const std::uint32_t before = features();
    const auto refused = attach(tables, sandbox.folder(), {.number = 1, .ifname = kLeft}, Mode::kNative);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("native XDP was refused"), std::string::npos) << refused.error().message;
    EXPECT_EQ(features(), before);
    EXPECT_EQ(program_on(kLeft), 0U);
    EXPECT_EQ(tables.ports()[1].saved_features, 0U);
    EXPECT_TRUE(list(sandbox.folder())->empty());
}

TEST_F(Loader, AdoptionKeepsTheLinkAndReplacesTheProgram) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const Attachment first = attach_or_fail(tables, sandbox);
    const Attachment second = attach_or_fail(tables, sandbox);
    EXPECT_TRUE(second.adopted);
    EXPECT_EQ(second.link_id, first.link_id);
    EXPECT_NE(second.program.id, first.program.id);
    EXPECT_EQ(program_on(kLeft), second.program.id);
    const UniqueFd pinned(bpf_obj_get((sandbox.folder() / "programs" / kLeft).c_str()));
    EXPECT_EQ(program_info(pinned.get())->id, second.program.id);
}

// Sends frames that are for no VIP, never more than a few ahead of what the program counted, so that only the program's
// absence can lose one.
TEST_F(Loader, AdoptionLosesNoPacket) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    attach_or_fail(tables, sandbox);
    const tables::CounterReader counters(tables);
    const auto counted = [&] { return counters.reason(FL_REASON_NOT_VIP).packets; };
    const UniqueFd socket = test::packet_socket("right");
    std::vector<std::uint8_t> frame(64, 0xff);
    frame[12] = 0x88;
    frame[13] = 0xb5;  // an EtherType for experiments
    std::atomic<bool> stop = false;
    std::uint64_t sent = 0;
    std::thread sender([&] {
        while (!stop) {
            if (sent - counted() < 16 && ::send(socket.get(), frame.data(), frame.size(), 0) > 0) ++sent;
        }
    });
    std::uint64_t least = 0;  // frames that met each program: the test is void if none did
    for (int round = 0; round < 8; ++round) {
        const std::uint64_t before = counted();
        EXPECT_TRUE(attach_or_fail(tables, sandbox).adopted);
        for (int wait = 0; wait < 2000 && counted() - before < 100; ++wait)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        least = round == 0 ? counted() - before : std::min(least, counted() - before);
    }
    stop = true;
    sender.join();
    for (int wait = 0; wait < 2000 && counted() < sent; ++wait)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_GE(least, 100U);
    EXPECT_EQ(counted(), sent);
}

TEST_F(Loader, AKilledLoaderLeavesItsProgramAttached) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const int died = test::in_child([&] {
        if (attach(tables, sandbox.folder(), {.number = 1, .ifname = kLeft}, Mode::kAuto)) ::raise(SIGKILL);
        return 0;
    });
    ASSERT_EQ(died, -1) << "the child should have attached and been killed";
    ASSERT_NE(program_on(kLeft), 0U);
    const auto listed = list(sandbox.folder());
    ASSERT_EQ(listed->size(), 1U);
    EXPECT_EQ(listed->front().program.id, program_on(kLeft));
    EXPECT_TRUE(attach_or_fail(tables, sandbox).adopted);
}

TEST_F(Loader, LeavesAForeignProgramAloneAndNamesIt) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const UniqueFd stranger = test::load_stranger("stranger");
    const std::uint32_t id = program_info(stranger.get())->id;
    const std::uint32_t before = features();
    ASSERT_EQ(bpf_xdp_attach(static_cast<int>(::if_nametoindex(kLeft)), stranger.get(), XDP_FLAGS_DRV_MODE, nullptr),
              0);
    for (const Mode mode : {Mode::kAuto, Mode::kNative, Mode::kGeneric}) {
        const auto refused = attach(tables, sandbox.folder(), {.number = 1, .ifname = kLeft}, mode);
        ASSERT_FALSE(refused.has_value());
        EXPECT_EQ(refused.error().code, EBUSY);
        EXPECT_NE(refused.error().message.find("stranger"), std::string::npos) << refused.error().message;
        EXPECT_NE(refused.error().message.find(std::to_string(id)), std::string::npos) << refused.error().message;
    }
    EXPECT_EQ(program_on(kLeft), id);
    EXPECT_EQ(features() & FL_FEATURE_RXVLAN, before & FL_FEATURE_RXVLAN);
}

TEST_F(Loader, AttachesAnewWhenTheInterfaceWasMadeAnew) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const Attachment first = attach_or_fail(tables, sandbox);
    run("ip link del left");
    EXPECT_EQ(list(sandbox.folder())->front().ifindex, 0U);
    sandbox.make_veths();
    const Attachment second = attach_or_fail(tables, sandbox);
    EXPECT_FALSE(second.adopted);
    EXPECT_NE(second.link_id, first.link_id);
    EXPECT_NE(second.ifindex, first.ifindex);
    EXPECT_EQ(program_on(kLeft), second.program.id);
    EXPECT_EQ(second.saved_features, FL_FEATURE_RXVLAN);
    EXPECT_EQ(device(sandbox, "devices", 1), second.ifindex);
}

TEST_F(Loader, FollowsARenamedInterface) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const Attachment first = attach_or_fail(tables, sandbox);
    run("ip link set left down && ip link set left name other && ip link set other up");
    const Attachment second = attach_or_fail(tables, sandbox, Mode::kAuto, "other");
    EXPECT_TRUE(second.adopted);
    EXPECT_EQ(second.link_id, first.link_id);
    const auto listed = list(sandbox.folder());
    ASSERT_EQ(listed->size(), 1U);
    EXPECT_EQ(listed->front().ifname, "other");
    ASSERT_TRUE(detach(sandbox.folder(), "other").has_value());
    EXPECT_TRUE(features("other") & FL_FEATURE_RXVLAN);
}

TEST_F(Loader, TakesNothingFromAnotherNetworkNamespace) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const Attachment first = attach_or_fail(tables, sandbox);
    const UniqueFd there(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    {
        Sandbox elsewhere;
        const auto refused = attach(tables, sandbox.folder(), {.number = 1, .ifname = kLeft}, Mode::kAuto);
        ASSERT_FALSE(refused.has_value());
        EXPECT_NE(refused.error().message.find("another network namespace"), std::string::npos)
            << refused.error().message;
        EXPECT_EQ(program_on(kLeft), 0U);
    }
    EXPECT_EQ(program_on(kLeft), first.program.id);
}

TEST_F(Loader, ChangesTheModeOnDemandAndKeepsTheOldOneIfRefused) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const Attachment native = attach_or_fail(tables, sandbox);
    const Attachment generic = attach_or_fail(tables, sandbox, Mode::kGeneric);
    EXPECT_EQ(generic.mode, FL_ENGINE_XDP_GENERIC);
    EXPECT_EQ(generic.reason, "") << "it was asked for";
    EXPECT_NE(generic.link_id, native.link_id);

    const Attachment kept = attach_or_fail(tables, sandbox);
    EXPECT_EQ(kept.mode, FL_ENGINE_XDP_GENERIC);
    EXPECT_TRUE(kept.adopted);
    EXPECT_NE(kept.reason, "");

    make_native_impossible();
    const auto refused = attach(tables, sandbox.folder(), {.number = 1, .ifname = kLeft}, Mode::kNative);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("it stays attached, generic"), std::string::npos) << refused.error().message;
    EXPECT_EQ(list(sandbox.folder())->front().mode, FL_ENGINE_XDP_GENERIC);
    EXPECT_NE(program_on(kLeft), 0U);
}

TEST_F(Loader, DetachAllLeavesNothing) {
    Sandbox sandbox;
    sandbox.make_veths("third.7", "fourth");  // the BPF file system takes no dots
    auto tables = sandbox.make_tables();
    attach_or_fail(tables, sandbox);
    ASSERT_TRUE(attach(tables, sandbox.folder(), {.number = 2, .ifname = "third.7"}, Mode::kAuto).has_value());
    const auto listed = list(sandbox.folder());
    ASSERT_EQ(listed->size(), 2U);
    EXPECT_EQ(listed->at(1).ifname, "third.7");

    const auto kept = detach_all(sandbox.folder(), TablesAfter::kKeep);
    ASSERT_TRUE(kept.has_value()) << kept.error().message;
    EXPECT_EQ(kept->size(), 2U);
    EXPECT_EQ(program_on(kLeft), 0U);
    EXPECT_EQ(program_on("third.7"), 0U);
    EXPECT_TRUE(tables::Tables::open_pinned(sandbox.folder(), tables::Access::kReadOnly).has_value());
    EXPECT_EQ(tables.meta().engine, static_cast<std::uint32_t>(FL_ENGINE_NONE));

    ASSERT_TRUE(detach_all(sandbox.folder(), TablesAfter::kRemove).has_value());
    EXPECT_FALSE(fs::exists(sandbox.folder()));
    const auto nothing = detach(sandbox.folder(), kLeft);
    ASSERT_FALSE(nothing.has_value());
    EXPECT_EQ(nothing.error().code, ENOENT);
}

TEST_F(Loader, ErrorsNameWhatIsWrong) {
    Sandbox sandbox;
    auto tables = sandbox.make_tables();
    const auto no_interface = attach(tables, sandbox.folder(), {.number = 1, .ifname = "nowhere"}, Mode::kAuto);
    ASSERT_FALSE(no_interface.has_value());
    EXPECT_EQ(no_interface.error().code, ENODEV);
    EXPECT_NE(no_interface.error().message.find("nowhere"), std::string::npos);
    for (const std::uint32_t number : {0U, tables.limits().ports}) {
        const auto bad_port = attach(tables, sandbox.folder(), {.number = number, .ifname = kLeft}, Mode::kAuto);
        ASSERT_FALSE(bad_port.has_value());
        EXPECT_EQ(bad_port.error().code, EINVAL);
    }
    auto anonymous = tables::Tables::create_anonymous(test::small_limits());
    ASSERT_TRUE(anonymous.has_value());
    EXPECT_FALSE(Program::load(*anonymous, ProgramKind::kSteer, 1).has_value());
}

}  // namespace
}  // namespace fairlead::xdp
