/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h -- what is known of the started program, and what is told of it. */
#ifndef COOPDL_CLI_WATCH_H
#define COOPDL_CLI_WATCH_H

#include "plan.h"

#include <signal.h>
#include <sys/types.h>

/* What is due next. */
enum step { LOOK, STACKS, DEADLINE, CHECK, CHECK_AGAIN, SIGNAL, KILL, NOTHING };

struct watch {
    const struct plan *plan;
    const char *name;
    char **command;
    pid_t child; /* 0: it has ended */
    int status;
    int64_t started;
    int witness;      /* where it is told what was stuck; -1: nowhere */
    int64_t deadline; /* the plan's, or an earlier one: an alarm that came */
    bool late;
    bool warned; /* that it runs without the library */
    sigset_t awaited;
    enum step step;
    int64_t due;
};

/* Where the signal is all that happens then, its line says so. */
void say_deadline(const struct watch *watch);

/* What was stuck: as far as it is known by now. */
void say_stuck(const struct watch *watch);

/* The report, where one is wanted.  `status` is COMMAND's. */
void write_report(const struct watch *watch, int status);

#endif
