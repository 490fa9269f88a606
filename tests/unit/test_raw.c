/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_raw.c -- syscall() is the kernel's: before expiry down to what it writes
 * back, after expiry in what it refuses; and it is no cancellation point.
 */
#include "support.h"

#include "core/sys.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>

TestSuite(raw, .timeout = 30);

#ifdef __LP64__ /* struct timespec is that of the plain numbers */

static sigset_t none;
static struct timespec minus = {.tv_nsec = -1}, two = {.tv_sec = 2};
static struct {
    const sigset_t *mask;
    size_t size;
} pair = {&none, 16};

enum { EPOLL = 100 };
static sigset_t all;
static struct epoll_event event;
static struct {
    const sigset_t *mask;
    size_t size;
} all_pair = {&all, 8};

/* What the kernel answers without waiting. */
static const struct refused {
    const char *name;
    long number, arguments[6];
} refused[] = {
    {"ppoll, size of the mask", SYS_ppoll, {0, 0, (long)&two, (long)&none, 16}},
    {"ppoll, time", SYS_ppoll, {0, 0, (long)&minus, 0, 8}},
    {"pselect6, size of the mask", SYS_pselect6, {0, 0, 0, 0, (long)&two, (long)&pair}},
    {"pselect6, pair", SYS_pselect6, {0, 0, 0, 0, (long)&two, 16}},
    {"pselect6, time", SYS_pselect6, {0, 0, 0, 0, (long)&minus}},
    {"epoll_pwait, size of the mask", SYS_epoll_pwait, {-1, 0, 1, 2000, (long)&none, 99}},
    {"rt_sigsuspend, size of the mask", SYS_rt_sigsuspend, {(long)&none, 16}},
    {"rt_sigtimedwait, size of the set", SYS_rt_sigtimedwait, {(long)&none, 0, (long)&two, 16}},
    {"rt_sigtimedwait, time", SYS_rt_sigtimedwait, {(long)&none, 0, (long)&minus, 8}},
    {"clock_nanosleep, own time", SYS_clock_nanosleep, {CLOCK_THREAD_CPUTIME_ID, 0, (long)&two}},
    {"clock_nanosleep, clock", SYS_clock_nanosleep, {12345, 0, (long)&two}},
    {"clock_nanosleep, time", SYS_clock_nanosleep, {CLOCK_MONOTONIC, 0, (long)&minus}},
    {"wait4, options", SYS_wait4, {-1, 0, 0x40}},
    {"accept4, flags", SYS_accept4, {-1, 0, 0, 0x7fff}},
    {"semtimedop", SYS_semtimedop, {0x7fffff, 16, 1, 16}},
};

