/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork.c -- what a forked child keeps: the forking thread's scopes and the
 * budget.
 *
 * The child has one thread, no scheduler and no timers.  Nothing here allocates
 * or locks: other libraries' fork handlers have not run yet, and malloc's locks
 * may still be held.  So the child's deadlines hang on a kernel timer until it
 * enters a scope and starts a scheduler of its own.
 *
 * vfork runs no handlers and needs none: the child touches nothing of its
 * parent's (coopdl_claim refuses), and until it execs it sees the parent's
 * deadline as its own.
 */
#include "core/fork.h"

#include "core/budget.h"
#include "core/claim.h"
#include "core/clock.h"
#include "core/ending.h"
#include "core/evidence.h"
#include "core/hangup.h"
#include "core/kept.h"
#include "core/kick.h"
#include "core/policy.h"
#include "core/process.h"
#include "core/scheduler.h"
#include "core/timer.h"

#include <pthread.h>

static void in_child(void)
{
    coopdl_process_begins();
    coopdl_born = coopdl_clock();
    coopdl_scheduler_forked();
    coopdl_kick_forked();
    coopdl_kept_forked();
    coopdl_timer_forked();
    coopdl_hangup_forked();
    coopdl_budget_forked();
    coopdl_ending_forked();
    coopdl_evidence_forked();
    coopdl_thread_forked();
    bool armed = coopdl_self && coopdl_load(coopdl_self) != WORD_NEVER;
    if ((armed || coopdl_budgeted) && !coopdl_timer_start())
        if (coopdl_scheduler_start())
            coopdl_refuse("COOPDL_DEADLINE", "",
                          "cannot be kept in a child: neither a timer nor a thread to be had");
}

void coopdl_fork_start(void)
{
    pthread_atfork(NULL, coopdl_end_starter, in_child);
}
