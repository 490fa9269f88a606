/* SPDX-License-Identifier: Apache-2.0 */
/* tick.h -- one look at all threads: fire what is due, kick again what is fired. */
#ifndef COOPDL_CORE_TICK_H
#define COOPDL_CORE_TICK_H

#include "coopdl.h"

#include <stdbool.h>

/* How long after firing a thread is visited again, in ns; it doubles from there. */
#define COOPDL_FIRST_BACKOFF 1000000

/* Does everything that is due and returns when the next thing will be.  `asking`: whether the
 * runtime's hook may be called here (not in a signal handler).  Otherwise async-signal-safe. */
int64_t coopdl_tick(bool asking);

/* The runtime's hook inside the kicked thread. */
void coopdl_hook_kicked(void);

/* Whether a runtime wants to be asked before anything is cut. */
bool coopdl_hooked(void);

#endif
