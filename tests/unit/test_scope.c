/* SPDX-License-Identifier: Apache-2.0 */
/* test_scope.c -- entering, nesting, moving, shielding, leaving. */
#include "emulator.h"
#include "support.h"

#include <poll.h>
#include <setjmp.h>

TestSuite(scope, .timeout = 30);

Test(scope, none)
{
    expect(coopdl_deadline() == COOPDL_NEVER);
    expect(coopdl_remaining() == COOPDL_NEVER);
#ifndef __SANITIZE_ADDRESS__ /* its interceptors come first, and go on to ours */
    expect(coopdl_preloaded() == 1);
#endif
    cr_expect_str_not_empty(coopdl_version());
}

/* By the clock that is exact, whichever it has looked at. */
Test(scope, passed)
{
    expect(coopdl_passed(INT64_MIN) && coopdl_passed(0));
    expect(!coopdl_passed(COOPDL_NEVER) && !coopdl_passed(coopdl_after(3600 * COOPDL_SECOND)));
    for (int round = 0; round < 300; round++) {
        int64_t deadline = coopdl_after(round % 30 * (100 * COOPDL_MICROSECOND));
        while (!coopdl_passed(deadline) && coopdl_now() < deadline)
            ;
        expect(coopdl_now() >= deadline, "early");
        expect(coopdl_passed(deadline), "late");
    }
}

Test(scope, cuts_at_its_deadline)
{
    int fd = silent_pipe();
    coopdl_scope scope;
    int64_t deadline = coopdl_after(30 * MS);
    expect(coopdl_enter(&scope, deadline) == 0);
    expect(coopdl_deadline() >= deadline && coopdl_deadline() < deadline + 8);
    expect(coopdl_remaining() <= 30 * MS && coopdl_remaining() >= 0);
    expect(!coopdl_expired(&scope) || coopdl_now() >= deadline);
    expect(read_errno(fd) == EINTR);
    assert_on_time(deadline, "read");
    expect(read_errno(fd) == ETIMEDOUT);
    expect(read_errno(fd) == ETIMEDOUT);
    expect(coopdl_expired(&scope));
    expect(coopdl_remaining() == 0);
    expect(coopdl_leave(&scope) == 1);
    expect(coopdl_deadline() == COOPDL_NEVER);
}

Test(scope, in_time)
{
    coopdl_scope scope;
    expect(coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND)) == 0);
    expect(poll(NULL, 0, 5) == 0);
    expect(!coopdl_expired(&scope));
    expect(coopdl_leave(&scope) == 0);
}

Test(scope, entered_after_its_deadline)
{
    static const int64_t past[] = {INT64_MIN, -1, 0, 1};
    int fd = silent_pipe();
    for (size_t i = 0; i < sizeof(past) / sizeof(past[0]); i++) {
        coopdl_scope scope;
        expect(coopdl_enter(&scope, past[i]) == 0);
        int64_t now = coopdl_now();
        expect(read_errno(fd) == EINTR);
        assert_on_time(now, "read");
        expect(read_errno(fd) == ETIMEDOUT);
        expect(coopdl_leave(&scope) == 1);
    }
}

Test(scope, never_is_a_scope_without_limit)
{
    coopdl_scope scope;
    expect(coopdl_enter(&scope, COOPDL_NEVER) == 0);
    expect(coopdl_deadline() == COOPDL_NEVER);
    expect(poll(NULL, 0, 5) == 0);
    expect(coopdl_leave(&scope) == 0);
}

Test(scope, earliest_rules)
{
    int fd = silent_pipe();
    coopdl_scope outer, inner;
    int64_t soon = coopdl_after(20 * MS), late = coopdl_after(3600 * COOPDL_SECOND);

    /* The inner one is earlier. */
    coopdl_enter(&outer, late);
    coopdl_enter(&inner, soon);
    expect(read_errno(fd) == EINTR);
    assert_on_time(soon, "inner");
    expect(coopdl_expired(&inner) && !coopdl_expired(&outer));
    expect(coopdl_leave(&inner) == 1);
    expect(coopdl_deadline() >= late);
    expect(poll(NULL, 0, 5) == 0, "the outer scope is not expired");
    expect(coopdl_leave(&outer) == 0);

    /* The outer one is earlier: entering the inner one changes nothing. */
    soon = coopdl_after(20 * MS);
    coopdl_enter(&outer, soon);
    coopdl_enter(&inner, late);
    expect(read_errno(fd) == EINTR);
    assert_on_time(soon, "outer");
    expect(!coopdl_expired(&inner) && coopdl_expired(&outer));
    expect(coopdl_leave(&inner) == 0);
    expect(read_errno(fd) == ETIMEDOUT, "the outer scope has had its EINTR");
    expect(coopdl_leave(&outer) == 1);
}

