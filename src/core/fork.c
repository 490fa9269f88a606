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
#include "core/scheduler.h"
#include "core/sys.h"
#include "core/thread.h"
#include "core/timer.h"

#include <pthread.h>

int32_t coopdl_pid;

static void in_child(void)
{
    coopdl_pid = (int32_t)coopdl_sys(SYS_getpid);
    coopdl_scheduler_forked();
    coopdl_timer_forked();
    coopdl_budget_forked();
    coopdl_thread_forked();
    bool armed = coopdl_self && coopdl_load(coopdl_self) != WORD_NEVER;
    if ((armed || coopdl_budgeted) && !coopdl_timer_start())
        (void)coopdl_scheduler_start();
}

void coopdl_fork_start(void)
{
    coopdl_pid = (int32_t)coopdl_sys(SYS_getpid);
    pthread_atfork(NULL, NULL, in_child);
}
