/* SPDX-License-Identifier: Apache-2.0 */
/* claim.h -- the calling thread's record, and what having one makes necessary. */
#ifndef COOPDL_CORE_CLAIM_H
#define COOPDL_CORE_CLAIM_H

#include "core/thread.h"

/* The calling thread's record, made if there is none; null when memory is out.
 * Async-signal-safe. */
struct coopdl_thread *coopdl_claim(void);

/* The calling thread's record if a deadline rules it now, else null.  This is the whole cost in a
 * process without a deadline: keep it at one TLS load, one test, one branch. */
static inline struct coopdl_thread *coopdl_active(void)
{
    struct coopdl_thread *thread = coopdl_self;
    if (likely(!thread)) {
        if (likely(!coopdl_budgeted))
            return NULL;
        thread = coopdl_claim();
        if (!thread)
            return NULL;
    }
    return coopdl_load(thread) == WORD_NEVER ? NULL : thread;
}

/* In a forked child: only the calling thread's record is left. */
void coopdl_thread_forked(void);

#endif
