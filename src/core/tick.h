/* SPDX-License-Identifier: Apache-2.0 */
/* tick.h -- one look at all threads: fire what is due, kick again what is fired. */
#ifndef COOPDL_CORE_TICK_H
#define COOPDL_CORE_TICK_H

#include "core/thread.h"

#include <stdbool.h>

/* How long after firing a thread is visited again, in ns; it doubles from there. */
#define COOPDL_FIRST_BACKOFF 1000000

/* Does everything that is due and returns when the next thing will be.  `asking`: whether the
 * runtime's hook may be called here (not in a signal handler).  Otherwise async-signal-safe. */
int64_t coopdl_tick(bool asking);

/* The calling thread, which is fired, makes a call that may wait all the same: it is to be kicked
 * again in a moment (COOPDL_FIRST_BACKOFF).  `asleep` says what in.  Async-signal-safe. */
void coopdl_kick_soon(struct coopdl_thread *thread, uint8_t asleep);

/* The runtime's hook inside the kicked thread. */
void coopdl_hook_kicked(void);

/* Whether a runtime wants to be asked before anything is cut. */
bool coopdl_hooked(void);

#endif
