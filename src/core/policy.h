/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h -- what the environment asks for. */
#ifndef COOPDL_CORE_POLICY_H
#define COOPDL_CORE_POLICY_H

#include "coopdl.h"

#include <stdbool.h>

enum coopdl_errno_policy { ERRNO_ESCALATE, ERRNO_EINTR, ERRNO_ETIMEDOUT };

struct coopdl_policy {
    int64_t deadline; /* the budget's end; COOPDL_NEVER: no budget */
    enum coopdl_errno_policy error;
    int64_t grace, kill_after; /* ns; COOPDL_NEVER: off */
    int signal;
    bool trap;
    char log[4096];     /* "": no log; "-": stderr; else a path */
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
