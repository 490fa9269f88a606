/* SPDX-License-Identifier: Apache-2.0 */
/* cancel.h -- a thread that is cancelled in a call, before the deadline or after it. */
#ifndef COOPDL_TESTS_CANCEL_H
#define COOPDL_TESTS_CANCEL_H

#include "support.h"

#include <poll.h>
#include <stdatomic.h>

#define FAR (INT64_MAX / 2)

struct cancelled {
    int (*call)(void);
    int64_t deadline;
    coopdl_scope scope;
    _Atomic int calling, left;
};

static void leave_unwinding(void *argument)
{
    struct cancelled *c = argument;
    c->left = coopdl_leave(&c->scope);
}

static void *call_for_ever(void *argument)
{
    struct cancelled *c = argument;
    coopdl_enter(&c->scope, c->deadline);
    pthread_cleanup_push(leave_unwinding, c);
    do {
        c->calling++;
        c->call();
    } while (c->deadline != FAR);
    pthread_cleanup_pop(1);
    return NULL;
}

/* `call` waits.  It is cancelled while it does, and where it is cut again and again. */
static inline void assert_cancellable(int (*call)(void), const char *name)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("AddressSanitizer loses track of a stack that is unwound by force");
#endif
    static const int64_t deadlines[] = {FAR, 0};
    for (int expired = 0; expired < 2; expired++) {
        struct cancelled cancelled = {.call = call, .deadline = deadlines[expired], .left = -1};
        pthread_t thread;
        void *result = NULL;
        cr_assert(pthread_create(&thread, NULL, call_for_ever, &cancelled) == 0);
        while (cancelled.calling < 1 + expired)
            sched_yield();
        poll(NULL, 0, 2);
        pthread_cancel(thread);
        cr_assert(pthread_join(thread, &result) == 0);
        cr_expect(result == PTHREAD_CANCELED, "%s, expired %d: not cancelled", name, expired);
        cr_expect(cancelled.left == expired, "%s: leaving gave %d", name, cancelled.left);
    }
    cr_expect(coopdl_deadline() == COOPDL_NEVER);
}

#endif
