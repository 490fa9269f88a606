/* SPDX-License-Identifier: Apache-2.0 */
/* freeze.h -- stops the threads of processes by ptrace, and lets them go. */
#ifndef COOPDL_CLI_FREEZE_H
#define COOPDL_CLI_FREEZE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { MOST_PROCESSES = 16, MOST_THREADS = 64 };

struct frozen_thread {
    pid_t id;
    bool stopped;
    int signal; /* that it was about to get; 0: none */
};

struct frozen {
    pid_t pid;
    int count; /* of `threads` */
    int left;  /* how many more there are, which run on */
    int error; /* why a thread may not be stopped; 0: all may */
    struct frozen_thread threads[MOST_THREADS];
};

/* Asks all threads of a process to stop, up to MOST_THREADS.  Only the thread that asks may do
 * what follows. */
void freeze(struct frozen *process, pid_t pid);

/* Waits until they have stopped; those that have not by `until` run on. */
void await_frozen(struct frozen *process, int64_t until);

/* Lets them go.  The kernel does so too when the thread that asked has ended. */
void thaw(struct frozen *process);

#endif
