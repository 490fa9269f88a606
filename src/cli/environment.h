/* SPDX-License-Identifier: Apache-2.0 */
/* environment.h -- what the command takes from the environment, and what it hands down. */
#ifndef COOPDL_CLI_ENVIRONMENT_H
#define COOPDL_CLI_ENVIRONMENT_H

#include <stdint.h>
#include <sys/types.h>

/* The duration in this variable, `otherwise` if it is unset or holds none. */
int64_t environment_duration(const char *name, int64_t otherwise);

/* The absolute path of the library to preload: COOPDL_LIBRARY, or the one that this command is
 * linked to.  Exits with one line when it cannot be preloaded.  The caller frees it. */
char *find_library(void);

/* Sets what the command's program is to inherit; `library` null: no preload. */
void hand_down(int64_t deadline, const char *library);

/* Has every Ruby that is started load the gem, ahead of what RUBYOPT says already. */
void require_in_ruby(void);

struct introduction {
    pid_t command;      /* 0: each process is to count as that */
    int signal;         /* ends at once what takes no error for an answer; 0: none */
    int64_t grace;      /* how long after the deadline a process that handles that signal has */
    int64_t kill_after; /* how long after the grace KILL is sent */
    pid_t own;          /* our own id */
    pid_t group;        /* what we signal; 0: COMMAND alone */
    int witness;        /* our descriptor that takes what was stuck; -1: none */
};

/* Tells the library in COMMAND, where this is called, of us. */
void introduce(const struct introduction *introduction);

#endif
