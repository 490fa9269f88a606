/* SPDX-License-Identifier: Apache-2.0 */
/* cut.h -- when a call is capped, what would wait, and how a call is cut. */
#ifndef COOPDL_PRELOAD_CUT_H
#define COOPDL_PRELOAD_CUT_H

#include "core/clock.h"
#include "core/futex.h"
#include "core/sys.h"
#include "core/thread.h"
#include "core/tick.h"
#include "preload/real.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

/* What a call can be told: EINTR and then ETIMEDOUT; the same and in the end 0, that its own time
 * is over; under a budget alone nothing but EINTR; nothing but EINTR ever. */
enum coopdl_answer { ANSWER_ESCALATES, ANSWER_TIMED, ANSWER_GENTLE, ANSWER_EINTR };

/* Cuts a call that would wait: the errno that it fails with.  `sleep`: for how many ns it would
 * have slept if it is a sleep; 0 if it has paused already, COOPDL_NEVER for any other call.
 * `trapped`: by the trap, perhaps inside a wrapper's call. */
int coopdl_tell(struct coopdl_thread *thread, const char *call, enum coopdl_answer answer,
                int64_t sleep, bool trapped);

/* For how many ns the next call to be cut is to pause first; `sleep` as above. */
int64_t coopdl_next_pause(struct coopdl_thread *thread, int64_t sleep);

/* The wrapped calls are cancellation points, also where the real one is not reached.  What libc
 * does inside itself may be none, and may rely on that: nothing is one under the trap. */
#ifdef COOPDL_TRAPPED
#define UNDER_TRAP true
#define TEST_CANCEL() ((void)0)
#else
#define UNDER_TRAP false
#define TEST_CANCEL() pthread_testcancel()
#endif

static inline int coopdl_cut_sleep(struct coopdl_thread *thread, const char *call,
                                   enum coopdl_answer answer, int64_t sleep)
{
    TEST_CANCEL();
    return coopdl_tell(thread, call, answer, sleep, UNDER_TRAP);
}

static inline int coopdl_cut_errno(struct coopdl_thread *thread, const char *call,
                                   enum coopdl_answer answer)
{
    return coopdl_cut_sleep(thread, call, answer, COOPDL_NEVER);
}

/* The same for a call that returns -1 and sets errno. */
static inline int coopdl_cut(struct coopdl_thread *thread, const char *call)
{
    errno = coopdl_cut_errno(thread, call, ANSWER_ESCALATES);
    return -1;
}

/* The same for the few that are no cancellation points. */
static inline int coopdl_cut_uncancelled(struct coopdl_thread *thread, const char *call)
{
#ifdef COOPDL_TRAPPED
    return coopdl_cut(thread, call);
#else
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    int result = coopdl_cut(thread, call);
    pthread_setcancelstate(state, NULL);
    return result;
#endif
}

/* A call has failed: one that was kicked out of its wait is cut. */
__attribute__((noinline, cold, unused)) static ssize_t coopdl_failed(const char *call)
{
    if (errno == EINTR && coopdl_cutting(coopdl_self))
        return coopdl_cut(coopdl_self, call);
    return -1;
}

/* The real call has returned `result`: one that was kicked out of its wait is cut. */
static inline ssize_t coopdl_kicked(ssize_t result, const char *call)
{
    return likely(result >= 0) ? result : coopdl_failed(call);
}

/* After expiry, a call of which nobody can tell whether it would wait: it is performed, and kicked
 * if it does not come back in a moment.  A kick that comes sooner was meant for something else. */
#define ATTEMPT(call)                                                                              \
    __extension__({                                                                                \
        int64_t moment = coopdl_clock() + COOPDL_FIRST_BACKOFF / 2;                                \
        __typeof__(call) attempted;                                                                \
        do {                                                                                       \
            coopdl_kick_soon(coopdl_self, ASLEEP_MOMENT);                                          \
            attempted = (call);                                                                    \
            atomic_store(&coopdl_self->asleep, AWAKE);                                             \
        } while (attempted < 0 && errno == EINTR && coopdl_clock() < moment);                      \
        attempted;                                                                                 \
    })

