/* SPDX-License-Identifier: Apache-2.0 */
/* none.c -- the trap on an architecture for which it has not been written: it logs that once. */
#include "trap/trap.h"

#include "core/kick.h"
#include "core/log.h"
#include "core/policy.h"

static void trap_on(struct coopdl_thread *thread, void *context)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    (void)thread;
    (void)context;
    if (!atomic_flag_test_and_set(&said))
        coopdl_log_untrapped("there is none for this architecture");
}

__attribute__((constructor(101))) static void set_up(void)
{
    coopdl_trap_on = trap_on;
}

struct sigaction *coopdl_trap_chained(int number)
{
    (void)number;
    return NULL;
}
