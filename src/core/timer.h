/* SPDX-License-Identifier: Apache-2.0 */
/* timer.h -- the kernel timer that does the scheduler's work where there is no scheduler. */
#ifndef COOPDL_CORE_TIMER_H
#define COOPDL_CORE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the timer and sets it to the next thing to do.  False where the kernel refuses one. */
bool coopdl_timer_start(void);

/* Sets it anew after a change of the calling thread's word; nothing of it is pending afterwards
 * that should not be. */
void coopdl_timer_follow(void);

/* The scheduler takes over. */
void coopdl_timer_stop(void);

/* In the handler: the timer's signal has come. */
void coopdl_timer_expired(void);

/* What a signal of this timer carries. */
void *coopdl_timer_cookie(void);

/* In a forked child: timers are not inherited. */
void coopdl_timer_forked(void);

#endif
