/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ends.c -- calls that no wrapper sees end at the deadline: with the trap,
 * and somewhat later without it.
 *
 * Never early, in any run.  With the trap at most TRAPPED late at the median;
 * without it as late as each test says, and why.  A single run may be later:
 * the machine may be busy.  The grace is off, so no signal can have helped.
 */
#include "lateness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* Linux 5.11; older headers lack them. */
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#endif

enum { TRAPPED_RUNS = 50, REKICKED_RUNS = 10 };

#define TRAPPED (5 * MILLISECOND)
#define WORST (1 * SECOND)

/* Long enough for the program to be inside its call when the deadline comes. */
#define BUDGET "50ms"
#define SLOW_STARTERS_BUDGET "150ms"

/* Without the trap libc's own calls fail with EINTR and nothing else, once for each kick: so the
 * program is told to give up at the fourth.  Kicks come 0, 1, 3, 7, 15 and 31 ms after the
 * deadline: this leaves room for two that are lost. */
#define INTERRUPTIONS "3"
#define FOUR_KICKS (40 * MILLISECOND)

/* Without the trap libc's resolver goes on waiting after a kick, until its own time-out: 1 s
 * instead of its usual 10, to save time. */
#define RESOLVER "timeout:1 attempts:1"
#define RESOLVERS_TIMEOUT (1300 * MILLISECOND)

/* A command that has the library ends at the deadline itself, and with it the wait for it.  That
 * is what ends libc's own waits without the trap; with it, the command shall not help. */
#define COMMAND "exec sleep 60 2>&-"
#define HELPLESS_COMMAND "LD_PRELOAD= exec sleep 60"

/* A thread that was started after the deadline is found by the next look at the threads: a moment
 * after it was started where the trap has seen that, else within the 100 ms of the last back-off.
 */
#define NEXT_LOOK (20 * MILLISECOND)
#define LAST_BACKOFF (150 * MILLISECOND)

/* A wait for a child goes on for that long, since the child may end by the same budget. */
#define CHILDS_TIME (250 * MILLISECOND)

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void with_trap(void)
{
    static const char *const names[] = {"COOPDL_DEADLINE", "COOPDL_ERRNO",  "COOPDL_KILL_AFTER",
                                        "COOPDL_LOG",      "COOPDL_SIGNAL", "COOPDL_TRAP",
                                        "RES_OPTIONS",     "http_proxy"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

static void without_trap(void)
{
    with_trap();
    setenv("COOPDL_TRAP", "0", 1);
}

TestSuite(trapped, .init = with_trap, .timeout = 120);
TestSuite(rekicked, .init = without_trap, .timeout = 120);

static void need_x86_64(void)
{
#ifndef __x86_64__
    cr_skip_test("only x86-64 has the trap, and the instruction for a system call");
#endif
}

static void need_trap(void)
{
    need_x86_64();
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0) < 0)
        cr_skip_test("the kernel has no trap: %s", strerror(errno));
}

static void is_trapped(const char *const *command, const char *budget)
{
    need_trap();
    lateness_expect(command, budget, TRAPPED_RUNS, TRAPPED, WORST);
}

static void is_rekicked(const char *const *command, const char *budget, int64_t late)
{
    lateness_expect(command, budget, REKICKED_RUNS, late, late + WORST);
}

static void waits_for_its_child(const char *const *command)
{
    lateness_expect(command, BUDGET, REKICKED_RUNS, CHILDS_TIME + FOUR_KICKS, CHILDS_TIME + WORST);
}

static void is_trapped_waiting(const char *const *command)
{
    need_trap();
    waits_for_its_child(command);
}

Test(trapped, fgets)
{
    is_trapped(WORDS("$FGETS_LOOP"), BUDGET);
}

Test(rekicked, fgets)
{
    is_rekicked(WORDS("$FGETS_LOOP", INTERRUPTIONS), BUDGET, FOUR_KICKS);
}

Test(trapped, getline)
{
    is_trapped(WORDS("$GETLINE_FIFO"), BUDGET);
}

/* It ends at the first error, and a kick that was lost just before the read is repeated. */
Test(rekicked, getline)
{
    is_rekicked(WORDS("$GETLINE_FIFO"), BUDGET, FOUR_KICKS);
}

Test(trapped, getaddrinfo)
{
    is_trapped(WORDS("$NO_ANSWER", "$LOOKUP"), BUDGET);
}

Test(rekicked, getaddrinfo)
{
    setenv("RES_OPTIONS", RESOLVER, 1);
    is_rekicked(WORDS("$NO_ANSWER", "$LOOKUP"), BUDGET, RESOLVERS_TIMEOUT);
}

