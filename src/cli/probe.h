/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h -- a child of --check, which tries what a COMMAND would meet. */
#ifndef COOPDL_CLI_PROBE_H
#define COOPDL_CLI_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct probe {
    bool reported;  /* false: it never came to that, and `why` says so */
    bool preloaded; /* by LD_PRELOAD, not because the command is linked to it */
    int kicked;     /* the error of a read of libc's own that began before the deadline; 0: none */
    int64_t late;   /* how long after the deadline, in ns; negative: before it */
    int trapped;    /* that of one that began after it: ETIMEDOUT from the trap alone */
    int cut;        /* that of a wrapped read */
    int signal;     /* the kick's */
    char version[32]; /* of the library that is in it */
    char why[512];
};

/* What is refused to a process of ours, as "timer_create, prctl"; empty: nothing is.  `kills`: the
 * filter ends who asks. */
struct refusals {
    char calls[256];
    bool kills;
    bool trap; /* prctl(PR_SET_SYSCALL_USER_DISPATCH) is among them, or unknown to the kernel */
};

/* Starts the child, with this library preloaded, under a deadline. */
void probe_deadline(const char *library, struct probe *probe);

/* Asks for each call that the library needs, in a way that changes nothing. */
void probe_refusals(struct refusals *refusals);

/* Whether this process is such a child: then it is to run the probe. */
bool is_probe(const char *name);
int run_probe(void);

#endif
