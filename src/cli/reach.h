/* SPDX-License-Identifier: Apache-2.0 */
/* reach.h -- the started processes: who has started which, which are stopped, and which have the
 * library in them. */
#ifndef COOPDL_CLI_REACH_H
#define COOPDL_CLI_REACH_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether the process runs without the library.  One that has ended does not run. */
bool is_unreached(pid_t pid, const char *library);

/* The parent of a process; our own id if that cannot be known. */
pid_t parent_of(pid_t pid);

/* Calls `found` for each descendant of ours, but for `child`, that is in our group and runs without
 * the library. */
void each_unreached(pid_t child, const char *library, void (*found)(pid_t pid, void *argument),
                    void *argument);

/* Whether it is stopped, and not by a debugger. */
bool is_stopped(pid_t pid);

/* Calls `found` for `child` and each descendant of ours that is in our group, where that is stopped
 * and has the library in it. */
void each_stopped(pid_t child, const char *library, void (*found)(pid_t pid, void *argument),
                  void *argument);

/* Calls `found` for `child` (0: it has ended) and each descendant of ours in our session, with
 * `tree` in other sessions too. */
void each_started(pid_t child, bool tree, void (*found)(pid_t pid, void *argument), void *argument);

/* Calls `found` for each descendant of ours, but for `child`, that is in our group. */
void each_other(pid_t child, void (*found)(pid_t pid, void *argument), void *argument);

#endif
