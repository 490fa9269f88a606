/* SPDX-License-Identifier: Apache-2.0 */
/* tick.h -- one look at all threads: fire what is due, kick again what is fired. */
#ifndef COOPDL_CORE_TICK_H
#define COOPDL_CORE_TICK_H

#include "core/hooks.h"

#include <stdbool.h>

/* Does everything that is due and returns when the next thing will be.  `asking`: in the
 * scheduler's thread, where the runtime's hook may be called.  Otherwise async-signal-safe. */
int64_t coopdl_tick(bool asking);

/* The calling thread, which is fired, makes a call that may wait all the same: it is to be kicked
 * again in a moment (COOPDL_FIRST_BACKOFF).  `asleep` says what in.  Async-signal-safe. */
void coopdl_kick_soon(struct coopdl_thread *thread, uint8_t asleep);

#endif
