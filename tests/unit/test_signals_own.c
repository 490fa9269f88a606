/* SPDX-License-Identifier: Apache-2.0 */
/* test_signals_own.c -- a program that uses the signal of the kick itself. */
#include "kick_signal.h"

#include <sched.h>

static volatile sig_atomic_t own, own_value;

static void on_own(int number, siginfo_t *info, void *context)
{
    (void)context;
    own += number == KICK;
    own_value = info->si_value.sival_int;
}

static void queue_own(int value)
{
    cr_assert(sigqueue(getpid(), KICK, (union sigval){.sival_int = value}) == 0);
}

Test(signals, own_handler_of_the_same_signal)
{
    struct sigaction action = {.sa_sigaction = on_own, .sa_flags = SA_SIGINFO}, seen;
    cr_assert(sigaction(KICK, &action, NULL) == 0);
    queue_own(1);
    cr_expect(own == 1 && own_value == 1, "before there is a deadline");
    cut_once();
    queue_own(2);
    cr_expect(own == 2 && own_value == 2, "passed on, and no kick with it");
    cr_assert(sigaction(KICK, NULL, &seen) == 0);
    cr_expect(seen.sa_sigaction == on_own && seen.sa_flags & SA_SIGINFO, "it looks as it did");

    /* Set while the handler is ours. */
    cr_expect(signal(KICK, SIG_IGN) != SIG_ERR);
    queue_own(3);
    cr_expect(own == 2);
    cr_assert(sigaction(KICK, &action, &seen) == 0);
    cr_expect(seen.sa_handler == SIG_IGN);
    queue_own(4);
    cr_expect(own == 3 && own_value == 4);
    pthread_kill(pthread_self(), KICK);
    cr_expect(own == 4);
    cut_once();
    cr_expect(own == 4);
}

Test(signals, default_action_of_the_same_signal)
{
    pid_t child = fork();
    if (child == 0) {
        cut_once();
        queue_own(1);
        _exit(1);
    }
    int status = status_of(child);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == KICK, "status %x", status);
}

/* In the middle of a wait, and before it. */
static void *send_to_process(void *ignored)
{
    (void)ignored;
    poll(NULL, 0, 30);
    kill(getpid(), KICK);
    return NULL;
}

Test(signals, own_signal_is_waited_for)
{
    coopdl_scope scope;
    pthread_t sender;
    sigset_t set;
    siginfo_t info;
    cut_once();
    sigemptyset(&set);
    sigaddset(&set, KICK);
    cr_assert(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    for (int before = 0; before < 2; before++) {
        coopdl_enter(&scope, coopdl_after(20 * COOPDL_SECOND));
        if (before)
            kill(getpid(), KICK);
        else
            cr_assert(pthread_create(&sender, NULL, send_to_process, NULL) == 0);
        int number = sigwaitinfo(&set, &info);
        expect(number == KICK && info.si_code == SI_USER && info.si_pid == getpid(), "%d", number);
        if (!before)
            pthread_join(sender, NULL);
        coopdl_leave(&scope);
    }
}

static int wait_for_own(void)
{
    static const struct timespec long_time = {.tv_sec = 20};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, KICK);
    return sigtimedwait(&set, NULL, &long_time) < 0 ? errno : 0;
}

/* The kick that ends the wait is not taken for the program's. */
Test(signals, wait_for_own_signal_is_cut)
{
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int round = 0; round < 20; round++) {
        coopdl_scope scope;
        int64_t deadline = coopdl_after(5 * MS);
        coopdl_enter(&scope, deadline);
        bool timed = round % 2;
        int error = timed ? wait_for_own() : sigwaitinfo(&set, NULL) < 0 ? errno : 0;
        assert_on_time(deadline, "wait for a signal");
        expect(error == (timed ? EAGAIN : EINTR), "round %d: %s", round, strerror(error));
        expect(read_errno(silent_pipe()) == ETIMEDOUT);
        coopdl_leave(&scope);
    }
    cr_expect(poll(NULL, 0, 20) == 0, "nothing strays");
}

