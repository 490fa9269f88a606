/* SPDX-License-Identifier: Apache-2.0 */
/* cut.h -- when a call is capped, what would wait, and how a call is cut. */
#ifndef COOPDL_PRELOAD_CUT_H
#define COOPDL_PRELOAD_CUT_H

#include "core/clock.h"
#include "core/evidence.h"
#include "core/futex.h"
#include "core/hangup.h"
#include "core/pause.h"
#include "core/sys.h"
#include "core/thread.h"
#include "core/tick.h"
#include "preload/real.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

/* What a call can be told: EINTR and then ETIMEDOUT; the same and in the end 0, that its own time
 * is over; nothing but EINTR ever. */
enum coopdl_result { RESULT_ESCALATES, RESULT_TIMED, RESULT_EINTR };

/* Cuts a call that would wait: the errno that it fails with.  `sleep`: as for coopdl_pause_due.
 * `trapped`: by the trap, perhaps inside a wrapper's call. */
int coopdl_cut_result(struct coopdl_thread *thread, const char *call, enum coopdl_result result,
                      int64_t sleep, bool trapped);

/* For how many ns the next call to be cut is to pause first, by its own means; it is counted, and
 * is then to be told with 0 for `sleep`. */
int64_t coopdl_next_pause(struct coopdl_thread *thread, int64_t sleep, bool trapped);

/* The wrapped calls are cancellation points, also where the real one is not reached.  What libc
 * does inside itself may be none, and may rely on that: nothing is one under the trap. */
#ifdef COOPDL_TRAPPED
#define UNDER_TRAP true
#define TEST_CANCEL() ((void)0)
#else
#define UNDER_TRAP false
#define TEST_CANCEL() pthread_testcancel()
#endif

/* A call that is measured returns to us, and we know to whom then. */
static inline const void *coopdl_program_at(const void *caller)
{
    const void *from = coopdl_self ? coopdl_self->measured_from : NULL;
    return unlikely(from) ? from : caller;
}

/* To whom the function returns that this is used in: the program, since the wrappers end in calls
 * that the compiler makes jumps; elsewhere it is a wrapper, and nobody is known.  Only the way to a
 * cut reads it.  Under the trap it is where the system call was made. */
#define COOPDL_RETURNS_TO __builtin_extract_return_addr(__builtin_return_address(0))
#define COOPDL_CALLER coopdl_called_from(COOPDL_RETURNS_TO)

static inline const void *coopdl_called_from(const void *returns_to)
{
#ifdef COOPDL_TRAPPED
    (void)returns_to;
    return coopdl_self->trapped_at;
#else
    return coopdl_program_at(returns_to);
#endif
}

/* On the way to a cut: what the call is on; a function of the wrapper's frame says its caller. */
static inline void coopdl_on(struct coopdl_thread *thread, enum coopdl_object object, long a)
{
    thread->place.object = object;
    thread->place.a = a;
}

static inline void coopdl_from(struct coopdl_thread *thread, const void *caller)
{
    thread->place.caller = caller;
}

#define coopdl_cut_sleep(thread, call, result, sleep)                                              \
    (coopdl_from(thread, COOPDL_CALLER), coopdl_cut_a_sleep(thread, call, result, sleep))
#define coopdl_cut_errno(thread, call, result) coopdl_cut_sleep(thread, call, result, COOPDL_NEVER)
#define coopdl_cut(thread, call) (coopdl_from(thread, COOPDL_CALLER), coopdl_cut_here(thread, call))
#define coopdl_cut_at(thread, fd, call)                                                            \
    (coopdl_on(thread, ON_DESCRIPTOR, fd), coopdl_cut(thread, call))
#define coopdl_cut_on(thread, fd, call)                                                            \
    (coopdl_from(thread, COOPDL_CALLER), coopdl_cut_on_it(thread, fd, call))
#define coopdl_cut_uncancelled(thread, fd, call)                                                   \
    (coopdl_from(thread, COOPDL_CALLER), coopdl_cut_uncancelled_on(thread, fd, call))

static inline int coopdl_cut_a_sleep(struct coopdl_thread *thread, const char *call,
                                     enum coopdl_result result, int64_t sleep)
{
    TEST_CANCEL();
    return coopdl_cut_result(thread, call, result, sleep, UNDER_TRAP);
}

/* The same for a wait of which `left` ns of its own timeout are left, or COOPDL_NEVER: it fails
 * with EINTR, and pauses until that timeout is over where it is over soon.  So it makes no more
 * calls than others do, and is not late either. */
static inline int coopdl_cut_wait(struct coopdl_thread *thread, const char *call, int64_t left)
{
    TEST_CANCEL();
    int64_t pause = coopdl_next_pause(thread, COOPDL_NEVER, UNDER_TRAP);
    if (pause && left >= pause && left < 2 * pause)
        pause = left;
    coopdl_pause(thread, pause);
    return coopdl_cut_result(thread, call, RESULT_EINTR, 0, UNDER_TRAP);
}

