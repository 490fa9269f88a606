/* SPDX-License-Identifier: Apache-2.0 */
/* ladder.h -- the steps from the deadline to SIGKILL. */
#ifndef COOPDL_CLI_LADDER_H
#define COOPDL_CLI_LADDER_H

#include "watch.h"

/* COMMAND has been started: sets when the first step is due. */
void begin_ladder(struct watch *watch);

/* Takes the step that is due, and notes which is next, and when. */
void take_step(struct watch *watch);

/* An alarm is the deadline, as timeout(1) has it.  COMMAND cannot know of this one. */
void alarmed(struct watch *watch);

/* A signal that has come to us is handed on. */
void hand_on(struct watch *watch, int number);

#endif
