// SPDX-License-Identifier: Apache-2.0
// lbd's log: standard error, one line an event. Under systemd each line carries its journald level; repeats of one line
// within five seconds are counted instead of printed. Keys and secrets are never given to it.
#pragma once

#include "ctl/config/config.h"

namespace fairlead {

void start_log();
void set_log_level(config::LogLevel level);

}  // namespace fairlead
