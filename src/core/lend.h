/* SPDX-License-Identifier: Apache-2.0 */
/* lend.h -- lends a deadline to another thread, and notes which thread waits for which. */
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

/* The calling thread has expired: if it waits for another thread, it lends that thread its
 * deadline.  Async-signal-safe. */
void coopdl_lend_on(struct coopdl_thread *thread);

/* coopdl_lend for callers that know the watcher to run: 0 or an errno.  It does not use libc's
 * allocator, and starts no thread. */
int coopdl_lend_to(int32_t tid, int64_t deadline);

#endif
