/* SPDX-License-Identifier: Apache-2.0 */
/* witness.h -- what was stuck when the deadline passed, said on stderr. */
#ifndef COOPDL_CLI_WITNESS_H
#define COOPDL_CLI_WITNESS_H

#include <stdint.h>
#include <sys/types.h>

/* Has the library tell which call of a process the deadline has ended first.  Returns the
 * descriptor that it is to write to; -1 if there is none, and nothing will be said. */
int witness_open(void);

/* Says what has been told since, of three processes at the most.  `length`: of the deadline, in ns;
 * COOPDL_NEVER where it is not known. */
void witness_say(int64_t length);

/* Says of a process that has told nothing what nothing of it interrupts. */
void witness_inspect(pid_t pid, int64_t length);

#endif
