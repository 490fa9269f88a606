/* SPDX-License-Identifier: Apache-2.0 */
/* arrival.h -- what happens where a kick arrives, and how an exec keeps one away. */
#ifndef COOPDL_CORE_ARRIVAL_H
#define COOPDL_CORE_ARRIVAL_H

#include "core/thread.h"

#include <signal.h>
#include <stdbool.h>

/* The calling thread has taken a signal of the kick's number from the queue, in a wait for it: does
 * what the handler would have done.  False if the signal is the program's. */
bool coopdl_kick_taken(const siginfo_t *info);

/* Around an exec: a kick that is on its way would end the new program, which has no handler for it.
 * False if there is nothing to hold, as in a vfork child; else the kicks are held until they are
 * released. */
bool coopdl_kick_hold(void);
void coopdl_kick_release(void);

/* A handler runs for the kick of a budget's end.  It may have interrupted stdio's read
 * (preload/stdio.c).  Null where that cannot be found out. */
extern void (*coopdl_reader_kicked)(struct coopdl_thread *thread, void *context);

#endif
