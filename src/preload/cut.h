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

/* The results of a cut call.  ESCALATES: EINTR and then ETIMEDOUT.  TIMED: the same, and after some
 * cuts 0, as if its own timeout had run out.  EINTR: always EINTR. */
enum coopdl_result { RESULT_ESCALATES, RESULT_TIMED, RESULT_EINTR };

/* Cuts a call that would wait: counts the cut, pauses, and returns the errno that the call fails
 * with.  `sleep`: as for coopdl_pause_due.  `trapped`: the trap cuts, perhaps inside a wrapper's
 * call. */
int coopdl_cut_result(struct coopdl_thread *thread, const char *call, enum coopdl_result result,
                      int64_t sleep, bool trapped);

/* How many ns the caller is to pause by its own means before the next cut.  The cut is counted
 * here, so coopdl_cut_result is then called with 0 for `sleep`. */
int64_t coopdl_next_pause(struct coopdl_thread *thread, int64_t sleep, bool trapped);

/* The wrapped calls are cancellation points, also where the real call is not made.  Calls that libc
 * makes inside may be none, and libc may rely on that: so under the trap no call is a cancellation
 * point. */
#ifdef COOPDL_TRAPPED
#define UNDER_TRAP true
#define TEST_CANCEL() ((void)0)
#else
#define UNDER_TRAP false
#define TEST_CANCEL() pthread_testcancel()
#endif

/* A call that is measured returns into measure.c, which knows the program's return address. */
static inline const void *coopdl_program_at(const void *caller)
{
    const void *from = coopdl_self ? coopdl_self->measured_from : NULL;
    return unlikely(from) ? from : caller;
}

/* The address to which the function that uses this returns.  In a wrapper it is the program's,
 * since wrappers end in calls that the compiler turns into jumps.  Elsewhere it is a wrapper's, and
 * the caller is not known.  Only the way to a cut reads it.  Under the trap it is the address of
 * the system call. */
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

/* On the way to a cut: sets the target of the call, and its caller. */
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

/* The same for a wait of which `left` ns of its own timeout are left, or COOPDL_NEVER.  It fails
 * with EINTR.  If its timeout ends soon after the pause, it pauses until then.  So it makes no more
 * calls than other waits, and is not late either. */
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

/* The same for the few calls that are no cancellation points; `fd` negative: the call has no
 * descriptor. */
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

/* The call was kicked out of its wait: it is cut. */
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

/* A call has failed that may be on a descriptor: the kick's handler knows on which. */
__attribute__((noinline, cold, unused)) static ssize_t
coopdl_failed(const char *call, enum coopdl_object object, const void *caller)
{
    if (!coopdl_was_kicked())
        return -1;
    coopdl_interrupted(coopdl_self, object);
    return coopdl_ended(call, caller);
}

/* The real call has returned `result`; its first argument is a descriptor if that is its `object`.
 * If the call was kicked out of its wait, it is cut. */
#define coopdl_kicked(result, object, call)                                                        \
    __extension__({                                                                                \
        ssize_t returned = (result);                                                               \
        likely(returned >= 0) ? returned : coopdl_failed(call, object, COOPDL_CALLER);             \
    })

/* The same for a wrapper that has kept the target of the call: `on` sets it. */
#define coopdl_kicked_on(result, on, call)                                                         \
    __extension__({                                                                                \
        ssize_t returned = (result);                                                               \
        if (unlikely(returned < 0) && coopdl_was_kicked()) {                                       \
            (on);                                                                                  \
            returned = coopdl_ended(call, COOPDL_CALLER);                                          \
        }                                                                                          \
        returned;                                                                                  \
    })

/* How often this thread has slept in the kernel. */
long coopdl_sleeps(void);

/* After expiry, a call that may or may not wait, which cannot be found out before: it is performed,
 * and kicked if it does not return in a moment.  A kick that comes sooner was for something else.
 * So was one that found the call as it waited for a processor: it had not slept. */
