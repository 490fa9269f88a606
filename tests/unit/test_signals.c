/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_signals.c -- the program's own signals beside the kick: handlers that make wrapped calls, on
 * an alternate stack too, masks, the old ways to set an action and to block, signalfd, and the
 * signal of pthread_cancel.
 */
#include "kick_signal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/signalfd.h>

TestSuite(signals, .timeout = 30);

Test(signals, handler_that_blocks)
{
    coopdl_scope scope;
    quiet = silent_pipe();
    handle(SIGALRM, read_in_handler, SA_RESTART);
    int64_t deadline = coopdl_after(1200 * MS);
    coopdl_enter(&scope, deadline);
    alarm(1);
    int error = read_errno(quiet);
    assert_on_time(deadline, "read");
    expect(handled == 1);
    expect(in_handler == EINTR, "in the handler: %s", strerror(in_handler));
    expect(error == ETIMEDOUT || error == EINTR, "%s", strerror(error));
    coopdl_leave(&scope);
}

Test(signals, handler_on_an_alternate_stack)
{
    coopdl_scope scope;
    stack = malloc(STACK);
    stack_t alternate = {.ss_sp = stack, .ss_size = STACK};
    cr_assert(sigaltstack(&alternate, NULL) == 0);
    quiet = silent_pipe();
    handle(SIGUSR1, read_in_handler, SA_ONSTACK);
    int64_t deadline = coopdl_after(50 * MS);
    coopdl_enter(&scope, deadline);
    raise(SIGUSR1);
    assert_on_time(deadline, "read in the handler");
    expect(handled == 1 && on_alternate);
    expect(in_handler == EINTR);
    expect(read_errno(quiet) == ETIMEDOUT);
    coopdl_leave(&scope);
}

Test(signals, blocked_behind_our_back)
{
    /* By a system call of the program's own: no kick gets through.  What has a time-out of its own
     * ends by its cap, leaving waits for nothing, and nothing lands later. */
    coopdl_scope scope;
    uint64_t all = ~UINT64_C(0), before;
    int64_t deadline = coopdl_after(20 * MS);
    coopdl_enter(&scope, deadline);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
    int error = poll(NULL, 0, -1) < 0 ? errno : 0;
    assert_on_time(deadline, "poll");
    expect(error == EINTR);
    expect(poll(NULL, 0, 1000) == -1 && errno == ETIMEDOUT);
    expect(coopdl_leave(&scope) == 1);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
    expect(poll(NULL, 0, 20) == 0);
}

Test(signals, signalfd_does_not_take_the_kick)
{
    coopdl_scope scope;
    sigset_t all;
    struct signalfd_siginfo info;
    coopdl_enter(&scope, COOPDL_NEVER);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    int fd = signalfd(-1, &all, 0);
    cr_assert(fd >= 0);
    raise(SIGUSR1);
    expect(read(fd, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGUSR1);
    int64_t deadline = coopdl_after(30 * MS);
    coopdl_move(&scope, deadline);
    ssize_t got = read(fd, &info, sizeof(info));
    expect(got == -1 && errno == EINTR, "read %zd, signal %u", got, info.ssi_signo);
    assert_on_time(deadline, "read");
    expect(coopdl_leave(&scope) == 1);
}

/* libc's functions for it are wrapped, syscall() too: this goes to the kernel. */
static int take_from_queue(int number)
{
    uint64_t set = UINT64_C(1) << (number - 1);
    struct timespec second = {.tv_sec = 1};
    siginfo_t info;
    return (int)coopdl_sys(SYS_rt_sigtimedwait, &set, &info, &second, sizeof(set));
}

Test(signals, kick_taken_from_the_queue)
{
    /* Leaving does not wait for it for ever. */
    coopdl_scope scope;
    uint64_t all = ~UINT64_C(0), before;
    coopdl_enter(&scope, coopdl_after(10 * MS));
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
    int taken = take_from_queue(KICK);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
    int64_t begun = coopdl_now();
    int left = coopdl_leave(&scope);
    cr_expect(taken == KICK, "%d", taken);
    cr_expect(left == 1);
    cr_expect(coopdl_now() - begun < 2 * COOPDL_SECOND);
    cr_expect(poll(NULL, 0, 20) == 0);
}

Test(signals, old_ways_to_set_an_action)
{
    static const char *names[] = {"signal",      "bsd_signal",    "ssignal",
                                  "sysv_signal", "__sysv_signal", "sigset"};
    struct sigaction seen;
    cut_once(); /* from here on the action of the kick is ours */
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!is_here(names[i]))
            continue;
        handler_type before = setter(names[i])(KICK, read_in_handler);
        cr_expect(before == (i ? SIG_IGN : SIG_DFL), "%s", names[i]);
        cr_expect(setter(names[i])(KICK, SIG_IGN) == read_in_handler, "%s", names[i]);
        cr_expect(setter(names[i])(SIGUSR1, SIG_IGN) == SIG_DFL, "%s", names[i]);
        cr_expect(setter(names[i])(SIGUSR1, SIG_DFL) == SIG_IGN, "%s", names[i]);
        cut_once();
    }
    int (*old_sigaction)(int, const struct sigaction *, struct sigaction *);
    *(void **)&old_sigaction =
        dlsym(RTLD_DEFAULT, is_here("__sigaction") ? "__sigaction" : "sigaction");
    signal(KICK, SIG_DFL);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    cr_expect(sigignore(KICK) == 0);
    cr_expect(old_sigaction(KICK, NULL, &seen) == 0 && seen.sa_handler == SIG_IGN);
    cr_expect(siginterrupt(KICK, 1) == 0 && siginterrupt(SIGUSR1, 1) == 0);