Test(scope, both_expired)
{
    int fd = silent_pipe();
    coopdl_scope outer, inner;
    int64_t first = coopdl_after(100 * MS), second = coopdl_after(500 * MS);
    coopdl_enter(&outer, second);
    coopdl_enter(&inner, first);
    expect(read_errno(fd) == EINTR);
    assert_on_time(first, "inner");
    spin_until(second);
    expect(coopdl_leave(&inner) == 1);
    int64_t now = coopdl_now();
    expect(read_errno(fd) == EINTR, "an outer scope that has expired too stays fired");
    assert_on_time(now, "outer");
    expect(coopdl_leave(&outer) == 1);
}

Test(scope, equal_deadlines)
{
    int fd = silent_pipe();
    coopdl_scope outer, inner;
    int64_t both = coopdl_after(10 * MS);
    coopdl_enter(&outer, both);
    coopdl_enter(&inner, both);
    expect(read_errno(fd) == EINTR);
    assert_on_time(both, "both");
    expect(coopdl_leave(&inner) == 1);
    expect(read_errno(fd) == ETIMEDOUT);
    expect(coopdl_leave(&outer) == 1);
}

Test(scope, moved)
{
    int fd = silent_pipe();
    coopdl_scope scope;
    int64_t soon = coopdl_after(10 * MS);

    coopdl_enter(&scope, soon);
    int64_t later = coopdl_after(60 * MS);
    expect(coopdl_move(&scope, later) == 0);
    expect(read_errno(fd) == EINTR);
    assert_on_time(later, "moved to later");

    /* One that has expired can be given more time. */
    later = coopdl_after(20 * MS);
    expect(coopdl_move(&scope, later) == 0);
    expect(!coopdl_expired(&scope) || coopdl_now() >= later);
    expect(read_errno(fd) == EINTR);
    assert_on_time(later, "moved after expiry");
    coopdl_leave(&scope);

    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    soon = coopdl_after(20 * MS);
    expect(coopdl_move(&scope, soon) == 0);
    expect(read_errno(fd) == EINTR);
    assert_on_time(soon, "moved to earlier");
    expect(coopdl_leave(&scope) == 1);
}

Test(scope, outer_moved_from_inside)
{
    int fd = silent_pipe();
    coopdl_scope outer, inner;
    coopdl_enter(&outer, coopdl_after(3600 * COOPDL_SECOND));
    coopdl_enter(&inner, coopdl_after(1800 * COOPDL_SECOND));
    int64_t soon = coopdl_after(20 * MS);
    expect(coopdl_move(&outer, soon) == 0);
    expect(read_errno(fd) == EINTR);
    assert_on_time(soon, "outer");
    expect(coopdl_leave(&inner) == 0);
    expect(coopdl_leave(&outer) == 1);
}

Test(scope, shielded)
{
    int fd = silent_pipe();
    coopdl_scope scope, shield, inner;
    int64_t deadline = coopdl_after(10 * MS);
    coopdl_enter(&scope, deadline);
    expect(coopdl_shield(&shield) == 0);
    expect(coopdl_deadline() == COOPDL_NEVER);
    expect(poll(NULL, 0, 40) == 0, "a shielded call is not cut");
    expect(coopdl_now() >= deadline);
    expect(!coopdl_expired(&scope));

    /* A clean-up has a limit of its own. */
    int64_t bound = coopdl_after(20 * MS);
    coopdl_enter(&inner, bound);
    expect(read_errno(fd) == EINTR);
    assert_on_time(bound, "a scope inside the shield");
    expect(coopdl_leave(&inner) == 1);
    expect(poll(NULL, 0, 5) == 0, "shielded again");

    expect(coopdl_leave(&shield) == 0);
    int64_t now = coopdl_now();
    expect(read_errno(fd) == EINTR, "the deadline passed behind the shield");
    assert_on_time(now, "after the shield");
    expect(coopdl_leave(&scope) == 1);
}

Test(scope, shield_entered_after_expiry)
{
    int fd = silent_pipe();
    coopdl_scope scope, shield;
    coopdl_enter(&scope, coopdl_after(10 * MS));
    expect(read_errno(fd) == EINTR);
    expect(read_errno(fd) == ETIMEDOUT);
    coopdl_shield(&shield);
    expect(poll(NULL, 0, 20) == 0);
    coopdl_leave(&shield);
    expect(read_errno(fd) == ETIMEDOUT);
    expect(coopdl_leave(&scope) == 1);
}