#define ATTEMPT(call)                                                                              \
    __extension__({                                                                                \
        int64_t moment = coopdl_clock() + COOPDL_FIRST_BACKOFF / 2;                                \
        long sleeps = coopdl_sleeps();                                                             \
        __typeof__(call) attempted;                                                                \
        do {                                                                                       \
            coopdl_kick_soon(coopdl_self, ASLEEP_MOMENT);                                          \
            attempted = (call);                                                                    \
            atomic_store(&coopdl_self->asleep, AWAKE);                                             \
        } while (attempted < 0 && errno == EINTR &&                                                \
                 (coopdl_clock() < moment || coopdl_sleeps() == sleeps));                          \
        attempted;                                                                                 \
    })

/* ATTEMPT after expiry, and libc's call before it.  The attempt is a raw system call, so that the
 * trap does not see it and attempt it once more. */
#define TRIED(name, arguments)                                                                     \
    (unlikely(coopdl_cutting(coopdl_self)) ? (TEST_CANCEL(), ATTEMPT(coopdl_raw.name arguments))   \
                                           : coopdl_real.name arguments)

#define TRY(name, arguments, object, call) coopdl_kicked(TRIED(name, arguments), object, call)

/* Performs a call that does not wait.  The kernel may fail it with EINTR all the same, when a kick
 * arrives at that moment: then it is made again, since a call that does not wait is never cut. */
#define PERFORM(thread, call)                                                                      \
    __extension__({                                                                                \
        __typeof__(call) performed;                                                                \
        do                                                                                         \
            performed = (call);                                                                    \
        while (performed < 0 && errno == EINTR && coopdl_load(thread) & WORD_FIRED);               \
        performed;                                                                                 \
    })

/* The cap: how long a wait may last, in ns from `now`.  It lies a millisecond after the deadline:
 * normally the kick comes first, and with it the runtime's hook.  The cap serves where a kick was
 * lost.  COOPDL_NEVER where the thread has no deadline, or is fired. */
static inline int64_t coopdl_cap(const struct coopdl_thread *thread, int64_t now)
{
    int64_t word = coopdl_load(thread);
    if (word < 0)
        return COOPDL_NEVER;
    return (word > now ? word - now : 0) + COOPDL_MILLISECOND;
}

/* A cap has run out: fires the thread if the watcher has not. */
void coopdl_capped(struct coopdl_thread *thread);

/* Whether an operation on this descriptor would wait for `events` (as for poll). */
bool coopdl_would_wait(int fd, short events);

/* A read has found the end of file: whether it is cut all the same, since the thread has expired
 * and the writer may have ended by the same budget (core/ending.c). */
bool coopdl_end_is_cut(int fd);

/* A read has found the end of file: whether it fails with ECONNRESET, since a hang-up has made that
 * end and no other read has told (core/hangup.h).  `consumed`: this read tells. */
bool coopdl_end_is_reset(int fd, bool consumed);

/* What a read that has found the end of file gives: `cut`, an error, or 0. */
#define END_OF_FILE(fd, consumed, cut)                                                             \
    (coopdl_end_is_cut(fd) ? (cut) : coopdl_end_is_reset(fd, consumed) ? -1 : 0)

/* Whether this descriptor is in blocking mode. */
bool coopdl_is_blocking(int fd);

/* Whether the kernel can read, or write, so many bytes at this address; the memory is not changed.
 */
bool coopdl_readable(const void *address, size_t size);
bool coopdl_writable(void *address, size_t size);

/* Whether the kernel accepts these vectors, and they hold at least one byte. */
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

/* The body of recv, send and the like: `transfer` is the real call with `how` for its flags.  After
 * expiry it is made with MSG_DONTWAIT, and is cut if nothing was moved only because of that flag.
 * `end`: whether 0 means the end of file, as it does for a receiver. */
#define TRANSFER(fd, flags, transfer, end, call)                                                   \
    {                                                                                              \
        bool cutting = coopdl_cutting(coopdl_self);                                                \
        int how = unlikely(cutting) ? (flags) | MSG_DONTWAIT : (flags);                            \
        ssize_t moved = (transfer);                                                                \
        if (unlikely(cutting) && moved < 0 && errno == EAGAIN && !((flags)&MSG_DONTWAIT) &&        \
            coopdl_is_blocking(fd))                                                                \
            return coopdl_cut_on(coopdl_self, fd, call);                                           \
        if (unlikely(moved == 0) && (end))                                                         \
            return END_OF_FILE(fd, !((flags)&MSG_PEEK), coopdl_cut_on(coopdl_self, fd, call));     \
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
