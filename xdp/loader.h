// SPDX-License-Identifier: Apache-2.0
// Puts an XDP program on an interface and takes it away again. What is attached lives in an instance's folder of the
// BPF file system, beside the tables, so that it outlives the process that made it and a later one takes it over:
//
//   FOLDER/links/IFNAME     the bpf_link: as long as it is pinned, the program stays attached
//   FOLDER/programs/IFNAME  the program
//   FOLDER/exceptions/IFNAME  XSKMAP: receive queue -> socket of lb-dpdk, which puts it there
//   FOLDER/devices          DEVMAP: port number -> interface
//   FOLDER/devices-whole    the same for programs that take frames of several buffers: the kernel lets a DEVMAP serve
//                           one kind of program only
//
// (A '.' in a name becomes ':' there: the BPF file system takes no dots, interface names no colons.)
// Interfaces are those of the calling thread's network namespace. All functions are synchronous; one process at a time
// may attach in a folder (lbd's lock file), and anybody may detach or list.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dataplane/tables/result.h"
#include "dataplane/tables/tables.h"
#include "xdp/program.h"

namespace fairlead::xdp {

enum class Mode {
    kAuto,     // native, else generic
    kNative,   // in the driver
    kGeneric,  // in the network stack, with any driver
};

struct PortSpec {
    std::uint32_t number = 1;  // index in the ports table, from 1
    std::string ifname;
    ProgramKind program = ProgramKind::kSteer;
    Steering steering = Steering::kHere;
};

struct Attachment {
    std::string ifname;
    std::uint32_t port = 0;
    std::uint32_t ifindex = 0;
    fl_engine_kind mode = FL_ENGINE_NONE;  // FL_ENGINE_XDP_NATIVE or _GENERIC
    std::string reason;                    // why the mode is generic although native was not ruled out; "" otherwise
    Frames frames = Frames::kLinear;       // as FL_PORT_FRAMES of the port says it too
    Steering steering = Steering::kHere;   // as FL_PORT_FEED does
    bool adopted = false;                  // the program was replaced under a link that was there; no packet was lost
    std::uint32_t link_id = 0;
    ProgramInfo program;
    std::uint32_t saved_features = 0;   // FL_FEATURE_*: what is off because of us; as in the ports table
    std::vector<std::string> warnings;  // for the log
};

// Loads the program over `tables` and attaches it to the interface.
//  - A link that is pinned in `folder` for this interface is taken over: the program is replaced atomically. In
//    kAuto it keeps its mode.
//  - A pinned link whose interface is gone or has another name now is removed, and the program attached anew.
//  - A program of somebody else's is left alone: EBUSY, with its id and name.
// In the driver, frames of several buffers come whole where driver and kernel offer it; else the same program is attached
// without them, and the MTU is limited to what the driver puts into one buffer.
// Receive offloads that hide the wire are switched off (xdp/offloads.h). tables.ports()[number] gets name, ifindex,
// mode, FL_PORT_FRAMES, FL_PORT_FEED and saved_features, the last before anything is switched off, a way if it has none, and meta.engine
// the mode, or FL_ENGINE_DPDK where lb-dpdk steers; MAC, MTU and way are the caller's (TableWriter::set_port, which must be given what stands there of the rest). On an error the interface is as it
// was before.
Result<Attachment> attach(tables::Tables& tables, const std::filesystem::path& folder, const PortSpec& port, Mode mode);

struct Attached {
    std::string ifname;
    std::uint32_t ifindex = 0;             // 0: the interface is gone
    fl_engine_kind mode = FL_ENGINE_NONE;  // NONE: the program is not on an interface of this network namespace
    std::uint32_t link_id = 0;
    ProgramInfo program;
    std::chrono::system_clock::time_point since;  // when the link was made; replacing the program does not change it
};

// What is pinned in `folder`, by interface name. An empty or missing folder is no error.
Result<std::vector<Attached>> list(const std::filesystem::path& folder);

struct Detached {
    std::string ifname;
    std::uint32_t restored_features = 0;  // FL_FEATURE_*: switched on again
    std::string warning;                  // what could not be restored, and why; "" = nothing
};

// Takes the program off the interface and restores its offloads; needs no controller. ENOENT: nothing is attached there
// by this folder.
Result<Detached> detach(const std::filesystem::path& folder, const std::string& ifname);

enum class TablesAfter { kKeep, kRemove };

// Detaches every interface and removes what attach() pinned; goes on after a failure and returns the first. With
// kRemove the tables go too.
Result<std::vector<Detached>> detach_all(const std::filesystem::path& folder, TablesAfter tables_after);

using tables::exceptions_path;
using tables::pin_name;

}  // namespace fairlead::xdp
