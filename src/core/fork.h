/* SPDX-License-Identifier: Apache-2.0 */
/* fork.h -- what a forked child keeps. */
#ifndef COOPDL_CORE_FORK_H
#define COOPDL_CORE_FORK_H

/* Called once, before any thread has a deadline. */
void coopdl_fork_start(void);

#endif