Test(scope, delivered)
{
    int fd = silent_pipe();
    coopdl_scope scope, inner;
    coopdl_enter(&scope, coopdl_after(300 * MS));
    expect(coopdl_deliver(&scope) == -1 && errno == EINVAL, "not expired yet");
    await_expiry(&scope);
    expect(coopdl_deliver(&scope) == 0);
    expect(poll(NULL, 0, 20) == 0, "a delivered scope cuts nothing");
    int64_t bound = coopdl_after(10 * MS);
    coopdl_enter(&inner, bound);
    expect(read_errno(fd) == EINTR, "one that is entered by the clean-up holds");
    assert_on_time(bound, "inner");
    expect(coopdl_leave(&inner) == 1);
    expect(coopdl_expired(&scope));
    expect(coopdl_leave(&scope) == 1);
}

Test(scope, expired_without_a_call)
{
    coopdl_scope scope;
    int64_t deadline = coopdl_after(20 * MS);
    coopdl_enter(&scope, deadline);
    await_expiry(&scope);
    assert_on_time(deadline, "expired");
    expect(coopdl_leave(&scope) == 1);
}

Test(scope, misuse)
{
    coopdl_scope a = {0}, b;
    expect(coopdl_enter(NULL, 0) == -1 && errno == EINVAL);
    expect(coopdl_leave(NULL) == -1 && errno == EINVAL);
    expect(coopdl_leave(&a) == -1 && errno == EINVAL);
    coopdl_enter(&b, COOPDL_NEVER);
    expect(coopdl_leave(&a) == -1 && errno == EINVAL);
    expect(coopdl_move(&a, 0) == -1 && errno == EINVAL);
    expect(coopdl_leave(&b) == 0);
    expect(coopdl_leave(&b) == -1 && errno == EINVAL, "left twice");
    coopdl_shield(&b);
    expect(coopdl_move(&b, 0) == -1 && errno == EINVAL, "a shield has no deadline");
    coopdl_leave(&b);
}

static void *leave_elsewhere(void *scope)
{
    return (void *)(intptr_t)(coopdl_leave(scope) == -1 && errno == EINVAL &&
                              coopdl_expired(scope) == 0);
}

Test(scope, left_by_another_thread)
{
    coopdl_scope scope;
    pthread_t thread;
    void *refused;
    coopdl_enter(&scope, 0);
    pthread_create(&thread, NULL, leave_elsewhere, &scope);
    pthread_join(thread, &refused);
    expect(refused);
    expect(coopdl_leave(&scope) == 1);
}

Test(scope, left_past_inner_ones)
{
    coopdl_scope outer, middle, inner;
    coopdl_enter(&outer, COOPDL_NEVER);
    coopdl_enter(&middle, 0);
    coopdl_enter(&inner, 0);
    expect(coopdl_leave(&outer) == 0);
    expect(coopdl_deadline() == COOPDL_NEVER);
    expect(poll(NULL, 0, 5) == 0);
    expect(coopdl_leave(&inner) == -1);
}

static void nest_deeply(int depth, int64_t innermost, int fd)
{
    coopdl_scope scope;
    coopdl_enter(&scope, depth ? coopdl_after(3600 * COOPDL_SECOND) : innermost);
    if (depth) {
        nest_deeply(depth - 1, innermost, fd);
        expect(coopdl_leave(&scope) == 0, "depth %d", depth);
    } else {
        expect(read_errno(fd) == EINTR);
        assert_on_time(innermost, "innermost");
        expect(coopdl_leave(&scope) == 1);
    }
}

Test(scope, nested_deeply)
{
    nest_deeply(1000, coopdl_after(30 * MS), silent_pipe());
    expect(poll(NULL, 0, 5) == 0);
    expect(coopdl_deadline() == COOPDL_NEVER);
}

static jmp_buf away;

/* Jumps out of scopes that nobody leaves, and has others use their memory. */
__attribute__((noinline)) static void jump_out(int64_t deadline)
{
    coopdl_scope scopes[20];
    for (int i = 0; i < 20; i++)
        coopdl_enter(&scopes[i], deadline);
    longjmp(away, 1);
}

__attribute__((noinline)) static void overwrite_stack(void)
{
    char litter[4096];
    memset(litter, 0x5a, sizeof(litter));
    __asm__ volatile("" : : "r"(litter) : "memory");
}