/* A handler that was there before any deadline, or is set after expiry. */
Test(signals, masks_of_handlers_are_shown_as_asked)
{
    struct sigaction seen;
    for (int round = 0; round < 3; round++) {
        if (round != 1)
            handle(SIGUSR1, read_in_handler, 0);
        cr_assert(sigaction(SIGUSR1, NULL, &seen) == 0);
        cr_expect(sigismember(&seen.sa_mask, KICK) == 1 && sigismember(&seen.sa_mask, SIGSYS) == 1,
                  "round %d", round);
        cut_once();
    }
}

/* What the actions that are passed on to ask for. */
static volatile sig_atomic_t depth, deepest, blocked_inside;

static void raise_again(int number)
{
    sigset_t mask;
    depth++;
    deepest = depth > deepest ? depth : deepest;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    blocked_inside = sigismember(&mask, number) == 1;
    if (handled++ == 0)
        raise(number);
    depth--;
}

static void start_again(void)
{
    handled = depth = deepest = 0;
}

/* An action from before the first deadline, one from after it, and the old way to ask for the same:
 * with SA_NODEFER the signal comes in the middle of its handler, else behind it. */
Test(signals, own_handler_is_interrupted_as_it_asked_for)
{
    for (int round = 0; round < 4; round++) {
        bool nodefer = round % 2;
        struct sigaction action = {.sa_handler = raise_again, .sa_flags = nodefer ? SA_NODEFER : 0};
        pid_t child = fork();
        if (child == 0) { /* each has its own first deadline */
            if (round >= 2)
                cut_once();
            cr_assert(sigaction(KICK, &action, NULL) == 0);
            if (round < 2)
                cut_once();
            start_again();
            raise(KICK);
            _exit(handled == 2 && deepest == (nodefer ? 2 : 1) && blocked_inside == !nodefer
                      ? 0
                      : 10 * handled + deepest);
        }
        int status = status_of(child);
        cr_expect(status == 0, "round %d: %x", round, (unsigned)status);
    }
    cut_once();
    if (!is_here("sysv_signal"))
        return;
    cr_expect(setter("sysv_signal")(KICK, raise_again) == SIG_DFL);
    struct sigaction seen;
    cr_assert(sigaction(KICK, NULL, &seen) == 0);
    cr_expect(seen.sa_flags & SA_NODEFER && seen.sa_flags & (int)SA_RESETHAND, "%x",
              (unsigned)seen.sa_flags);
}

Test(signals, own_handler_is_reset_as_it_asked_for)
{
    struct sigaction action = {.sa_handler = on_arrival, .sa_flags = (int)SA_RESETHAND}, seen;
    for (int round = 0; round < 2; round++) {
        /* In the first it is from before there was a deadline. */
        cr_assert(sigaction(KICK, &action, NULL) == 0);
        cut_once();
        arrived = 0;
        cr_assert(sigaction(KICK, NULL, &seen) == 0 && seen.sa_handler == on_arrival);
        raise(KICK);
        cr_expect(arrived == 1);
        cr_assert(sigaction(KICK, NULL, &seen) == 0);
        cr_expect(seen.sa_handler == SIG_DFL, "round %d", round);
        pid_t child = fork();
        if (child == 0) {
            raise(KICK);
            _exit(0);
        }
        int status = status_of(child);
        cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == KICK, "round %d: %x", round,
                  (unsigned)status);
        cut_once(); /* the kick's own handler is still there */
    }
}

static bool is_pending(int number)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, number) == 1;
}

static void block_own(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, KICK);
    cr_assert(pthread_sigmask(how, &set, NULL) == 0);
}

