/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stacks.c -- coopdl --stacks: the stacks of all threads of all processes, at the deadline.
 *
 * What must hold: nothing is stopped before the promised deadline; what is seen is what COMMAND
 * was in then, and not what it did after its call was cut; the deadline is kept, also where there
 * are no stacks; what is left out is said.  On a machine so busy that calls were cut before all was
 * stopped the command says so: then it is run again.
 */
#include "../unit/filter.h"
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(stacks, .init = set_up, .fini = tear_down, .timeout = 60);

#define CROWD tested("TEST_CROWD")
#define LATE " ms after the calls were cut"
#define NO_TIME "no time for more"

/* Skips the test, with the reason, where this command cannot take stacks. */
static void need_stacks(void)
{
    const struct process *process = RUN(COOPDL, "--stacks", "9s", "true");
    if (exit_status(process) == 125)
        cr_skip_test("%s", process->err.text);
}

/* Until what is seen is all that was there, and before the cut. */
static const struct process *take(const char *const *argv)
{
    enum { TRIES = 10 };
    for (int i = 0; i < TRIES; i++) {
        const struct process *process = run(argv);
        const char *text = process->err.text;
        if (!strstr(text, LATE) && !strstr(text, NO_TIME) && strstr(text, ": stacks of "))
            return process;
    }
    cr_assert_fail("ten times in a row too late: the allowance is too short");
    return NULL;
}

#define TAKE(...) take((const char *const[]){__VA_ARGS__, NULL})

static const char *find(const struct process *process, const char *text)
{
    const char *at = strstr(process->err.text, text);
    cr_assert(at, "no '%s' in '%s'", text, process->err.text);
    return at;
}

Test(stacks, of_all_threads_of_all_processes)
{
    need_stacks();
    const struct process *process =
        TAKE(COOPDL, "--stacks", "300ms", "sh", "-c", "sleep 40 & \"$0\" 2 1; true", CROWD);
    cr_assert_eq(exit_status(process), 124, "%s", process->err.text);
    cr_expect_geq(process->ended - process->started, 300 * MS);
    find(process, "coopdl: stacks of sh[");
    cr_expect(strstr(find(process, "coopdl: stacks of sleep["), "nanosleep"));
    const char *crowd = find(process, "coopdl: stacks of crowd[");
    cr_expect_eq(occurrences(crowd, "\nthread "), 3, "%s", process->err.text);
    cr_expect(strstr(crowd, " epoll_wait+0x"));
    cr_expect(strstr(crowd, " wait_at_depth+0x"));
    cr_expect(strstr(crowd, " main+0x"));
    cr_expect_eq(occurrences(crowd, " wait_in_thread+0x"), 2);
    cr_expect(strstr(crowd, " (libc.so") || strstr(crowd, " (libc-2."));
}

Test(stacks, names_of_cpp_are_as_in_the_source)
{
    need_stacks();
    const struct process *process = TAKE(COOPDL, "--stacks", "300ms", tested("TEST_BOXES"));
    find(process, " warehouse::count(warehouse::shelf const&, long)+0x");
}

/* The line of the call, and not of what comes after it. */
Test(stacks, a_frame_says_its_line_where_the_file_has_it)
{
    need_stacks();
    const struct process *process = TAKE(COOPDL, "--stacks", "300ms", tested("TEST_BOXES"));
    const char *frame = find(process, " main+0x");
    const char *line = strstr(frame, "boxes.cpp:19\n");
    cr_expect(line && line < strchr(frame, '\n'), "%s", process->err.text);
}

/* epoll_wait would tell. */
Test(stacks, nothing_is_stopped_before_and_the_cut_comes_behind)
{
    need_stacks();
    const struct process *process = TAKE(COOPDL, "--stacks", "-p", "300ms", CROWD, "0", "1");
    cr_expect_eq(exit_status(process), 3, "%s", process->err.text);
    const char *woken = strstr(process->out.text, "woken ");
    cr_assert(woken, "%s", process->out.text);
    cr_expect_geq(atoll(woken + strlen("woken ")), 100000, "%s", process->out.text);
}

