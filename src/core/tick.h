/* SPDX-License-Identifier: Apache-2.0 */
/* tick.h -- one visit to all threads: those that are due are fired, those that are fired are kicked
 * again. */
#ifndef COOPDL_CORE_TICK_H
#define COOPDL_CORE_TICK_H

#include "core/hooks.h"

#include <stdbool.h>

/* Does everything that is due, and returns when something will be due next.  `asking`: in the
 * scheduler's thread, where the runtime's hook may be called.  Otherwise async-signal-safe. */
int64_t coopdl_tick(bool asking);

/* The calling thread, which is fired, is about to make a call that may wait and is not cut: it is
 * to be kicked again in a moment (COOPDL_FIRST_BACKOFF).  `asleep` says in what kind of call. */
void coopdl_kick_soon(struct coopdl_thread *thread, uint8_t asleep);

#endif
