/* SPDX-License-Identifier: Apache-2.0 */
/* test_thread.c -- threads that come and go, inside scopes and out of them. */
#include "support.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>

TestSuite(thread, .timeout = 60);

static void *exit_inside(void *deadline)
{
    coopdl_scope *scope = malloc(sizeof(*scope)), inner;
    coopdl_enter(scope, *(int64_t *)deadline);
    coopdl_enter(&inner, coopdl_after(3600 * COOPDL_SECOND));
    pthread_exit(scope);
}

Test(thread, ends_inside_a_scope)
{
    /* Before its deadline, at it, and after it. */
    for (int round = 0; round < 300; round++) {
        pthread_t thread;
        void *scope;
        int64_t deadline = coopdl_after(round % 100 * COOPDL_MICROSECOND);
        cr_assert(pthread_create(&thread, NULL, exit_inside, &deadline) == 0);
        pthread_join(thread, &scope);
        free(scope);
    }
    expect(poll(NULL, 0, 20) == 0, "nothing of them reaches this thread");
}

static void *enter_first(void *ready)
{
    atomic_int *count = ready;
    coopdl_scope scope;
    atomic_fetch_add(count, 1);
    while (atomic_load(count) < 2)
        ;
    return coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND)) == 0 ? NULL : ready;
}

static int first_scopes(void)
{
    pthread_t threads[2];
    atomic_int ready = 0;
    int failed = 0;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, enter_first, &ready) != 0)
            return 2;
    for (int i = 0; i < 2; i++) {
        void *result;
        pthread_join(threads[i], &result);
        failed |= result != NULL;
    }
    return failed;
}

/* The one installs what both need. */
Test(thread, the_first_scopes_of_a_process_at_once)
{
    for (int round = 0; round < 300; round++) {
        pid_t child = fork();
        cr_assert(child >= 0);
        if (child == 0)
            _exit(first_scopes());
        cr_assert(status_of(child) == 0, "round %d", round);
    }
}

static void *wrong(const char *what)
{
    return (void *)(uintptr_t)what;
}

static void *clean(void *fd)
{
    /* Whatever the record's last owner left must not be seen: neither a deadline nor a kick. */
    struct pollfd pollfd = {.fd = *(int *)fd, .events = POLLIN};
    coopdl_scope scope;
    if (coopdl_deadline() != COOPDL_NEVER)
        return wrong("a deadline");
    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    if (poll(&pollfd, 1, 2) != 0)
        return wrong("a kick");
    if (coopdl_leave(&scope) != 0)
        return wrong("an expiry");
    return NULL;
}

Test(thread, records_are_recycled)
{
    enum { AT_ONCE = 150 }; /* more than one slab */
    int fd = silent_pipe();
    for (int round = 0; round < 6; round++) {
        pthread_t threads[AT_ONCE];
        int64_t now = coopdl_after(0);
        for (int i = 0; i < AT_ONCE; i++)
            cr_assert(pthread_create(&threads[i], NULL, round % 2 ? clean : exit_inside,
                                     round % 2 ? (void *)&fd : (void *)&now) == 0);
        for (int i = 0; i < AT_ONCE; i++) {
            void *left;
            pthread_join(threads[i], &left);
            if (round % 2)
                cr_assert(!left, "round %d: %s was left over", round, (char *)left);
            else
                free(left);
        }
    }
}

static void *cut_once(void *deadline)
{
    coopdl_scope scope;
    int64_t due = *(int64_t *)deadline, begun = coopdl_now();
    coopdl_enter(&scope, due);
    int error = read_errno(silent_pipe());
    int64_t late = coopdl_now() - (due > begun ? due : begun); /* it may be started late itself */
    coopdl_leave(&scope);
    return wrong(error != EINTR ? "not cut" : late < 0 ? "early" : late > LATEST ? "late" : NULL);
}

Test(thread, each_has_its_own)
{
    enum { THREADS = 20 };
    pthread_t threads[THREADS];
    int64_t deadlines[THREADS];
    for (int i = 0; i < THREADS; i++) {
        deadlines[i] = coopdl_after(5 * MS * (THREADS - i));
        cr_assert(pthread_create(&threads[i], NULL, cut_once, &deadlines[i]) == 0);
    }
    expect(poll(NULL, 0, 120) == 0, "a thread without a scope is never kicked");
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        expect(!bad, "thread %d: %s", i, (char *)bad);
    }
}

/* More than one slab of records holds; each thread is due in an order of its own, so that a slab's
 * first deadline changes with every cut, and the last ones come while the first are kicked. */
Test(thread, hundreds_have_their_own)
{
    enum { THREADS = 200, STRIDE = 77 };
    pthread_t threads[THREADS];
    int64_t deadlines[THREADS], begun = coopdl_after(50 * MS);
    for (int i = 0; i < THREADS; i++) {
        deadlines[i] = begun + MS * (i * STRIDE % THREADS);
        cr_assert(pthread_create(&threads[i], NULL, cut_once, &deadlines[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        expect(!bad, "thread %d: %s", i, (char *)bad);
    }
}

static void *block_all_and_wait(void *unused)
{
    int64_t deadline = coopdl_after(20 * MS);
    (void)unused;
    return cut_once(&deadline);
}

Test(thread, started_with_all_signals_blocked)
{
    sigset_t all, before;
    pthread_t thread;
    void *bad;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&thread, NULL, block_all_and_wait, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_join(thread, &bad);
    expect(!bad, "%s", (char *)bad);
}

static bool unwound;

static void unwind(void *scope)
{
    unwound = coopdl_leave(scope) >= 0;
}

static void *cancelled_in_read(void *fd)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    pthread_cleanup_push(unwind, &scope);
    read_errno(*(int *)fd);
    pthread_cleanup_pop(1);
    return NULL;
}

/* libc sends every thread a signal of its own and waits for the answers: the library's too. */
Test(thread, setuid_reaches_all_threads)
{
    coopdl_scope scope;
    cr_assert(coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND)) == 0);
    cr_expect(setuid(getuid()) == 0);
    cr_expect(setgid(getgid()) == 0);
    cr_expect(coopdl_leave(&scope) == 0);
}

Test(thread, cancelled_in_a_wrapper)
{
    int fd = silent_pipe();
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, cancelled_in_read, &fd);
    poll(NULL, 0, 20);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    expect(result == PTHREAD_CANCELED);
    expect(unwound, "the cancelled thread left its scope");
}
