// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dataplane/tables/unique_fd.h"

namespace fairlead::xdp {
using fairlead::UniqueFd;
}  // namespace fairlead::xdp
