/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.h -- starts the program, waits for it, and signals it if it must. */
#ifndef COOPDL_CLI_SUPERVISE_H
#define COOPDL_CLI_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>

/* Times are in nanoseconds; COOPDL_NEVER: not at all. */
struct plan {
    int64_t deadline;    /* absolute, of CLOCK_MONOTONIC */
    int64_t grace;       /* from the deadline to the signal */
    int64_t hangup;      /* how long whose connections were hung up has from then to the signal */
    int64_t kill_after;  /* from the signal to SIGKILL */
    int signal;          /* 0: none */
    const char *library; /* that is preloaded; null: none */
    bool foreground;
    bool tree; /* who leaves the session keeps the deadline */
    bool preserve_status;
    bool ruby; /* load the gem */
    bool verbose;
    const char *report; /* where to (report.h); null or empty: there is none */
    bool quiet;         /* what was stuck is not said */
    int64_t length;     /* of the deadline; COOPDL_NEVER: not known */
};

/* Returns the status to exit with, or ends this process by the signal that ended the program. */
int supervise(char **command, const struct plan *plan);

#endif
