/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h -- the settings from the environment. */
#ifndef COOPDL_CORE_POLICY_H
#define COOPDL_CORE_POLICY_H

#include "coopdl.h"

#include <stdbool.h>

enum coopdl_errno_policy { ERRNO_ESCALATE, ERRNO_EINTR, ERRNO_ETIMEDOUT };

struct coopdl_policy {
    int64_t deadline; /* the budget's end; COOPDL_NEVER: no budget */
    int64_t length;   /* how long it is, where this process was given it; else COOPDL_NEVER */
    enum coopdl_errno_policy error;
    int64_t hangup, grace, kill_after; /* ns; COOPDL_NEVER: off */
    int signal;
    int end_signal;  /* the signal for processes that are signalled at once at the budget's end; 0:
                        none is */
    int64_t cleanup; /* ns; how long a process that handles that signal has from then on */
    bool command;    /* this process is the one that was started with the budget */
    int32_t supervisor; /* the coopdl that takes the steps of the ladder; 0: the process does */
    int32_t group;      /* the process group that it signals; 0: COMMAND alone */
    bool tree;          /* a process that leaves the session keeps the budget */
    bool read_error;    /* stdio's read fails, and no process is signalled for it */
    bool trap;
    char log[4096];     /* "": no log; "-": stderr; else a path */
    bool debug;         /* also says why an exception is deferred */
    bool log_json;      /* its lines are JSON objects */
    char witness[40];   /* where coopdl reads which calls were ended; "": nowhere */
    char report[40];    /* coopdl's table of waits; "": nothing is measured */
    char exclude[1024]; /* names of threads, separated by commas */
};

extern struct coopdl_policy coopdl_policy;

/* Reads the environment; ends the process with status 125 and one line where it cannot be
 * understood. */
void coopdl_policy_read(void);

/* A number in digits alone, at most `limit`; -1 for anything else.  Async-signal-safe. */
int64_t coopdl_number(const char *text, int64_t limit);

/* Ends the process with status 125: "coopdl: NAME='value' WHY". */
_Noreturn void coopdl_refuse(const char *name, const char *value, const char *why);

#endif