#pragma GCC diagnostic pop
    cut_once();
}

Test(signals, old_ways_to_block)
{
    cut_once();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    cr_expect(sighold(KICK) == 0 && sighold(SIGUSR1) == 0);
    cr_expect(looks_blocked(KICK) && looks_blocked(SIGUSR1));
    cut_once();
#ifdef __GLIBC__
    cr_expect(sigsetmask(0) != 0 && !looks_blocked(SIGUSR1));
    cr_expect(sigblock(1 << (SIGUSR2 - 1)) == 0 && looks_blocked(SIGUSR2));
#endif
    bool blocked = looks_blocked(KICK);
    cr_expect((sigset(KICK, SIG_HOLD) == SIG_HOLD) == blocked && looks_blocked(KICK));
    cut_once();
    sigset_t pending;
    cr_expect(sigpending(&pending) == 0 && sigismember(&pending, KICK) == 0);
    cr_expect(sigrelse(KICK) == 0 && sigrelse(SIGUSR2) == 0);
    cr_expect(!looks_blocked(KICK) && !looks_blocked(SIGUSR2));
#pragma GCC diagnostic pop
}

Test(signals, what_is_pending_is_not_waited_for)
{
    /* After expiry: the signal is there already, so none of these would wait. */
    coopdl_scope scope;
    sigset_t set, none;
    struct sigaction action = {.sa_handler = on_arrival};
    int (*old_sigpause)(int), (*xpg_sigpause)(int);
    bool both = is_here("__xpg_sigpause"); /* else the plain name is that one's */
    *(void **)&old_sigpause = dlsym(RTLD_DEFAULT, "sigpause");
    *(void **)&xpg_sigpause = dlsym(RTLD_DEFAULT, both ? "__xpg_sigpause" : "sigpause");
    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    raise(SIGUSR1);
    expect(sigsuspend(&none) == -1 && errno == EINTR && arrived == 1);
    raise(SIGUSR1);
    expect(old_sigpause(both ? 0 : SIGUSR1) == -1 && errno == EINTR && arrived == 2);
    raise(SIGUSR1);
    expect(xpg_sigpause(SIGUSR1) == -1 && errno == EINTR && arrived == 3);
    expect(read_errno(silent_pipe()) == EINTR, "the first call that is cut");
    expect(sigsuspend(&none) == -1 && errno == ETIMEDOUT && arrived == 3);
    coopdl_leave(&scope);
}

static _Atomic bool waiting;
static bool aligned;

/* Where the compiler may expect it, for instructions that fault elsewhere. */
__attribute__((noinline)) static void note_alignment(void *unused)
{
    (void)unused;
    aligned = ((uintptr_t)__builtin_frame_address(0) + 2 * sizeof(void *)) % 16 == 0;
}

static void *wait_for_usr2(void *scope)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    coopdl_enter(scope, coopdl_after(3600 * COOPDL_SECOND));
    pthread_cleanup_push(note_alignment, NULL);
    atomic_store(&waiting, true);
    sigwaitinfo(&set, NULL);
    pthread_cleanup_pop(0);
    coopdl_leave(scope);
    return NULL;
}

/* Before the system call, in it, and where musl's handler has run between the two. */
Test(signals, wait_is_cancelled_at_any_moment)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("AddressSanitizer loses track of a stack that is unwound by force");
#endif
    for (int turn = 0; turn < 2000; turn++) {
        pthread_t thread;
        coopdl_scope scope;
        void *result = NULL;
        atomic_store(&waiting, aligned = false);
        cr_assert(pthread_create(&thread, NULL, wait_for_usr2, &scope) == 0);
        while (!atomic_load(&waiting))
            sched_yield();
        for (volatile int i = 0; i < turn * 5; i++)
            ;
        pthread_cancel(thread);
        cr_assert(pthread_join(thread, &result) == 0);
        cr_assert(result == PTHREAD_CANCELED && aligned, "turn %d, aligned %d", turn, aligned);
    }
}
