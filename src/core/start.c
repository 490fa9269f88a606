/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c -- the library is loaded: the environment is read, and the budget begins.
 *
 * What must hold: a budget that cannot be kept ends the process before main.
 */
#include "core/budget.h"
#include "core/claim.h"
#include "core/clock.h"
#include "core/ending.h"
#include "core/fork.h"
#include "core/kick.h"
#include "core/maps.h"
#include "core/policy.h"
#include "core/process.h"
#include "core/scheduler.h"
#include "core/timer.h"

/* After the wrappers' own constructor, before those of the program. */
__attribute__((constructor(102))) static void start(void)
{
    coopdl_policy_read();
    coopdl_process_begins();
    coopdl_fork_start();
    coopdl_maps_start();
    if (coopdl_policy.deadline == COOPDL_NEVER)
        return;
    coopdl_born = coopdl_clock();
    coopdl_budget_ended = coopdl_end_interpreter;
    coopdl_budgeted = true;
    if (!coopdl_claim())
        coopdl_refuse("COOPDL_BUDGET", "", "cannot be kept: out of memory");
    const char *refused = coopdl_kick_refused();
    if (refused)
        coopdl_refuse("COOPDL_BUDGET", refused,
                      "cannot be kept: a filter of system calls refuses this one");
    if (!coopdl_timer_start() && coopdl_scheduler_start())
        coopdl_refuse("COOPDL_BUDGET", "",
                      "cannot be kept: neither a timer nor a thread to be had");
}
