/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_trap_signals.c -- signals, their handlers and masks in a trapped thread;
 * and where there can be no trap.
 */
#include "filter.h"
#include "trapped.h"

static volatile sig_atomic_t handled, blocked_in_handler;

static void count(int number)
{
    sigset_t mask;
    (void)number;
    inline_syscall(SYS_getpid, 0, 0, 0, 0);
    (void)getppid();
    sigprocmask(SIG_BLOCK, NULL, &mask);
    blocked_in_handler = sigismember(&mask, SIGUSR2);
    handled++;
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigfillset(&action.sa_mask);
    cr_assert(sigaction(number, &action, NULL) == 0);
}

Test(trap, handlers_run_and_return)
{
    /* With a full mask, installed before expiry and after it; through libc's restorer. */
    coopdl_scope scope;
    struct sigaction seen;
    int silent = silent_pipe();
    handle(SIGUSR1, count, 0);
    enter_expired(&scope, silent);
    for (int i = 1; i <= 10; i++) {
        raise(SIGUSR1);
        expect(handled == i && blocked_in_handler);
        expect_cut(silent);
    }
    handle(SIGALRM, count, SA_RESTART);
    raise(SIGALRM);
    expect(handled == 11);
    expect(sigaction(SIGALRM, NULL, &seen) == 0 && sigismember(&seen.sa_mask, SIGSYS) == 1 &&
               sigismember(&seen.sa_mask, SIGUSR2) == 1,
           "the program sees the mask that it gave");
    expect_cut(silent);
    coopdl_leave(&scope);
}

/* The kernel's struct, for a handler that comes past the wrappers. */
struct raw_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

/* Makes a handler's mask full, past the wrappers. */
static void fill_mask(int number)
{
    struct raw_action action;
    long error = inline_syscall(SYS_rt_sigaction, number, 0, (long)&action, 8);
    action.mask = ~UINT64_C(0);
    if (!error)
        error = inline_syscall(SYS_rt_sigaction, number, (long)&action, 0, 8);
    expect(error == 0, "%ld", error);
}

Test(trap, a_handler_that_blocks_sigsys_past_the_wrappers)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    handle(SIGUSR1, count, 0);
    enter_expired(&scope, silent);
    fill_mask(SIGUSR1); /* after expiry: it does not get as far as the kernel */
    raise(SIGUSR1);
    expect(handled == 1);
    expect_cut(silent);
    coopdl_leave(&scope);

    fill_mask(SIGUSR1); /* before the next: there is no trap then */
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    for (int i = 2; i < 5; i++) {
        raise(SIGUSR1);
        expect(handled == i);
        long error = inline_read(silent);
        expect(error == -EINTR, "%ld", error);
    }
    coopdl_leave(&scope);
}

Test(trap, masks_change_and_stay)
{
    coopdl_scope scope;
    sigset_t all, one, old;
    int silent = silent_pipe();
    sigfillset(&all);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    handle(SIGUSR1, count, 0);
    enter_expired(&scope, silent);

    expect(sigprocmask(SIG_BLOCK, &one, &old) == 0 && !sigismember(&old, SIGUSR1));
    raise(SIGUSR1);
    expect(handled == 0 && is_blocked(SIGUSR1) && !is_blocked(SIGUSR2), "blocked");
    expect_cut(silent);
    expect(pthread_sigmask(SIG_SETMASK, &all, &old) == 0 && sigismember(&old, SIGUSR1));
    expect(is_blocked(SIGUSR2), "all blocked");
    expect_cut(silent);
    expect(pthread_sigmask(SIG_SETMASK, &one, NULL) == 0 && !is_blocked(SIGUSR2));
    expect(handled == 0);
    expect(sigprocmask(SIG_UNBLOCK, &one, NULL) == 0);
    expect(handled == 1 && !is_blocked(SIGUSR1), "delivered when it was unblocked");
    long error = inline_syscall(SYS_rt_sigprocmask, 17, (long)&one, 0, 8);
    expect(error == -EINVAL, "%ld", error);
    error = inline_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 16, 0, 8);
    expect(error == -EFAULT, "%ld", error);
    error = inline_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&one, 0, 4);
    expect(error == -EINVAL, "%ld", error);
    expect_cut(silent);
    coopdl_leave(&scope);
}

Test(trap, a_thread_that_blocks_everything_before)
{
    coopdl_scope scope;
    sigset_t all;
    int silent = silent_pipe();
    sigfillset(&all);
    handle(SIGUSR1, count, 0);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    coopdl_enter(&scope, coopdl_after(20 * MS));
    long first = inline_read(silent), second = inline_read(silent); /* nothing in between */
    expect(first == -EINTR && second == -EINTR, "%ld %ld", first, second);
    expect_cut(silent);
    raise(SIGUSR1);
    sigdelset(&all, SIGUSR1);
    long error = sigsuspend(&all);
    expect(error == -1 && errno == EINTR && handled == 1);
    expect_cut(silent);
    expect(is_blocked(SIGUSR1) && is_blocked(SIGUSR2));
    coopdl_leave(&scope);
}

static int silent_in_handler;

