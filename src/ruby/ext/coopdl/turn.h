/* SPDX-License-Identifier: Apache-2.0 */
/* turn.h -- how threads that compute let others have the GVL when a deadline has passed. */
#ifndef COOPDL_RUBY_TURN_H
#define COOPDL_RUBY_TURN_H

#include "activity.h"

#include <stdint.h>

/* In ns: for how long the job gives the GVL away. */
enum { COOPDL_HAND_OVER = 20000000 };

/* The waiter has something to send.  Also called without the GVL. */
void coopdl_turn_want(void);

/* There is a waiter, or will be. */
extern _Atomic bool coopdl_turn_has_waiter;

/* For the waiter: the number of wants so far, to be reported as served when their exceptions have
 * been sent. */
uint32_t coopdl_turn_wanted(void);
void coopdl_turn_served(uint32_t wanted);

/* An exception has been put into the queue of this thread; and is no longer there. */
void coopdl_turn_queued(struct activity *target);
void coopdl_turn_raised(struct activity *target);

/* Gives the GVL away until the waiter has served, for `longest` ns at most. */
void coopdl_turn_give(int64_t longest);

/* In a signal handler, or without the GVL: asks the thread that has the GVL to give it away. */
void coopdl_turn_ask(void);

/* For the waiter, without the GVL: asks threads to give it away until the sent exceptions have been
 * raised. */
void coopdl_turn_hurry(void);

void coopdl_turn_forked(void);
void coopdl_turn_init(void);

#endif
