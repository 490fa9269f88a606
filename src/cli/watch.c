/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c -- what is told of the started program: that its deadline has passed, what
 * was stuck, and where the time went.
 *
 * What must hold: a line on what was stuck, and the report, are written once, whoever asks
 * how often (witness.c and report.c see to that).
 */
#include "watch.h"

#include "coopdl.h"
#include "failure.h"
#include "report.h"
#include "witness.h"

void say_deadline(const struct watch *watch)
{
    if (watch->plan->verbose && (watch->plan->library || watch->plan->hangup))
        say("deadline passed for command '%s'", watch->name);
}

void say_stuck(const struct watch *watch)
{
    if (watch->witness >= 0)
        witness_say(watch->plan->length);
}

void write_report(const struct watch *watch, int status)
{
    report_write(&(struct outcome){
        .command = watch->command,
        .length = watch->plan->length,
        .elapsed = coopdl_now() - watch->started,
        .status = status,
        .late = watch->late,
        .killed = watch->child != 0,
    });
}