Test(trapped, libcurl)
{
    is_trapped(WORDS("$NO_ANSWER", "$FETCH_NAME"), SLOW_STARTERS_BUDGET);
}

/* The caller is cut by the wrapper of poll, and then joins the thread in getaddrinfo. */
Test(rekicked, libcurl)
{
    setenv("RES_OPTIONS", RESOLVER, 1);
    is_rekicked(WORDS("$NO_ANSWER", "$FETCH_NAME"), SLOW_STARTERS_BUDGET, RESOLVERS_TIMEOUT);
}

Test(trapped, system)
{
    is_trapped_waiting(WORDS("$SHELL_WAIT", "system", HELPLESS_COMMAND));
}

/* The wrapper's wait ends at its first EINTR. */
Test(rekicked, system)
{
    waits_for_its_child(WORDS("$SHELL_WAIT", "system", HELPLESS_COMMAND));
}

Test(trapped, libc_system)
{
    is_trapped_waiting(WORDS("$SHELL_WAIT", "system", "libc", HELPLESS_COMMAND));
}

Test(rekicked, libc_system)
{
    is_rekicked(WORDS("$SHELL_WAIT", "system", "libc", COMMAND), BUDGET, FOUR_KICKS);
}

Test(trapped, pclose)
{
    is_trapped_waiting(WORDS("$SHELL_WAIT", "pclose", HELPLESS_COMMAND));
}

/* As system. */
Test(rekicked, pclose)
{
    waits_for_its_child(WORDS("$SHELL_WAIT", "pclose", HELPLESS_COMMAND));
}

Test(trapped, libc_pclose)
{
    is_trapped_waiting(WORDS("$SHELL_WAIT", "pclose", "libc", HELPLESS_COMMAND));
}

Test(rekicked, libc_pclose)
{
    is_rekicked(WORDS("$SHELL_WAIT", "pclose", "libc", COMMAND), BUDGET, FOUR_KICKS);
}

Test(trapped, inline_read)
{
    is_trapped(WORDS("$INLINE_SYSCALL", "read"), BUDGET);
}

Test(rekicked, inline_read)
{
    need_x86_64();
    is_rekicked(WORDS("$INLINE_SYSCALL", "read", INTERRUPTIONS), BUDGET, FOUR_KICKS);
}

Test(trapped, inline_nanosleep)
{
    is_trapped(WORDS("$INLINE_SYSCALL", "nanosleep"), BUDGET);
}

Test(rekicked, inline_nanosleep)
{
    need_x86_64();
    is_rekicked(WORDS("$INLINE_SYSCALL", "nanosleep", INTERRUPTIONS), BUDGET, FOUR_KICKS);
}

Test(trapped, libc_poll)
{
    is_trapped(WORDS("$LIBC_POLL"), BUDGET);
}

Test(rekicked, libc_poll)
{
    is_rekicked(WORDS("$LIBC_POLL", INTERRUPTIONS), BUDGET, FOUR_KICKS);
}

Test(trapped, ctypes_poll)
{
    is_trapped(WORDS("$PYTHON", "$CTYPES_CALL", "poll"), SLOW_STARTERS_BUDGET);
}

Test(rekicked, ctypes_poll)
{
    is_rekicked(WORDS("$PYTHON", "$CTYPES_CALL", "poll", INTERRUPTIONS), SLOW_STARTERS_BUDGET,
                FOUR_KICKS);
}

Test(trapped, ctypes_sleep)
{
    is_trapped(WORDS("$PYTHON", "$CTYPES_CALL", "sleep"), SLOW_STARTERS_BUDGET);
}

/* It says what is left after each kick, and ends never: so it is called just once. */
Test(rekicked, ctypes_sleep)
{
    is_rekicked(WORDS("$PYTHON", "$CTYPES_CALL", "sleep", "1"), SLOW_STARTERS_BUDGET, FOUR_KICKS);
}

Test(trapped, a_thread_that_is_started_after_the_deadline)
{
    need_trap();
    /* The best of them: on a busy machine the thread itself may run late. */
    int64_t best = lateness_expect(WORDS("$LATE_THREAD"), BUDGET, REKICKED_RUNS, WORST, 2 * WORST);
    cr_expect(best <= NEXT_LOOK, "the best was %lld us late", (long long)best / 1000);
}

Test(rekicked, a_thread_that_is_started_after_the_deadline)
{
    is_rekicked(WORDS("$LATE_THREAD", "0"), BUDGET, LAST_BACKOFF);
}
