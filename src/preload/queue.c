/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c -- message queues, the semaphores of System V, and aio_suspend.  Before expiry the calls
 * run as they are, and the kick ends them.  After expiry each call is made in the way in which it
 * does not wait. */
#include "preload/cut.h"
#include "preload/preload.h"

static struct timespec long_ago; /* not a constant: an emulator writes it back, as it was */

ssize_t coopdl_timed_msgrcv(int id, void *message, size_t size, long type, int flags)
{
    bool cutting = coopdl_cutting(coopdl_self);
    ssize_t got = coopdl_real.msgrcv(id, message, size, type, cutting ? flags | IPC_NOWAIT : flags);
    if (cutting && got < 0 && errno == ENOMSG && !(flags & IPC_NOWAIT))
        return coopdl_cut(coopdl_self, "msgrcv");
    return coopdl_kicked(got, ON_NOTHING, "msgrcv");
}

int coopdl_timed_msgsnd(int id, const void *message, size_t size, int flags)
{
    bool cutting = coopdl_cutting(coopdl_self);
    int sent = coopdl_real.msgsnd(id, message, size, cutting ? flags | IPC_NOWAIT : flags);
    if (cutting && sent < 0 && errno == EAGAIN && !(flags & IPC_NOWAIT))
        return coopdl_cut(coopdl_self, "msgsnd");
    return (int)coopdl_kicked(sent, ON_NOTHING, "msgsnd");
}

/* The call fails with EAGAIN where the caller asked not to wait.  The kernel has read the
 * operations. */
static bool asked_not_to_wait(const struct sembuf *operations, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (operations[i].sem_flg & IPC_NOWAIT)
            return true;
    return false;
}

int coopdl_timed_semtimedop(int id, struct sembuf *operations, size_t n,
                            const struct timespec *timeout)
{
    int result, waited = EAGAIN;
    if (timeout && (!coopdl_readable_timespec(timeout) || (!timeout->tv_sec && !timeout->tv_nsec)))
        return PERFORM(coopdl_self, coopdl_real.semtimedop(id, operations, n, timeout));
    if (likely(!coopdl_cutting(coopdl_self))) {
        result = coopdl_real.semtimedop(id, operations, n, timeout);
        waited = EINTR;
    } else {
        result = PERFORM(coopdl_self, coopdl_real.semtimedop(id, operations, n, &long_ago));
    }
    return result < 0 && errno == waited && coopdl_cutting(coopdl_self) &&
                   !(waited == EAGAIN && asked_not_to_wait(operations, n))
               ? coopdl_cut_uncancelled(coopdl_self, -1, "semop")
               : result;
}

int coopdl_timed_semop(int id, struct sembuf *operations, size_t n)
{
    return coopdl_timed_semtimedop(id, operations, n, NULL);
}

/* With a time that has passed the kernel fails a call on a non-blocking queue with EAGAIN, and one
 * that would wait with ETIMEDOUT.  The timed forms keep ETIMEDOUT, and the others fail as cut calls
 * do. */
__attribute__((always_inline)) static inline ssize_t queue_result(mqd_t queue, ssize_t result,
                                                                  bool timed, const char *call)
{
    if (result >= 0 || !coopdl_cutting(coopdl_self) || (errno != EINTR && errno != ETIMEDOUT))
        return result;
    coopdl_on(coopdl_self, ON_DESCRIPTOR, queue);
    int error = coopdl_cut_errno(coopdl_self, call, RESULT_ESCALATES);
    errno = timed ? ETIMEDOUT : error;
    return -1;
}

ssize_t coopdl_timed_mq_receive(mqd_t queue, char *message, size_t size, unsigned int *priority)
{
    return queue_result(queue,
                        coopdl_cutting(coopdl_self)
                            ? PERFORM(coopdl_self, coopdl_real.mq_timedreceive(queue, message, size,
                                                                               priority, &long_ago))
                            : coopdl_real.mq_receive(queue, message, size, priority),
                        false, "mq_receive");
}

ssize_t coopdl_timed_mq_timedreceive(mqd_t queue, char *message, size_t size,
                                     unsigned int *priority, const struct timespec *until)
{
    if (coopdl_cutting(coopdl_self) && coopdl_readable_timespec(until))
        until = &long_ago;
    return queue_result(queue, coopdl_real.mq_timedreceive(queue, message, size, priority, until),
                        true, "mq_timedreceive");
}

int coopdl_timed_mq_send(mqd_t queue, const char *message, size_t size, unsigned int priority)
{
    return (int)queue_result(
        queue,
        coopdl_cutting(coopdl_self)
            ? PERFORM(coopdl_self,
                      coopdl_real.mq_timedsend(queue, message, size, priority, &long_ago))
            : coopdl_real.mq_send(queue, message, size, priority),
        false, "mq_send");
}

int coopdl_timed_mq_timedsend(mqd_t queue, const char *message, size_t size, unsigned int priority,
                              const struct timespec *until)
{
    if (coopdl_cutting(coopdl_self) && coopdl_readable_timespec(until))
        until = &long_ago;
    return (int)queue_result(queue, coopdl_real.mq_timedsend(queue, message, size, priority, until),
                             true, "mq_timedsend");
}

int coopdl_timed_aio_suspend(const struct aiocb *const list[], int n,
                             const struct timespec *timeout)
{
    if (likely(!coopdl_cutting(coopdl_self)) || (timeout && !timeout->tv_sec && !timeout->tv_nsec))
        return (int)coopdl_kicked(coopdl_real.aio_suspend(list, n, timeout), ON_NOTHING,
                                  "aio_suspend");
    int result = PERFORM(coopdl_self, coopdl_real.aio_suspend(list, n, &long_ago));
    return result < 0 && errno == EAGAIN ? coopdl_cut(coopdl_self, "aio_suspend") : result;
}
