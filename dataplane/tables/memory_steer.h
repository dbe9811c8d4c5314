/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The steering core over tables in ordinary memory: the access that it is compiled with, then the core. */
#ifndef FL_MEMORY_STEER_H
#define FL_MEMORY_STEER_H

#include "dataplane/tables/memory_access.h"

/* After the access. */
#include "dataplane/core/steer.h"

#endif
