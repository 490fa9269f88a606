/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.h -- starts the program, waits for it, and signals it if it must. */
#ifndef COOPDL_CLI_SUPERVISE_H
#define COOPDL_CLI_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>

/* Times are in nanoseconds; COOPDL_NEVER: not at all. */
struct plan {
    int64_t deadline;   /* absolute, of CLOCK_MONOTONIC */
    int64_t grace;      /* from the deadline to the signal */
    int64_t kill_after; /* from the signal to SIGKILL */
    int signal;
    bool foreground;
    bool preserve_status;
    bool ruby; /* load the gem */
    bool verbose;
};

/* Returns the status to exit with, or ends this process by the signal that ended the program. */
int supervise(char **command, const struct plan *plan);

#endif
