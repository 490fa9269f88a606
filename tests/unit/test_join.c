/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_join.c -- an expired thread that waits for another lends it the deadline.
 *
 * No wait in here ends by itself: a loan that is lost hangs, and the suite's time
 * is up.
 */
#include "cancel.h"
#include "support.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <threads.h>
#include <time.h>

TestSuite(join, .timeout = 30);

/* Reads again and again until that fails for good; then waits, if it is to, for another. */
struct reader {
    pthread_t thread, awaits;
    bool in_scope, in_chain;
    int error;
    int64_t ended;
    _Atomic int seen, go_on, clean;
};

static void *read_until_it_fails(void *argument)
{
    struct reader *r = argument;
    coopdl_scope scope;
    int fd = silent_pipe();
    if (r->in_scope)
        coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    atomic_store(&r->seen, 1);
    if (r->in_chain)
        pthread_join(r->awaits, NULL);
    else
        while ((r->error = read_errno(fd)) == EINTR)
            ;
    r->ended = coopdl_now();
    if (r->in_scope)
        coopdl_leave(&scope);
    close(fd);
    return r;
}

static void start(struct reader *r)
{
    cr_assert(pthread_create(&r->thread, NULL, read_until_it_fails, r) == 0);
    while (!atomic_load(&r->seen))
        sched_yield();
}

/* Every way to wait, told how. */
static int by_join(struct reader *r, void **value)
{
    return pthread_join(r->thread, value);
}

static int by_timedjoin(struct reader *r, void **value)
{
    struct timespec until = {.tv_sec = time(NULL) + 3600};
    return pthread_timedjoin_np(r->thread, value, &until);
}

static int by_clockjoin(struct reader *r, void **value)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 3600;
    return pthread_clockjoin_np(r->thread, value, CLOCK_MONOTONIC, &until);
}

static int (*const ways[])(struct reader *, void **) = {by_join, by_timedjoin, by_clockjoin};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

Test(join, ends_by_the_deadline)
{
    /* The other has a record or not; the deadline passes during the wait, or before. */
    for (int i = 0; i < WAYS; i++)
        for (int variant = 0; variant < 4; variant++) {
            struct reader r = {.in_scope = variant & 1};
            coopdl_scope scope;
            void *value = NULL;
            start(&r);
            int64_t deadline = coopdl_after(variant & 2 ? 0 : 50 * MS);
            coopdl_enter(&scope, deadline);
            int result = ways[i](&r, &value);
            assert_on_time(deadline, "joined");
            expect(result == 0 && value == &r, "%d", result);
            expect(r.error == ETIMEDOUT && r.ended >= deadline, "%d", r.error);
            coopdl_leave(&scope);
        }
    cr_expect(poll(NULL, 0, 20) == 0);
}

static int read_c11(void *argument)
{
    read_until_it_fails(argument);
    return 7;
}

Test(join, by_the_names_of_c11)
{
    struct reader r = {0};
    coopdl_scope scope;
    thrd_t thread;
    int result = 0;
    cr_assert(thrd_create(&thread, read_c11, &r) == thrd_success);
    int64_t deadline = coopdl_after(50 * MS);
    coopdl_enter(&scope, deadline);
    int error = thrd_join(thread, &result);
    assert_on_time(deadline, "joined");
    expect(error == thrd_success && result == 7);
    coopdl_leave(&scope);
}

Test(join, hands_on_what_was_lent)
{
    enum { LINKS = 4 };
    struct reader chain[LINKS] = {{0}};
    coopdl_scope scope;
    for (int i = 0; i < LINKS; i++) {
        chain[i].in_chain = i > 0;
        chain[i].awaits = chain[i ? i - 1 : 0].thread;
        start(&chain[i]);
    }
    int64_t deadline = coopdl_after(50 * MS);
    coopdl_enter(&scope, deadline);
    pthread_join(chain[LINKS - 1].thread, NULL);
    assert_on_time(deadline, "joined");
    expect(chain[0].error == ETIMEDOUT && chain[0].ended >= deadline);
    coopdl_leave(&scope);
}

/* Reads until it is told to go on, whatever the errors; then nothing is to disturb it. */
static void *outlast(void *argument)
{
    struct reader *r = argument;
    int fd = silent_pipe();
    atomic_store(&r->seen, 1);
    while (!atomic_load(&r->go_on))
        if (read_errno(fd) == ETIMEDOUT)
            r->error = ETIMEDOUT;
    atomic_store(&r->clean, poll(NULL, 0, 100) == 0 && coopdl_deadline() == COOPDL_NEVER ? 1 : 2);
    close(fd);
    return NULL;
}

