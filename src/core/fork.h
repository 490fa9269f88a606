/* SPDX-License-Identifier: Apache-2.0 */
/* fork.h -- which process this is. */
#ifndef COOPDL_CORE_FORK_H
#define COOPDL_CORE_FORK_H

#include <stdint.h>

/* The process that this memory belongs to; getpid() differs from it in a vfork child. */
extern int32_t coopdl_pid;

/* Called once, before any thread has a deadline. */
void coopdl_fork_start(void);

#endif
