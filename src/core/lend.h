/* SPDX-License-Identifier: Apache-2.0 */
/* lend.h -- a deadline for another thread, and who waits for which. */
#ifndef COOPDL_CORE_LEND_H
#define COOPDL_CORE_LEND_H

#include "core/thread.h"

#include <stdint.h>

/* The calling thread waits for the end of another, whose id is `tid`, 0 for none. */
struct coopdl_await {
    int32_t tid;
    bool lent;
    struct coopdl_await *outer; /* the wait that a signal handler has interrupted */
};

void coopdl_await_begin(struct coopdl_await *await, int32_t tid);
void coopdl_await_end(struct coopdl_await *await);

/* The calling thread has expired: lends its deadline to the thread that it waits for, if it does.
 * Async-signal-safe. */
void coopdl_lend_on(struct coopdl_thread *thread);

/* coopdl_lend, where the deadlines are watched already: 0 or an errno.  Allocates nothing of
 * libc's, starts no thread. */
int coopdl_lend_to(int32_t tid, int64_t deadline);

#endif
