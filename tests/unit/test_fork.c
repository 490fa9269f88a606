/* SPDX-License-Identifier: Apache-2.0 */
/* test_fork.c -- fork and vfork, inside a scope. */
#include "emulator.h"
#include "support.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <utmp.h>

TestSuite(fork, .timeout = 30);

#define CHILD_ASSERT(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(2, "child, line %d: %s (errno %d)\n", __LINE__, #condition, errno);            \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static bool in_time(int64_t deadline)
{
    int64_t late = coopdl_now() - deadline;
    return late >= 0 && late < LATEST;
}

Test(fork, child_keeps_the_scope)
{
    coopdl_scope scope;
    int fd = silent_pipe();
    int64_t deadline = coopdl_after(100 * MS);
    coopdl_enter(&scope, deadline);
    pid_t child = fork();
    if (child == 0) {
        CHILD_ASSERT(read_errno(fd) == EINTR);
        CHILD_ASSERT(in_time(deadline));
        CHILD_ASSERT(read_errno(fd) == ETIMEDOUT);
        CHILD_ASSERT(poll(NULL, 0, 1000) < 0 && errno == ETIMEDOUT);
        CHILD_ASSERT(coopdl_leave(&scope) == 1);
        CHILD_ASSERT(poll(NULL, 0, 150) == 0); /* no visit, no timer is left */
        _exit(0);
    }
    cr_expect(read_errno(fd) == EINTR);
    assert_on_time(deadline, "parent");
    cr_expect(coopdl_leave(&scope) == 1);
    cr_expect(status_of(child) == 0);
}

Test(fork, child_leaves_in_time)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(500 * MS));
    pid_t child = fork();
    if (child == 0) {
        CHILD_ASSERT(coopdl_leave(&scope) == 0);
        CHILD_ASSERT(poll(NULL, 0, 600) == 0); /* the inherited deadline passes in here */
        _exit(0);
    }
    coopdl_leave(&scope);
    cr_expect(status_of(child) == 0);
}

/* A thread that starts allocates under AddressSanitizer, with a lock that fork copies: a child that
 * starts a thread would wait for that lock.  So the scheduler has started before. */
static void start_scheduler(int fd)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(MS));
    cr_expect(read_errno(fd) == EINTR);
    coopdl_leave(&scope);
}

Test(fork, child_enters_its_own)
{
    coopdl_scope scope;
    int fd = silent_pipe();
    SKIP_IF_EMULATED("crashes where the child of a process with threads starts one");
    start_scheduler(fd);
    int64_t far = coopdl_after(200 * MS);
    coopdl_enter(&scope, far);
    pid_t child = fork();
    if (child == 0) {
        coopdl_scope inner;
        int64_t soon = coopdl_after(30 * MS);
        CHILD_ASSERT(coopdl_enter(&inner, soon) == 0); /* starts a scheduler of its own */
        CHILD_ASSERT(read_errno(fd) == EINTR);
        CHILD_ASSERT(in_time(soon));
        CHILD_ASSERT(coopdl_leave(&inner) == 1);
        CHILD_ASSERT(read_errno(fd) == EINTR);
        CHILD_ASSERT(in_time(far));
        CHILD_ASSERT(coopdl_leave(&scope) == 1);
        _exit(0);
    }
    coopdl_leave(&scope);
    cr_expect(status_of(child) == 0);
}

Test(fork, child_of_an_expired_scope)
{
    coopdl_scope scope;
    int fd = silent_pipe();
    coopdl_enter(&scope, coopdl_after(10 * MS));
    cr_expect(read_errno(fd) == EINTR);
    pid_t child = fork();
    if (child == 0) {
        CHILD_ASSERT(read_errno(fd) == ETIMEDOUT);
        CHILD_ASSERT(coopdl_leave(&scope) == 1);
        CHILD_ASSERT(poll(NULL, 0, 120) == 0);
        _exit(0);
    }
    coopdl_leave(&scope);
    cr_expect(status_of(child) == 0);
}