/* The same, or before expiry libc's call.  The attempt goes past libc, and so past the trap, which
 * would make one of its own. */
#define TRY(name, arguments, call)                                                                 \
    coopdl_kicked(unlikely(coopdl_cutting(coopdl_self))                                            \
                      ? (TEST_CANCEL(), ATTEMPT(coopdl_raw.name arguments))                        \
                      : coopdl_real.name arguments,                                                \
                  call)

/*
 * A call that does not wait, performed: the kernel may still answer EINTR to it
 * when a kick arrives at that very moment, and what does not wait is never cut.
 */
#define PERFORM(thread, call)                                                                      \
    __extension__({                                                                                \
        __typeof__(call) performed;                                                                \
        do                                                                                         \
            performed = (call);                                                                    \
        while (performed < 0 && errno == EINTR && coopdl_load(thread) & WORD_FIRED);               \
        performed;                                                                                 \
    })

/*
 * The cap: how long a wait may last, in ns from `now`.  It lies a millisecond
 * behind the deadline: normally the kick comes first, and with it the runtime's
 * hook; the cap is the net under a kick that was lost.  COOPDL_NEVER where the
 * thread has none, or is fired.
 */
static inline int64_t coopdl_cap(const struct coopdl_thread *thread, int64_t now)
{
    int64_t word = coopdl_load(thread);
    if (word < 0)
        return COOPDL_NEVER;
    return (word > now ? word - now : 0) + COOPDL_MILLISECOND;
}

/* A cap has run out: fires the thread if nobody has done so. */
void coopdl_capped(struct coopdl_thread *thread);

/* Whether an operation on this descriptor would wait for `events` (as for poll). */
bool coopdl_would_wait(int fd, short events);

/* Whether this descriptor is in blocking mode. */
bool coopdl_is_blocking(int fd);

/* Whether the kernel can read eight bytes there, asked without waiting. */
bool coopdl_readable(const void *address);

/* Whether the kernel can read this timespec and takes it for one, asked without waiting.  Inline,
 * since there may be two sizes of it. */
static inline bool coopdl_readable_timespec(const struct timespec *time)
{
    /* A futex that does not have the expected value never sleeps, but its timeout is read first. */
    _Atomic uint32_t word = 0;
    return time && coopdl_sys(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE, 1, time) == -EAGAIN;
}

/* Whether the kernel can read this mask; if so, `*copy` is the mask without the kick and without
 * what the trap needs. */
bool coopdl_open_mask(const sigset_t *mask, sigset_t *copy);

/*
 * The whole of a recv or send, and their relatives: `transfer` is the real call
 * with `how` for its flags.  After expiry it is made with MSG_DONTWAIT; where
 * the caller did not ask for that, and it is why nothing was moved, it is cut.
 */
#define TRANSFER(fd, flags, transfer, call)                                                        \
    {                                                                                              \
        bool cutting = coopdl_cutting(coopdl_self);                                                \
        int how = unlikely(cutting) ? (flags) | MSG_DONTWAIT : (flags);                            \
        ssize_t moved = (transfer);                                                                \
        if (unlikely(cutting) && moved < 0 && errno == EAGAIN && !((flags)&MSG_DONTWAIT) &&        \
            coopdl_is_blocking(fd))                                                                \
            return coopdl_cut(coopdl_self, call);                                                  \
        return coopdl_kicked(moved, call);                                                         \
    }

/* A duration that a call was given, in ns; COOPDL_NEVER where that does not fit. */
static inline int64_t coopdl_ns(const struct timespec *time)
{
    int64_t ns;
    return __builtin_mul_overflow((int64_t)time->tv_sec, COOPDL_SECOND, &ns) ||
                   __builtin_add_overflow(ns, (int64_t)time->tv_nsec, &ns)
               ? COOPDL_NEVER
               : ns;
}

#endif
