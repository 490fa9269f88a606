/* SPDX-License-Identifier: Apache-2.0 */
/* timer.h -- the kernel timer that watches the deadlines where there is no scheduler. */
#ifndef COOPDL_CORE_TIMER_H
#define COOPDL_CORE_TIMER_H

#include <signal.h>
#include <stdbool.h>

/* Makes the timer, and sets it to the time when something is due next.  False where the kernel
 * refuses one. */
bool coopdl_timer_start(void);

/* Stops the timer: the scheduler takes over. */
void coopdl_timer_stop(void);

/* In the handler: the timer's signal has come. */
void coopdl_timer_expired(void);

/* Whether this is a signal of the timer. */
bool coopdl_is_timer(const siginfo_t *info);

/* In a forked child: timers are not inherited. */
void coopdl_timer_forked(void);

/* Stops the timer until it is released; after this no signal of it is pending. */
void coopdl_timer_hold(void);
void coopdl_timer_release(void);

#endif
