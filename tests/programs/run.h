/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h -- a real program, started, watched and ended by a test.
 *
 * A command is a null-terminated list of words, the program first.  A word
 * "$NAME" stands for the environment variable NAME; tests/programs/meson.build
 * says which there are.  An optional program that was not found when the build
 * was configured has an empty variable.
 *
 * A program runs in a process group of its own.  Whatever a test started is
 * gone when run_kill returns, and dies with the test if the test dies.
 */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SECOND ((int64_t)1000000000)
#define MILLISECOND ((int64_t)1000000)

struct run {
    pid_t pid;       /* of the program, and of its process group */
    int64_t started; /* the last thing before exec: no budget can have begun earlier */
    int64_t ended;   /* when the last process of the group had ended */
    int status;      /* the program's, as waitpid has it */
    int output;      /* a file with all that went to stdout and stderr */
};

int64_t run_now(void);

/* The first "$NAME" of the command that has no value, or null: it can be run. */
const char *run_missing(const char *const *command);

/* Skips the calling test if the command cannot be run. */
void run_need(const char *const *command);

/* The programs started from now on have the library, and the budget if it is not null. */
void run_preload(const char *budget);

/*
 * Starts the command, with stdin from /dev/null and stdout and stderr to the
 * file run->output, or with the two descriptors given if they are not -1.
 */
void run_start(struct run *run, const char *const *command, int input, int output);

/*
 * Waits until the program and all that it started have ended, at most until
 * that time.  Returns whether they have.
 */
bool run_wait(struct run *run, int64_t until);

/* Whether the program itself is still there. */
bool run_alive(const struct run *run);

/* Ends whatever is left of the program. */
void run_kill(struct run *run);

/* What the program has written to run->output so far; never freed, tests are short. */
const char *run_output(const struct run *run);

/* "exit status 1" or "signal 15 (Terminated)". */
const char *run_end(const struct run *run);

/* Seconds from exec to the end, for messages. */
double run_seconds(const struct run *run);

/*
 * Start and end tests/programs/servers.c, for fixtures.  Sets BLACKHOLE_PORT,
 * BLACKHOLE_URL, DRIP_PORT and DRIP_URL, and clears the environment of what
 * would change how programs behave: a budget from outside, or a proxy.
 */
void servers_start(void);
void servers_end(void);

#endif