static void be_trapped(int number)
{
    (void)number;
    while (inline_read(silent_in_handler) != (trapping() ? -ETIMEDOUT : -EINTR))
        ;
    handled++;
}

Test(trap, a_handler_that_returns_to_where_all_is_blocked)
{
    /* The thread is trapped inside the handler; what that returns to blocks SIGSYS. */
    coopdl_scope scope;
    sigset_t all, none;
    silent_in_handler = silent_pipe();
    sigfillset(&all);
    sigemptyset(&none);
    handle(SIGUSR1, be_trapped, 0);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    raise(SIGUSR1);
    coopdl_enter(&scope, coopdl_after(20 * MS));
    long error = inline_syscall(SYS_rt_sigsuspend, (long)&none, 8, 0, 0);
    long pid = inline_syscall(SYS_getpid, 0, 0, 0, 0); /* nothing in between */
    expect(error == -EINTR && handled == 1 && pid == getpid(), "%ld", error);
    expect_cut(silent_in_handler);
    coopdl_leave(&scope);
}

static char alternate[1 << 16];
static volatile sig_atomic_t on_alternate;

static void where(int number)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), stack = (uintptr_t)alternate;
    (void)number;
    inline_syscall(SYS_getpid, 0, 0, 0, 0);
    on_alternate = here >= stack && here < stack + sizeof(alternate);
}

Test(trap, alternate_stacks)
{
    coopdl_scope scope;
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)}, seen,
            off = {.ss_flags = SS_DISABLE};
    int silent = silent_pipe();
    handle(SIGUSR1, where, SA_ONSTACK);
    enter_expired(&scope, silent);
    expect(sigaltstack(&stack, NULL) == 0);
    expect(sigaltstack(NULL, &seen) == 0 && seen.ss_sp == alternate && seen.ss_flags == 0);
    raise(SIGUSR1);
    expect(on_alternate);
    expect_cut_soon(silent);
    expect(sigaltstack(&off, &seen) == 0 && seen.ss_sp == alternate);
    raise(SIGUSR1);
    expect(!on_alternate);
    expect(sigaltstack(NULL, &seen) == 0 && seen.ss_flags == SS_DISABLE);
    expect_cut_soon(silent);
    coopdl_leave(&scope);
}

static volatile sig_atomic_t own_code;

static void own_sigsys(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    own_code = info->si_code;
    handled++;
}

static void take_sigsys(void)
{
    struct sigaction action = {.sa_sigaction = own_sigsys, .sa_flags = SA_SIGINFO}, seen;
    expect(sigaction(SIGSYS, &action, NULL) == 0);
    expect(sigaction(SIGSYS, NULL, &seen) == 0 && seen.sa_sigaction == own_sigsys);
}

Test(trap, a_sigsys_handler_that_was_there)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    take_sigsys();
    enter_expired(&scope, silent);
    long error = inline_read(silent);
    expect(error == -EINTR, "another kick: %ld", error);
    expect(handled == 0, "it is not troubled with what is ours");
    raise(SIGSYS);
    expect(handled == 1 && own_code == SI_TKILL);
    coopdl_leave(&scope);
}

Test(trap, a_sigsys_handler_that_comes_later)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    enter_expired(&scope, silent);
    take_sigsys();
    raise(SIGSYS);
    expect(handled == 1 && own_code == SI_TKILL);
    long error = inline_read(silent);
    expect(error == -ETIMEDOUT || error == -EINTR, "%ld", error);
    expect(handled == 1);
    coopdl_leave(&scope);
    enter_expired(&scope, silent);
    error = inline_read(silent);
    expect(error == -EINTR, "no trap any more: %ld", error);
    coopdl_leave(&scope);
    cr_expect(signal(SIGSYS, SIG_DFL) != SIG_DFL);
    enter_expired(&scope, silent);
    expect_cut(silent);
    coopdl_leave(&scope);
}

Test(trap, sigsys_still_kills, .signal = SIGSYS)
{
    coopdl_scope scope;
    enter_expired(&scope, silent_pipe());
    raise(SIGSYS);
}

enum { SET_USER_DISPATCH = 59 };

Test(trap, a_filter_that_refuses)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    if (!trapping())
        cr_skip_test("COOPDL_TRAP=0: it is never asked for");
    filter_prctl(SET_USER_DISPATCH, FILTER_ERROR(EPERM));
    for (int i = 0; i < 3; i++) {
        enter_expired(&scope, silent);
        long first = inline_read(silent), second = inline_read(silent);
        expect(first == -EINTR && second == -EINTR, "%ld %ld", first, second);
        coopdl_leave(&scope);
    }
    cr_expect(coopdl_kicks(COOPDL_KICK_UNTRAPPED) >= 3, "each second read took another kick");
}

Test(trap, turned_off_it_is_never_asked_for)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    if (trapping())
        cr_skip_test("only with COOPDL_TRAP=0: the filter kills");
    filter_prctl(SET_USER_DISPATCH, FILTER_KILL);
    enter_expired(&scope, silent);
    expect_cut(silent);
    coopdl_leave(&scope);
}
