/* SPDX-License-Identifier: Apache-2.0 */
/* shell.h -- the shell that system and popen start, and the wait for it. */
#ifndef COOPDL_PRELOAD_SHELL_H
#define COOPDL_PRELOAD_SHELL_H

#include <spawn.h>
#include <stdbool.h>
#include <sys/types.h>

/* Whether this process has had a deadline.  Until then system and popen are libc's own. */
bool coopdl_shell_is_ours(void);

/* Starts `sh -c command`: 0 or an errno. */
int coopdl_shell_start(pid_t *pid, const char *command, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes);

/* Waits for it until the deadline: its status, or -1 with errno set and the shell gone. */
int coopdl_shell_wait(pid_t pid, const char *call);

/* Kills it and takes its status away.  Keeps errno. */
void coopdl_shell_end(pid_t pid);

#endif
