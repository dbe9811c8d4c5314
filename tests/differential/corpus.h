// SPDX-License-Identifier: Apache-2.0
// Frames written by hand, one of each kind, and what chance makes of them.
#pragma once

#include <random>

#include "tests/differential/comparison.h"

namespace fairlead::test {

// To addresses and ports of tests/bpf/frames.h.
std::vector<Frame> corpus();

// A few bits, bytes or ends of it are other.
Frame mutated(Frame frame, std::mt19937_64& random);

}  // namespace fairlead::test