static void *fork_in_thread(void *fd)
{
    coopdl_scope scope;
    int64_t deadline = coopdl_after(50 * MS);
    coopdl_enter(&scope, deadline);
    pid_t child = fork();
    if (child == 0) {
        CHILD_ASSERT(read_errno(*(int *)fd) == EINTR);
        CHILD_ASSERT(in_time(deadline));
        _exit(0);
    }
    coopdl_leave(&scope);
    return (void *)(intptr_t)status_of(child);
}

Test(fork, from_one_of_many_threads)
{
    /* The child has the forking thread alone; the records of the others must not haunt it. */
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    int fd = silent_pipe();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, fork_in_thread, &fd);
    for (int i = 0; i < THREADS; i++) {
        void *status;
        pthread_join(threads[i], &status);
        cr_expect(status == NULL, "child %d: status %ld", i, (long)(intptr_t)status);
    }
}

/* A process ends with its last thread, and the library's own is none of its threads.  Its handlers
 * run; ours is the first, before a sanitizer's that takes what the parent's threads hold for lost.
 */
static void end_well(void)
{
    _exit(0);
}

#ifdef __GLIBC__
#define SKIP_IF_MUSL() (void)0
#else
/* The kernel is not told in a child what to release when its first thread ends. */
#define SKIP_IF_MUSL() cr_skip_test("musl 1.2.3 itself hangs there")
#endif

/* The scheduler looks into /proc/self/stat. */
#define SKIP_WHERE_UNSEEN()                                                                        \
    do {                                                                                           \
        SKIP_IF_MUSL();                                                                            \
        SKIP_IF_EMULATED("shows no threads in /proc/self/stat");                                   \
    } while (0)

Test(fork, child_whose_threads_just_end)
{
    SKIP_WHERE_UNSEEN();
    coopdl_scope scope;
    pid_t child = fork();
    if (child == 0) {
        CHILD_ASSERT(atexit(end_well) == 0);
        CHILD_ASSERT(coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND)) == 0);
        pthread_exit(NULL);
    }
    cr_expect(status_of(child) == 0);
}

static void *linger(void *unused)
{
    (void)unused;
    usleep(50000);
    return NULL;
}

Test(fork, child_whose_last_thread_has_no_scope)
{
    SKIP_WHERE_UNSEEN();
    coopdl_scope scope;
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        CHILD_ASSERT(atexit(end_well) == 0);
        CHILD_ASSERT(coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND)) == 0);
        CHILD_ASSERT(pthread_create(&thread, NULL, linger, NULL) == 0);
        pthread_exit(NULL);
    }
    cr_expect(status_of(child) == 0);
}

static void *enter_and_linger(void *unused)
{
    static coopdl_scope scope;
    CHILD_ASSERT(coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND)) == 0);
    return linger(unused);
}

Test(fork, child_whose_first_thread_never_had_a_scope)
{
    SKIP_WHERE_UNSEEN();
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        CHILD_ASSERT(atexit(end_well) == 0);
        CHILD_ASSERT(pthread_create(&thread, NULL, enter_and_linger, NULL) == 0);
        CHILD_ASSERT(pthread_join(thread, NULL) == 0);
        usleep(50000);
        pthread_exit(NULL);
    }
    cr_expect(status_of(child) == 0);
}

static void *fork_and_return(void *status)
{
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        CHILD_ASSERT(atexit(end_well) == 0);
        CHILD_ASSERT(pthread_create(&thread, NULL, enter_and_linger, NULL) == 0);
        return NULL; /* the child's first thread */
    }
    *(int *)status = status_of(child);
    return NULL;
}

Test(fork, child_of_a_thread_that_just_ends)
{
    SKIP_WHERE_UNSEEN();
    pthread_t thread;
    int status = -1;
    cr_assert(pthread_create(&thread, NULL, fork_and_return, &status) == 0);
    pthread_join(thread, NULL);
    cr_expect(status == 0);
}

