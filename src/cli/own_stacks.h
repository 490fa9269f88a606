/* SPDX-License-Identifier: Apache-2.0 */
/* own_stacks.h -- the stacks that a runtime has of itself, as its module writes them. */
#ifndef COOPDL_CLI_OWN_STACKS_H
#define COOPDL_CLI_OWN_STACKS_H

#include <stdint.h>
#include <sys/types.h>

/* Looks whether a module in the process writes its stacks, and has it do so. */
void own_stacks_open(pid_t pid);

/* Waits until each of those that were found has written some, or until this time. */
void own_stacks_await(int64_t until);

/* Prints what was written. */
void own_stacks_print(void);

#endif