Test(scope, jumped_out_of)
{
    int fd = silent_pipe();
    for (int round = 0; round < 200; round++) {
        coopdl_scope outer;
        int64_t deadline = coopdl_after(round % 2 ? 300 * COOPDL_MICROSECOND : 0);
        coopdl_enter(&outer, coopdl_after(3600 * COOPDL_SECOND));
        if (setjmp(away) == 0)
            jump_out(deadline);
        overwrite_stack();
        expect(read_errno(fd) == EINTR, "until the outer one is left, they stand");
        expect(coopdl_leave(&outer) == 0);
        expect(coopdl_deadline() == COOPDL_NEVER);
        expect(poll(NULL, 0, 0) == 0);
    }
}

Test(scope, no_kick_lands_after_leaving)
{
    /* Left as near to the deadline as can be, from both sides. */
    int fd = silent_pipe(), fired = 0, in_time = 0;
    for (int round = 0; round < 3000; round++) {
        coopdl_scope scope;
        int64_t deadline = coopdl_after(200 * COOPDL_MICROSECOND);
        coopdl_enter(&scope, deadline);
        spin_until(deadline + (round % 200 - 50) * COOPDL_MICROSECOND);
        if (coopdl_leave(&scope))
            fired++;
        else
            in_time++;
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        int got = poll(&pollfd, 1, 1);
        expect(got == 0, "round %d: %s after leaving", round, strerror(errno));
    }
    cr_log_info("%d fired, %d in time", fired, in_time);
    expect(fired > 0 && in_time > 0, "%d fired, %d in time: not at the edge", fired, in_time);
}

Test(scope, expiry_while_entering)
{
    int fd = silent_pipe();
    for (int round = 0; round < 500; round++) {
        coopdl_scope outer, inner;
        int64_t deadline = coopdl_after(round % 50 * COOPDL_MICROSECOND);
        coopdl_enter(&outer, deadline);
        coopdl_enter(&inner, deadline + round % 7 * COOPDL_MICROSECOND);
        int error = read_errno(fd);
        expect(error == EINTR, "round %d: %s", round, strerror(error));
        assert_on_time(deadline, "read");
        coopdl_leave(&inner);
        coopdl_leave(&outer);
        expect(poll(NULL, 0, 0) == 0);
    }
}

static volatile sig_atomic_t handled;

static void enter_in_handler(int number)
{
    coopdl_scope scope;
    (void)number;
    coopdl_enter(&scope, 0);
    if (poll(NULL, 0, 1000) < 0 && errno == EINTR && coopdl_leave(&scope) == 1)
        handled = 1;
}

Test(scope, in_a_signal_handler)
{
    coopdl_scope scope;
    int64_t deadline = coopdl_after(500 * MS);
    signal(SIGUSR1, enter_in_handler);
    coopdl_enter(&scope, deadline);
    raise(SIGUSR1);
    expect(handled);
    expect(coopdl_deadline() >= deadline && coopdl_deadline() < deadline + 8);
    expect(read_errno(silent_pipe()) == EINTR);
    assert_on_time(deadline, "read");
    expect(coopdl_leave(&scope) == 1);
}

Test(scope, masks_of_handlers_look_as_they_were_given)
{
    struct sigaction action = {.sa_handler = enter_in_handler}, seen;
    SKIP_IF_EMULATED("shows SIGKILL and SIGSTOP in them");
    sigfillset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGALRM, NULL, &seen);
    for (int number = 1; number < 32; number++)
        cr_expect(sigismember(&seen.sa_mask, number) == (number != SIGKILL && number != SIGSTOP),
                  "signal %d", number);
}

Test(scope, alarms_of_the_program_arrive)
{
    /* EINTR before the deadline is the program's own, and its mask is as it left it. */
    coopdl_scope scope;
    sigset_t all, before, inside, after;
    struct sigaction action = {.sa_handler = enter_in_handler};
    sigfillset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    alarm(1);
    expect(read_errno(silent_pipe()) == EINTR);
    expect(handled);
    expect(!coopdl_expired(&scope));

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_sigmask(SIG_BLOCK, NULL, &inside);
    /* qemu-user keeps the last ones for itself. */
    for (int number = SIGRTMIN; number <= SIGRTMAX - (EMULATED ? 4 : 0); number++)
        expect(sigismember(&inside, number), "signal %d looks blocked", number);
    coopdl_move(&scope, coopdl_after(20 * MS));
    expect(read_errno(silent_pipe()) == EINTR, "the kick gets through a full mask");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    expect(memcmp(&before, &after, 8) == 0);
    coopdl_leave(&scope);
}