Test(stacks, a_call_that_ends_by_itself_is_not_touched)
{
    need_stacks();
    const struct process *process = RUN(COOPDL, "--stacks", "9s", "sh", "-c", "sleep 0.2; exit 7");
    cr_expect_eq(exit_status(process), 7);
    cr_expect_str_empty(process->err.text);
}

Test(stacks, without_the_library_too)
{
    need_stacks();
    if (!*tested("TEST_DEAF_STATIC"))
        cr_skip_test("no static libc here");
    const struct process *process =
        RUN(COOPDL, "--stacks", "-s", "KILL", "300ms", tested("TEST_DEAF_STATIC"));
    find(process, "coopdl: stacks of deaf-static[");
    find(process, " main+0x");
    cr_expect_geq(process->ended - process->started, 300 * MS);
}

Test(stacks, what_is_left_out_is_said)
{
    need_stacks();
    const struct process *process = TAKE(COOPDL, "--stacks", "700ms", CROWD, "70", "100");
    find(process, "\n... (more frames are left out)\n");
    find(process, "\n... (7 more threads are left out)\n");
    cr_expect_eq(occurrences(process->err.text, "\nthread "), 64);
    const char *many =
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do sleep 40 & done; wait";
    process = TAKE(COOPDL, "--stacks", "700ms", "sh", "-c", many);
    cr_expect_eq(exit_status(process), 124);
    find(process, "coopdl: 2 more processes are left out\n");
}

/* Who has left the session has left the deadline; epoll_wait would tell. */
Test(stacks, a_daemon_is_not_stopped)
{
    need_stacks();
    static const char script[] =
        "setsid sh -c '\"$0\" 0 1 & sleep 1.5; kill $!' \"$0\" & exec \"$0\" 1 1";
    const struct process *process = TAKE(COOPDL, "--stacks", "500ms", "sh", "-c", script, CROWD);
    cr_expect_eq(occurrences(process->err.text, ": stacks of "), 1, "%s", process->err.text);
    cr_expect_eq(occurrences(process->out.text, "woken"), 1, "%s", process->out.text);
    process = TAKE(COOPDL, "--stacks", "--tree", "500ms", "sh", "-c", script, CROWD);
    cr_expect_gt(occurrences(process->err.text, ": stacks of "), 2, "%s", process->err.text);
}

Test(stacks, an_alarm_is_the_deadline)
{
    need_stacks();
    struct process *process = START(COOPDL, "--stacks", "50s", CROWD, "0", "1");
    await_text(process, &process->out, "waits\n");
    kill(process->pid, SIGALRM);
    await_exit(process);
    cr_expect_eq(exit_status(process), 124);
    find(process, "coopdl: stacks of crowd[");
    find(process, " main+0x");
}

static void refuse_ptrace(void)
{
    filter_call(SYS_ptrace, FILTER_ERROR(EPERM));
}

Test(stacks, where_ptrace_is_refused_one_line_says_so)
{
    need_stacks();
    before_exec = refuse_ptrace;
    const struct process *process =
        RUN(COOPDL, "--stacks", "-q", "300ms", "sh", "-c", "\"$0\" 0 1 & exec \"$0\" 3 1", CROWD);
    cr_expect_eq(exit_status(process), 124);
    ASSERT_ONE_LINE(process, "ptrace is refused", strerror(EPERM), "ptrace_scope");
    cr_expect_lt(process->ended - process->started, 4000 * MS, "it was the ladder");
}

Test(stacks, a_deadline_from_outside_is_not_put_off)
{
    need_stacks();
    setenv("COOPDL_BUDGET", "400ms", 1);
    const struct process *process = RUN(COOPDL, "--stacks", "-q", "50s", CROWD, "0", "1");
    unsetenv("COOPDL_BUDGET");
    ASSERT_ONE_LINE(process, "warning", "no stacks", "a deadline from outside is earlier");
    cr_expect_eq(exit_status(process), 124);
}

/* It is stopped on its way to a handler in most runs. */
Test(stacks, signals_arrive_all_the_same)
{
    need_stacks();
    for (int i = 0; i < 10; i++) {
        const struct process *process = TAKE(COOPDL, "--stacks", "-p", "100ms", CROWD, "signals");
        cr_assert_eq(exit_status(process), 3, "%s", process->err.text);
    }
}
