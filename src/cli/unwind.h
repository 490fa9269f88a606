/* SPDX-License-Identifier: Apache-2.0 */
/* unwind.h -- the native stack of a thread that is stopped. */
#ifndef COOPDL_CLI_UNWIND_H
#define COOPDL_CLI_UNWIND_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Loads what unwinds.  Why that is not to be had; null if it is there. */
const char *unwinder_obstacle(void);

/* Opens what is known of a process's code; null: nothing is.  Ended by
 * unwind_close. */
void *unwind_open(pid_t pid);

/* Writes the frames of a thread that this thread of ours has stopped, one to a line.  `until` is
 * when no more are looked for. */
void unwind(void *process, pid_t thread, int64_t until, FILE *to);

void unwind_close(void *process);

#endif