Test(raw, refused_as_by_the_kernel)
{
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        coopdl_enter(&scope, expired ? 0 : coopdl_after(3600 * COOPDL_SECOND));
        if (expired)
            await_expiry(&scope);
        for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
            const long *a = refused[i].arguments;
            long kernel = coopdl_sys6(refused[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
            long result = syscall(refused[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
            int error = errno;
            expect(kernel < 0 && result == -1 && error == -kernel, "%s, expired %d: %ld %s, %s",
                   refused[i].name, expired, result, strerror(error), strerror((int)-kernel));
        }
        coopdl_leave(&scope);
    }
}

Test(raw, what_is_left_is_written_back)
{
    coopdl_scope scope;
    struct timespec time = {.tv_nsec = 2000000};
    struct timeval old_time = {.tv_usec = 2000};
    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    expect(syscall(SYS_ppoll, NULL, 0, &time, NULL, 8) == 0);
    expect(time.tv_nsec == 0, "%ld ns left", time.tv_nsec);
    time.tv_nsec = 2000000;
    expect(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &time, NULL) == 0);
    expect(time.tv_nsec == 0, "%ld ns left", time.tv_nsec);
#ifdef SYS_select
    expect(syscall(SYS_select, 0, NULL, NULL, NULL, &old_time) == 0);
    expect(old_time.tv_usec == 0, "%ld us left", (long)old_time.tv_usec);
#endif
    (void)old_time;
    coopdl_leave(&scope);
}

/* A loop that ignores errors is told in the end that its time has run out, and has none left. */
Test(raw, nothing_is_left_in_the_end)
{
    coopdl_scope scope;
    struct timespec time = two;
    int rounds = 0;
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    while (syscall(SYS_ppoll, NULL, 0, &time, NULL, 8) != 0)
        rounds++;
    expect(rounds == 4 && time.tv_sec == 0 && time.tv_nsec == 0, "%d rounds, %ld s left", rounds,
           (long)time.tv_sec);
    coopdl_leave(&scope);
}

/* Each cut counts, also where a wrapper's follows: EINTR is told once. */
Test(raw, cuts_are_counted)
{
    coopdl_scope scope;
    char byte;
    int fd = silent_pipe();
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    expect(syscall(SYS_read, fd, &byte, 1) == -1 && errno == EINTR);
    expect(read(fd, &byte, 1) == -1 && errno == ETIMEDOUT);
    expect(syscall(SYS_read, fd, &byte, 1) == -1 && errno == ETIMEDOUT);
    coopdl_leave(&scope);
}

/* Each waits for nothing with every signal blocked, and is kicked all the same. */
static const struct masked {
    const char *name;
    long number, arguments[6];
} masked[] = {
    {"ppoll", SYS_ppoll, {0, 0, (long)&two, (long)&all, 8}},
    {"pselect6", SYS_pselect6, {0, 0, 0, 0, (long)&two, (long)&all_pair}},
    {"epoll_pwait", SYS_epoll_pwait, {EPOLL, (long)&event, 1, 2000, (long)&all, 8}},
};

Test(raw, a_mask_does_not_keep_the_kick_out)
{
    sigfillset(&all);
    cr_assert(dup2(epoll_create1(0), EPOLL) == EPOLL);
    for (size_t i = 0; i < sizeof(masked) / sizeof(masked[0]); i++) {
        const long *a = masked[i].arguments;
        coopdl_scope scope;
        int64_t deadline = coopdl_after(50 * MS);
        coopdl_enter(&scope, deadline);
        long result = syscall(masked[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
        int error = errno;
        int64_t late = coopdl_now() - deadline;
        coopdl_leave(&scope);
        expect(result == -1 && error == EINTR, "%s: %ld, %s", masked[i].name, result,
               strerror(error));
        expect(late >= 0 && late < 1500 * MS, "%s: %ld ms late", masked[i].name, (long)(late / MS));
    }
}

static volatile int came_through;

static void *cancelled_before(void *expired)
{
    coopdl_scope scope;
    char byte;
    int fd = silent_pipe();
    coopdl_enter(&scope, expired ? 0 : coopdl_after(50 * MS));
    if (expired)
        await_expiry(&scope);
    pthread_cancel(pthread_self());
    came_through = 1;
    if (syscall(SYS_read, fd, &byte, 1) == -1 && errno == EINTR)
        came_through = 2;
    if (syscall(SYS_poll, NULL, 0, 2000) == -1 && errno == ETIMEDOUT)
        came_through = 3;
    syscall(SYS_close, fd);
    coopdl_leave(&scope);
    pthread_testcancel();
    return NULL;
}

Test(raw, no_cancellation_point)
{
    for (int expired = 0; expired < 2; expired++) {
        pthread_t thread;
        void *result = NULL;
        came_through = 0;
        cr_assert(pthread_create(&thread, NULL, cancelled_before, expired ? &none : NULL) == 0);
        cr_assert(pthread_join(thread, &result) == 0);
        cr_expect(result == PTHREAD_CANCELED);
        cr_expect(came_through == 3, "expired %d: %d", expired, came_through);
    }
}

#endif
