/* SPDX-License-Identifier: Apache-2.0 */
/* stacks.h -- coopdl --stacks: the stacks of all threads of COMMAND's processes at the deadline. */
#ifndef COOPDL_CLI_STACKS_H
#define COOPDL_CLI_STACKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How much later than promised calls are cut where stacks are wanted: until then all threads are
 * to be told to stop. */
#define STACKS_ALLOWANCE (100 * COOPDL_MILLISECOND)

/* Exits with one line where stacks cannot be had. */
void stacks_check(void);

/* Has the modules in COMMAND be ready to write their own stacks at this time.  For the child. */
void stacks_introduce(int64_t when);

/* Prints the stacks of `child` (0: it has ended) and of its descendants in our session, with `tree`
 * in others too.  `cut` is when their calls are cut. */
void stacks_take(pid_t child, bool tree, int64_t cut);

#endif
