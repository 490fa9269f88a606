/* SPDX-License-Identifier: Apache-2.0 */
/* turn.h -- how threads that compute let others have the GVL when a deadline has passed. */
#ifndef COOPDL_RUBY_TURN_H
#define COOPDL_RUBY_TURN_H

#include "activity.h"

#include <stdint.h>

/* In ns: for how long the job gives the GVL away. */
enum { COOPDL_HAND_OVER = 20000000 };

/* There is something for the waiter to send.  Without the GVL, too. */
void coopdl_turn_want(void);

/* There is a waiter, or will be. */
extern _Atomic bool coopdl_turn_has_waiter;

/* The waiter: what is wanted by now, to be reported as served when it has been sent. */
uint32_t coopdl_turn_wanted(void);
void coopdl_turn_served(uint32_t wanted);

/* An exception has been put into the queue of that thread; and is there no longer. */
void coopdl_turn_queued(struct activity *target);
void coopdl_turn_raised(struct activity *target);

/* Gives the GVL away until the waiter has served, for that many ns at most. */
void coopdl_turn_give(int64_t longest);

/* In a signal handler, or without the GVL: whatever thread has it is to give it away. */
void coopdl_turn_ask(void);

/* The waiter, without the GVL: has threads give it away until what was sent is raised. */
void coopdl_turn_hurry(void);

void coopdl_turn_forked(void);
void coopdl_turn_init(void);

#endif