Test(join, what_was_lent_is_taken_back)
{
    /* Of two waits: one that is over before the deadline, one that is behind it. */
    struct reader r = {0};
    coopdl_scope scope;
    struct timespec until;
    cr_assert(pthread_create(&r.thread, NULL, outlast, &r) == 0);
    while (!atomic_load(&r.seen))
        sched_yield();
    coopdl_enter(&scope, coopdl_after(50 * MS));
    for (int i = 0; i < 2; i++) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += i ? 200 * MS : 0;
        until.tv_sec += until.tv_nsec / COOPDL_SECOND;
        until.tv_nsec %= COOPDL_SECOND;
        int result = pthread_timedjoin_np(r.thread, NULL, &until);
        expect(result == ETIMEDOUT, "%d", result);
    }
    expect(coopdl_leave(&scope) == 1);
    cr_expect(r.error == ETIMEDOUT);
    atomic_store(&r.go_on, 1);
    /* The read that it is in has no deadline now. */
    cr_expect(coopdl_lend(gettid(), COOPDL_NEVER) == 0);
    coopdl_enter(&scope, coopdl_after(20 * MS));
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    while (!atomic_load(&r.clean) && pthread_timedjoin_np(r.thread, NULL, &until) == 0)
        ;
    coopdl_leave(&scope);
    cr_expect(r.clean != 0);
}

static struct reader bystander;

Test(join, a_bystander_and_a_shield_are_left_alone)
{
    struct reader r = {0};
    coopdl_scope scope, shield;
    struct timespec until;
    cr_assert(pthread_create(&r.thread, NULL, outlast, &r) == 0);
    cr_assert(pthread_create(&bystander.thread, NULL, outlast, &bystander) == 0);
    while (!atomic_load(&r.seen) || !atomic_load(&bystander.seen))
        sched_yield();
    coopdl_enter(&scope, coopdl_after(10 * MS));
    coopdl_shield(&shield);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100 * MS;
    until.tv_sec += until.tv_nsec / COOPDL_SECOND;
    until.tv_nsec %= COOPDL_SECOND;
    pthread_timedjoin_np(r.thread, NULL, &until);
    coopdl_leave(&shield);
    coopdl_leave(&scope);
    cr_expect(r.error == 0 && bystander.error == 0);
}

static pthread_t endless;

static void *sleep_for_ever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

/* Before the deadline for an hour; after it in slices, so that there is a second one. */
static int join_endless(void)
{
    struct timespec until;
    int64_t wait = coopdl_remaining() ? 3600 * COOPDL_SECOND : 5 * MS;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += wait % COOPDL_SECOND;
    until.tv_sec += wait / COOPDL_SECOND + until.tv_nsec / COOPDL_SECOND;
    until.tv_nsec %= COOPDL_SECOND;
    return pthread_timedjoin_np(endless, NULL, &until);
}

Test(join, can_be_cancelled)
{
    cr_assert(pthread_create(&endless, NULL, sleep_for_ever, NULL) == 0);
    assert_cancellable(join_endless, "pthread_timedjoin_np");
}

#ifndef __SANITIZE_ADDRESS__ /* from gcc 14 on it ends a process that joins these threads */
Test(join, tells_what_libc_tells)
{
    pthread_t self = pthread_self(), detached;
    coopdl_scope scope;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    cr_assert(pthread_create(&detached, &attributes, sleep_for_ever, NULL) == 0);
    for (int expired = 0; expired < 2; expired++) {
        coopdl_enter(&scope, expired ? 0 : coopdl_after(3600 * COOPDL_SECOND));
        expect(pthread_join(self, NULL) == EDEADLK);
        expect(pthread_join(detached, NULL) == EINVAL);
        coopdl_leave(&scope);
    }
}
#endif

/* Many short waits whose deadline comes at any moment. */
Test(join, races)
{
    for (int round = 0; round < 300; round++) {
        struct reader r = {.in_scope = round & 1};
        coopdl_scope scope;
        cr_assert(pthread_create(&r.thread, NULL, read_until_it_fails, &r) == 0);
        coopdl_enter(&scope, coopdl_after((int64_t)(round % 30) * 10 * COOPDL_MICROSECOND));
        expect(pthread_join(r.thread, NULL) == 0);
        coopdl_leave(&scope);
        cr_assert(r.error == ETIMEDOUT);
        cr_assert(poll(NULL, 0, 0) == 0 && coopdl_deadline() == COOPDL_NEVER);
    }
    cr_expect(poll(NULL, 0, 20) == 0);
}
