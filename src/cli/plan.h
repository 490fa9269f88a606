/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h -- what the arguments and the environment want to be done. */
#ifndef COOPDL_CLI_PLAN_H
#define COOPDL_CLI_PLAN_H

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
    int64_t stacks_at;  /* when stacks are taken, no later than the deadline; COOPDL_NEVER: not */
    bool quiet;         /* what was stuck is not said */
    int64_t length;     /* of the deadline; COOPDL_NEVER: not known */
};

#endif
