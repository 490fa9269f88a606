/* SPDX-License-Identifier: Apache-2.0 */
/*
 * join.c -- waiting for another thread's end.
 *
 * A join cannot be cut: callers would go on as if the thread had ended.  So an expired thread
 * that waits in a join lends its deadline to the thread that it waits for (core/lend.c), and
 * that thread is kicked and cut.  Examples are libcurl's thread that looks up a name, and
 * std::thread::join.
 *
 * What must hold: before expiry this is libc's call.  The joining thread only notes which thread
 * it waits for.  It lends in its kick's handler, or here if it has expired already.  So it also
 * lends on a deadline that was lent to itself.  The loan is taken back when the wait ends, in
 * whatever way.
 *
 * Interleaving of the note and the kick: the note is made first, and the word is read after
 * that.  A kick that comes later finds the note.
 */
#include "core/lend.h"
#include "portable/thread_clock.h"
#include "preload/preload.h"

#include <pthread.h>

/* The thread's number, which its clock tells; 0 where the thread has ended. */
static int32_t id_of(pthread_t thread)
{
    clockid_t clock;
    return pthread_getcpuclockid(thread, &clock) == 0 ? coopdl_thread_of_clock(clock) : 0;
}

#define AWAIT(thread, call)                                                                        \
    {                                                                                              \
        __attribute__((cleanup(coopdl_await_end))) struct coopdl_await await;                      \
        coopdl_await_begin(&await, id_of(thread));                                                 \
        return call;                                                                               \
    }

int coopdl_join_pthread_join(pthread_t thread, void **value)
{
    AWAIT(thread, coopdl_real.pthread_join(thread, value))
}

int coopdl_join_thrd_join(thrd_t thread, int *result)
{
    AWAIT((pthread_t)thread, coopdl_real.thrd_join(thread, result))
}

int coopdl_join_pthread_timedjoin_np(pthread_t thread, void **value, const struct timespec *until)
{
    AWAIT(thread, coopdl_real.pthread_timedjoin_np(thread, value, until))
}

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 31)
int coopdl_join_pthread_clockjoin_np(pthread_t thread, void **value, clockid_t clock,
                                     const struct timespec *until)
{
    AWAIT(thread, coopdl_real.pthread_clockjoin_np(thread, value, clock, until))
}
#endif
#endif