Test(fork, without_a_scope)
{
    pid_t child = fork();
    if (child == 0) {
        coopdl_scope scope;
        int64_t deadline = coopdl_after(20 * MS);
        CHILD_ASSERT(poll(NULL, 0, 10) == 0);
        CHILD_ASSERT(coopdl_enter(&scope, deadline) == 0);
        CHILD_ASSERT(read_errno(silent_pipe()) == EINTR);
        CHILD_ASSERT(in_time(deadline));
        CHILD_ASSERT(coopdl_leave(&scope) == 1);
        _exit(0);
    }
    cr_expect(status_of(child) == 0);
}

/* The man page warns of vfork for good reasons; programs use it.
 * NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
Test(fork, vfork_and_exec)
{
    coopdl_scope scope;
    int fd = silent_pipe();
    coopdl_enter(&scope, coopdl_after(60 * COOPDL_SECOND));
    int64_t deadline = coopdl_deadline();
    for (int round = 0; round < 20; round++) {
        pid_t child = vfork();
        if (child == 0) {
            sigset_t none; /* what runtimes do here */
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, NULL);
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        cr_assert(child > 0);
        cr_assert(status_of(child) == 0);
        cr_assert(coopdl_deadline() == deadline, "the parent's deadline still stands");
    }
    coopdl_scope inner;
    int64_t end = coopdl_after(20 * MS);
    coopdl_enter(&inner, end);
    expect(read_errno(fd) == EINTR, "the parent's calls are still cut");
    assert_on_time(end, "parent");
    cr_expect(coopdl_leave(&inner) == 1);
    cr_expect(coopdl_leave(&scope) == 0);
}
/* NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */

/* What a child says of its deadline, once it has left the session by `leave`; null: by forkpty. */
static int64_t deadline_behind(int (*leave)(void))
{
    int ends[2];
    int64_t deadline = -1;
    coopdl_scope scope;
    cr_assert(pipe(ends) == 0);
    coopdl_enter(&scope, coopdl_after(60 * COOPDL_SECOND));
    int terminal = -1;
    pid_t child = leave ? fork() : forkpty(&terminal, NULL, NULL, NULL);
    if (child == 0) {
        if (leave)
            leave();
        deadline = coopdl_deadline();
        _exit(write(ends[1], &deadline, sizeof(deadline)) != sizeof(deadline));
    }
    close(ends[1]);
    cr_expect(read(ends[0], &deadline, sizeof(deadline)) == sizeof(deadline));
    cr_expect(status_of(child) == 0);
    close(ends[0]);
    if (terminal >= 0)
        close(terminal);
    coopdl_leave(&scope);
    return deadline;
}

static int by_setsid(void)
{
    return setsid();
}

static int by_daemon(void)
{
    return daemon(1, 1);
}

static int by_login_tty(void)
{
    int terminal, other;
    return openpty(&other, &terminal, NULL, NULL, NULL) == 0 ? login_tty(terminal) : -1;
}

static int by_nothing(void)
{
    return 0;
}

Test(fork, who_leaves_the_session_leaves_the_deadline)
{
    cr_expect(deadline_behind(by_nothing) < COOPDL_NEVER);
    cr_expect(deadline_behind(by_setsid) == COOPDL_NEVER);
    cr_expect(deadline_behind(by_daemon) == COOPDL_NEVER);
    cr_expect(deadline_behind(by_login_tty) == COOPDL_NEVER);
    cr_expect(deadline_behind(NULL) == COOPDL_NEVER);
}

Test(fork, a_scope_of_its_own_is_kept_behind_setsid)
{
    pid_t child = fork();
    if (child == 0) {
        coopdl_scope scope;
        coopdl_enter(&scope, coopdl_after(60 * COOPDL_SECOND));
        setsid();
        _exit(coopdl_deadline() == COOPDL_NEVER);
    }
    cr_expect(status_of(child) == 0);
}
