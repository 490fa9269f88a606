/* SPDX-License-Identifier: Apache-2.0 */
/* hooks.c -- the functions of a runtime that the library calls. */
#include "core/hooks.h"

#include "core/alarm.h"
#include "core/sys.h"

const struct coopdl_hooks *_Atomic coopdl_hooks;

bool coopdl_hooked(void)
{
    const struct coopdl_hooks *h = atomic_load_explicit(&coopdl_hooks, memory_order_acquire);
    return h && h->expired;
}

IN_HANDLER void coopdl_hook_kicked(void)
{
    const struct coopdl_hooks *h = atomic_load_explicit(&coopdl_hooks, memory_order_acquire);
    if (h && h->kicked)
        h->kicked();
}

/* The thread that the hook is running for. */
static struct coopdl_thread *_Atomic asked_about;

enum coopdl_verdict coopdl_hook_expired(const struct coopdl_hooks *hooks,
                                        struct coopdl_thread *thread, coopdl_scope *scope)
{
    atomic_store(&asked_about, thread);
    enum coopdl_verdict verdict = hooks->expired(atomic_load(&thread->tid), scope);
    atomic_store(&asked_about, NULL);
    return verdict;
}

bool coopdl_is_asking_about(const struct coopdl_thread *thread)
{
    return atomic_load(&asked_about) == thread && coopdl_sys(SYS_gettid) == coopdl_scheduler_tid();
}
