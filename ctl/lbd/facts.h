// SPDX-License-Identifier: Apache-2.0
// What the controller knows and the tables do not, as the views and the metrics want it.
#pragma once

#include "ctl/api/metrics.h"
#include "ctl/api/views.h"
#include "ctl/lbd/controller.h"

namespace fairlead {

api::ControllerFacts controller_facts(const Controller& controller);
api::MetricsInput metrics_input(const Controller& controller);

}  // namespace fairlead