/* As the kernel has it: what is pending is the parent's. */
Test(signals, what_is_kept_is_not_inherited)
{
    struct sigaction action = {.sa_handler = on_arrival};
    cut_once();
    cr_assert(sigaction(KICK, &action, NULL) == 0);
    block_own(SIG_BLOCK);
    raise(KICK);
    kill(getpid(), KICK);
    cr_expect(is_pending(KICK) && arrived == 0);
    pid_t child = fork();
    if (child == 0) {
        bool inherited = is_pending(KICK), blocked = looks_blocked(KICK);
        block_own(SIG_UNBLOCK);
        _exit(inherited ? 1 : !blocked ? 2 : arrived ? 3 : 0);
    }
    int status = status_of(child);
    cr_expect(status == 0, "%x", (unsigned)status);
    block_own(SIG_UNBLOCK);
    cr_expect(arrived == 2 && !is_pending(KICK), "%d", (int)arrived);
}

Test(signals, sigset_tells_of_a_signal_that_is_held)
{
    struct sigaction seen;
    cut_once();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    /* The kick's number, and another for comparison. */
    for (int i = 0; i < 2; i++) {
        int number = i ? SIGUSR2 : KICK;
        arrived = 0;
        cr_expect(sigset(number, on_arrival) == SIG_DFL, "%d", i);
        cr_expect(sigset(number, SIG_HOLD) == on_arrival, "%d", i);
        cr_expect(looks_blocked(number), "%d", i);
        cr_expect(sigset(number, SIG_HOLD) == SIG_HOLD, "%d", i);
        cr_assert(sigaction(number, NULL, &seen) == 0);
        cr_expect(seen.sa_handler == on_arrival, "%d: the action stays", i);
        raise(number);
        cr_expect(is_pending(number) && arrived == 0, "%d", i);
        cr_expect(sigset(number, on_arrival) == SIG_HOLD, "%d", i);
        cr_expect(arrived == 1 && !looks_blocked(number), "%d", i);
        cr_expect(sigset(number, SIG_DFL) == on_arrival, "%d", i);
    }
#pragma GCC diagnostic pop
}

/* Two threads that block the signal, each with steps of its own. */
static pthread_barrier_t step;
static bool others_saw[3];

static void *look_what_is_pending(void *unused)
{
    (void)unused;
    block_own(SIG_BLOCK);
    pthread_barrier_wait(&step); /* blocked */
    pthread_barrier_wait(&step); /* one was sent to the first thread */
    others_saw[0] = is_pending(KICK);
    block_own(SIG_UNBLOCK);
    others_saw[1] = arrived;
    block_own(SIG_BLOCK);
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step); /* one was sent to the process */
    others_saw[2] = is_pending(KICK);
    pthread_barrier_wait(&step);
    return NULL;
}

Test(signals, what_is_kept_for_one_thread_is_no_others)
{
    struct sigaction action = {.sa_handler = on_arrival};
    pthread_t other;
    cut_once();
    cr_assert(sigaction(KICK, &action, NULL) == 0);
    cr_assert(pthread_barrier_init(&step, NULL, 2) == 0);
    block_own(SIG_BLOCK);
    cr_assert(pthread_create(&other, NULL, look_what_is_pending, NULL) == 0);
    pthread_barrier_wait(&step);
    pthread_kill(pthread_self(), KICK);
    cr_expect(is_pending(KICK), "kept for this thread");
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    cr_expect(!others_saw[0], "it is not pending for the other one");
    cr_expect(!others_saw[1], "nor handled by it");
    block_own(SIG_UNBLOCK);
    cr_expect(arrived == 1, "%d", (int)arrived);
    block_own(SIG_BLOCK);
    kill(getpid(), KICK);
    /* To the process: whichever thread gets it, both see it. */
    int64_t give_up = coopdl_now() + 5 * COOPDL_SECOND;
    while (!is_pending(KICK) && coopdl_now() < give_up)
        sched_yield();
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    cr_expect(others_saw[2]);
    cr_assert(pthread_join(other, NULL) == 0);
    block_own(SIG_UNBLOCK);
    cr_expect(arrived == 2, "%d", (int)arrived);
}