/* The same for a call that returns -1 and sets errno. */
static inline int coopdl_cut_here(struct coopdl_thread *thread, const char *call)
{
    errno = coopdl_cut_a_sleep(thread, call, RESULT_ESCALATES, COOPDL_NEVER);
    return -1;
}

/* The same for a call on a descriptor that may be a socket. */
__attribute__((noinline, cold, unused)) static int coopdl_cut_on_it(struct coopdl_thread *thread,
                                                                    int fd, const char *call)
{
    coopdl_on(thread, ON_DESCRIPTOR, fd);
    coopdl_cut_here(thread, call);
    if (coopdl_socket_cut(fd) && coopdl_hangup_due(thread))
        coopdl_hang_up(fd);
    return -1;
}

/* The same for the few that are no cancellation points; `fd` negative: it is on none. */
static inline int coopdl_cut_uncancelled_on(struct coopdl_thread *thread, int fd, const char *call)
{
    coopdl_on(thread, fd < 0 ? ON_NOTHING : ON_DESCRIPTOR, fd);
#ifdef COOPDL_TRAPPED
    return coopdl_cut_here(thread, call);
#else
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    int result = coopdl_cut_here(thread, call);
    pthread_setcancelstate(state, NULL);
    return result;
#endif
}

/* Whether a call that has failed was kicked out of its wait, or may have been. */
static inline bool coopdl_was_kicked(void)
{
    return errno == EINTR && coopdl_load(coopdl_self) & WORD_FIRED;
}

/* It was: it is cut. */
__attribute__((noinline, cold, unused)) static ssize_t coopdl_ended(const char *call,
                                                                    const void *caller)
{
    struct coopdl_thread *thread = coopdl_self;
    coopdl_from(thread, caller);
    if (coopdl_cutting(thread))
        return coopdl_cut_here(thread, call);
    coopdl_note_kicked(thread, call);
    return -1;
}

/* A call has failed, which may be on a descriptor: the kick's handler knows on which. */
__attribute__((noinline, cold, unused)) static ssize_t
coopdl_failed(const char *call, enum coopdl_object object, const void *caller)
{
    if (!coopdl_was_kicked())
        return -1;
    coopdl_interrupted(coopdl_self, object);
    return coopdl_ended(call, caller);
}

/* The real call, whose first argument is a descriptor if that is its `object`, has returned
 * `result`: one that was kicked out of its wait is cut. */
#define coopdl_kicked(result, object, call)                                                        \
    __extension__({                                                                                \
        ssize_t returned = (result);                                                               \
        likely(returned >= 0) ? returned : coopdl_failed(call, object, COOPDL_CALLER);             \
    })

/* The same, where the wrapper has kept what the call is on, and says it by `on`. */
#define coopdl_kicked_on(result, on, call)                                                         \
    __extension__({                                                                                \
        ssize_t returned = (result);                                                               \
        if (unlikely(returned < 0) && coopdl_was_kicked()) {                                       \
            (on);                                                                                  \
            returned = coopdl_ended(call, COOPDL_CALLER);                                          \
        }                                                                                          \
        returned;                                                                                  \
    })

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
#define TRIED(name, arguments)                                                                     \
    (unlikely(coopdl_cutting(coopdl_self)) ? (TEST_CANCEL(), ATTEMPT(coopdl_raw.name arguments))   \
                                           : coopdl_real.name arguments)

#define TRY(name, arguments, object, call) coopdl_kicked(TRIED(name, arguments), object, call)

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

/* A read has found the end of file: whether it is cut all the same, since the thread has expired
 * and its writer may have ended by the same budget (core/ending.c). */
bool coopdl_end_is_cut(int fd);

/* Whether this descriptor is in blocking mode. */
bool coopdl_is_blocking(int fd);

/* Whether the kernel can read, or write, so many bytes there; nothing is changed. */
bool coopdl_readable(const void *address, size_t size);
bool coopdl_writable(void *address, size_t size);

/* Whether the kernel takes these for what is to be moved, and that is anything at all. */
bool coopdl_moves(const struct iovec *iov, int n);

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
 * `end`: whether 0 is the end of file, as it is for whoever receives.
 */
#define TRANSFER(fd, flags, transfer, end, call)                                                   \
    {                                                                                              \
        bool cutting = coopdl_cutting(coopdl_self);                                                \
        int how = unlikely(cutting) ? (flags) | MSG_DONTWAIT : (flags);                            \
        ssize_t moved = (transfer);                                                                \
        if (unlikely(cutting) && moved < 0 && errno == EAGAIN && !((flags)&MSG_DONTWAIT) &&        \
            coopdl_is_blocking(fd))                                                                \
            return coopdl_cut_on(coopdl_self, fd, call);                                           \
        if (unlikely(moved == 0) && coopdl_end_is_cut(fd) && (end))                                \
            return coopdl_cut_on(coopdl_self, fd, call);                                           \
        return coopdl_kicked(moved, ON_DESCRIPTOR, call);                                          \
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
