/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ladder.c -- what is sent, to whom, when, and how often.
 *
 * Nothing may come early: that is held exactly, against the deadline that the
 * program finds in its environment and the times that it writes down itself.
 */
#include "ladder.h"

TestSuite(ladder, .init = set_up, .fini = tear_down, .timeout = 30);

/* Needs the library's wrappers. */
Test(ladder, program_ends_by_itself)
{
    const struct process *process = RUN(COOPDL, "-v", "500ms", "sleep", "60");
    cr_assert_eq(exit_status(process), 124);
    cr_assert(strstr(process->err.text, PASSED "sleep'\n"), "'%s'", process->err.text);
    cr_assert(!strstr(process->err.text, SENDING), "'%s'", process->err.text);
    cr_assert_geq(process->ended - process->started, 500 * MS);
    cr_assert_lt(process->ended - process->started, 3000 * MS);
}

/* Needs the library's wrappers. */
Test(ladder, status_of_a_program_that_ends_by_itself_is_kept_if_asked)
{
    const struct process *process =
        RUN(COOPDL, "-v", "--preserve-status", "200ms", "perl", "-e", "sleep 60; exit 33");
    cr_assert_eq(exit_status(process), 33);
    cr_assert(!strstr(process->err.text, SENDING), "'%s'", process->err.text);
}

Test(ladder, signal_after_the_grace_and_kill_after_that)
{
    const struct process *process = RUN(COOPDL, "-qv", "--grace=300ms", "-k200ms", "200ms", DEAF);
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGKILL);
    cr_assert_geq(said(process, "TERM "), said(process, "ready ") + 300 * MS);
    cr_assert_lt(said(process, "TERM "), said(process, "ready ") + 3000 * MS);
    cr_assert_geq(process->ended, said(process, "ready ") + 500 * MS);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
    cr_assert_eq(occurrences(process->out.text, "CONT "), 1, "'%s'", process->out.text);

    char expected[1024];
    snprintf(expected, sizeof(expected),
             PASSED "%s'\n" SENDING "TERM to command '%s'\n" SENDING "KILL to command '%s'\n", DEAF,
             DEAF, DEAF);
    cr_assert_str_eq(process->err.text, expected);
}

Test(ladder, without_verbose_nothing_is_said)
{
    const struct process *process = RUN(COOPDL, "--grace=0", "-k100ms", "100ms", DEAF);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
    cr_assert_str_empty(process->err.text);
}

Test(ladder, grace_and_kill_after_from_the_environment)
{
    setenv("COOPDL_GRACE", "400ms", 1);
    setenv("COOPDL_KILL_AFTER", "200ms", 1);
    const struct process *process = RUN(COOPDL, "--foreground", "100ms", DEAF);
    cr_assert_eq(exit_status(process), 137);
    cr_assert_geq(said(process, "TERM "), said(process, "ready ") + 400 * MS);
    cr_assert_lt(said(process, "TERM "), said(process, "ready ") + 3000 * MS);
}

Test(ladder, grace_off_never_signals)
{
    const struct process *process = RUN(COOPDL, "-v", "--grace=off", "-k0.1", "100ms", DEAF, "900");
    cr_assert_eq(exit_status(process), 124);
    cr_assert(strstr(process->err.text, PASSED), "'%s'", process->err.text);
    cr_assert(!strstr(process->err.text, SENDING), "'%s'", process->err.text);
    cr_assert(!strstr(process->out.text, "TERM "), "'%s'", process->out.text);
}

/* There is no signal for the grace to put off. */
Test(ladder, without_a_signal_kill_counts_from_the_deadline)
{
    const struct process *process = RUN(COOPDL, "-s0", "-k300ms", "200ms", DEAF);
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGKILL);
    int64_t took = process->ended - process->started;
    cr_assert(took >= 500 * MS && took < 4000 * MS, "%d ms", (int)(took / MS));
    cr_assert(!strstr(process->out.text, "TERM "), "'%s'", process->out.text);
}

Test(ladder, kill_after_zero_never_kills)
{
    setenv("COOPDL_KILL_AFTER", "100ms", 1);
    const struct process *process = RUN(COOPDL, "--grace=0", "-k0", "100ms", DEAF, "900");
    cr_assert_eq(exit_status(process), 124);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
}

Test(ladder, inner_command_signals_although_the_outer_one_has_switched_the_library_off)
{
    const struct process *process = RUN(COOPDL, "60s", COOPDL, "-v", "-k200ms", "100ms", DEAF);
    cr_assert_geq(said(process, "TERM "), said(process, "ready ") + 5000 * MS);
    cr_assert(strstr(process->err.text, SENDING "TERM"), "'%s'", process->err.text);
}

Test(ladder, no_limit_no_signal)
{
    const struct process *process = RUN(COOPDL, "-v", "--grace=0", "0", DEAF, "400");
    cr_assert_eq(exit_status(process), 0);
    cr_assert_str_eq(process->out.text, "ready - -\n");
    cr_assert_str_empty(process->err.text);
}

#define TWO "sh", "-c", "\"$TEST_DEAF\" & exec \"$TEST_DEAF\""

Test(ladder, group_is_signalled)
{
    const struct process *process = RUN(COOPDL, "--grace=0", "-k500ms", "1s", TWO);
    cr_assert_eq(occurrences(process->out.text, "ready "), 2, "'%s'", process->out.text);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 2, "'%s'", process->out.text);
}

Test(ladder, command_gets_the_signal_once)
{
    /* A realtime signal: two of them stay two. */
    const struct process *process =
        RUN(COOPDL, "--grace=0", "-s", "RTMIN+1", "-k200ms", "200ms", DEAF);
    cr_assert_eq(occurrences(process->out.text, "realtime "), 1, "'%s'", process->out.text);
}

/* The command itself ends at the deadline; needs the library's wrappers. */
#define LEAVES "\"$TEST_DEAF\" & exec sleep 60"

Test(ladder, what_the_command_leaves_is_signalled_after_the_grace)
{
    const struct process *process =
        RUN(COOPDL, "-v", "--grace=500ms", "-k500ms", "1s", "sh", "-c", LEAVES);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
    cr_assert_geq(said(process, "TERM "), said(process, "ready ") + 500 * MS);
    cr_assert(strstr(process->err.text, SENDING "TERM to what command 'sh' has left\n"), "'%s'",
              process->err.text);
    cr_assert(strstr(process->err.text, SENDING "KILL to what command 'sh' has left\n"), "'%s'",
              process->err.text);
}

/* It has 1.5 s, and the grace is not waited for. */
Test(ladder, what_the_command_leaves_may_end_by_itself)
{
    const struct process *process =
        RUN(COOPDL, "-v", "--grace=10s", "1s", "sh", "-c", "\"$TEST_DEAF\" 1500 & exec sleep 60");
    cr_assert_eq(exit_status(process), 124);
    cr_assert_geq(process->ended - process->started, 1500 * MS);
    cr_assert_lt(process->ended - process->started, 8000 * MS);
    cr_assert(!strstr(process->err.text, SENDING), "'%s'", process->err.text);
}

Test(ladder, what_the_command_leaves_in_time_is_left_alone)
{
    const struct process *process = RUN(COOPDL, "--grace=0", "800ms", "sh", "-c",
                                        "\"$TEST_DEAF\" 3000 >/dev/null 2>&1 & exec sleep 0.1");
    cr_assert_eq(exit_status(process), 0);
    cr_assert_lt(process->ended - process->started, 800 * MS);
}

Test(ladder, what_the_command_leaves_is_left_alone_without_a_grace)
{
    const struct process *process = RUN(COOPDL, "--grace=off", "300ms", "sh", "-c",
                                        "\"$TEST_DEAF\" 9000 >/dev/null 2>&1 & exec sleep 60");
    cr_assert_eq(exit_status(process), 124);
    cr_assert_lt(process->ended - process->started, 5000 * MS);
}

/* A pipeline's other programs are in our group where a shell has made us its leader; they are not
 * waited for, as they may wait for us. */
Test(ladder, who_shares_the_group_is_not_waited_for)
{
    const struct process *process =
        RUN("bash", "-c", "set -m; \"$COOPDL\" -v --grace=4s 500ms sleep 60 | cat");
    cr_assert_lt(process->ended - process->started, 3500 * MS);
    cr_assert(!strstr(process->err.text, SENDING), "'%s'", process->err.text);
}

Test(ladder, callers_group_is_left_alone)
{
    const struct process *process =
        RUN("sh", "-c", "\"$COOPDL\" --grace=0 200ms sh -c 'while :; do :; done'; echo $?");
    cr_assert_eq(exit_status(process), 0);
    cr_assert_str_eq(process->out.text, "124\n");
}

Test(ladder, foreground_signals_the_command_alone)
{
    const struct process *process = RUN(COOPDL, "--foreground", "--grace=0", "-k500ms", "1s", TWO);
    cr_assert_eq(exit_status(process), 137);
    cr_assert_eq(occurrences(process->out.text, "ready "), 2, "'%s'", process->out.text);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
}

Test(ladder, command_that_has_left_the_group_is_signalled)
{
    /* setsid runs it in a session of its own; the group's signal does not reach it there. */
    const struct process *process = RUN(COOPDL, "--grace=0", "-k300ms", "500ms", "setsid", DEAF);
    cr_assert_eq(occurrences(process->out.text, "ready "), 1, "'%s'", process->out.text);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
}

Test(ladder, signals_are_passed_on_once)
{
    static const struct {
        int number;
        const char *name;
    } passed_on[] = {{SIGTERM, "TERM "}, {SIGINT, "INT "}, {SIGHUP, "HUP "}, {SIGQUIT, "QUIT "}};
    for (int foreground = 0; foreground <= 1; foreground++) {
        struct process *process =
            START(COOPDL, foreground ? "--foreground" : "-v", "-s", "USR1", "60", DEAF);
        await_text(process, &process->out, "ready ");
        for (int i = 0; i < 4; i++) {
            kill(process->pid, passed_on[i].number);
            await_text(process, &process->out, passed_on[i].name);
        }
        kill(process->pid, SIGUSR1);
        await_exit(process);
        cr_assert_eq(exit_status(process), 7); /* in time: deaf's own answer to USR1 */
        for (int i = 0; i < 4; i++)
            cr_assert_eq(occurrences(process->out.text, passed_on[i].name), 1, "'%s'",
                         process->out.text);
    }
}

Test(ladder, kill_follows_a_signal_that_was_passed_on)
{
    struct process *process = START(COOPDL, "--foreground", "-v", "-k300ms", "60", DEAF);
    await_text(process, &process->out, "ready ");
    int64_t sent = now();
    kill(process->pid, SIGTERM);
    await_exit(process);
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGKILL, "status %#x",
              process->status);
    cr_assert_geq(process->ended, sent + 300 * MS);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
    cr_assert(!strstr(process->err.text, PASSED), "'%s'", process->err.text);
}

Test(ladder, command_ends_by_the_signal_that_it_passed_on)
{
    struct process *process = START(COOPDL, "60", "sh", "-c", "echo ready; exec sleep 60");
    await_text(process, &process->out, "ready");
    kill(process->pid, SIGTERM);
    await_exit(process);
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGTERM, "status %#x",
              process->status);
}

static void ignore_hangup(void)
{
    signal(SIGHUP, SIG_IGN);
}

Test(ladder, ignored_signal_is_not_passed_on)
{
    before_exec = ignore_hangup;
    struct process *process = START(COOPDL, "60", DEAF);
    await_text(process, &process->out, "ready ");
    kill(process->pid, SIGHUP);
    kill(process->pid, SIGTERM);
    await_text(process, &process->out, "TERM ");
    cr_assert(!strstr(process->out.text, "HUP "), "'%s'", process->out.text);
}

static void ignore_interrupt(void)
{
    signal(SIGINT, SIG_IGN);
}

/* As it is in a script's background job. */
Test(ladder, ignored_interrupt_is_passed_on)
{
    before_exec = ignore_interrupt;
    struct process *process = START("sh", "-c", "\"$COOPDL\" --foreground 30 sh -c '\
        trap \"echo interrupted; exit\" INT; echo ready; while :; do sleep 0.1; done'");
    await_text(process, &process->out, "ready");
    kill(-process->pid, SIGINT);
    await_text(process, &process->out, "interrupted");

    process = START(COOPDL, "30", DEAF);
    await_text(process, &process->out, "ready ");
    kill(process->pid, SIGINT);
    await_text(process, &process->out, "INT ");
}

static void ignore_user_signal(void)
{
    signal(SIGUSR2, SIG_IGN);
}

Test(ladder, ignored_signal_that_is_to_be_sent_counts)
{
    before_exec = ignore_user_signal;
    const struct process *process =
        RUN(COOPDL, "--grace=0", "-s", "USR2", "100ms", "sh", "-c", "while :; do :; done");
    cr_assert_eq(exit_status(process), 124);
}

/* The outer one hands on what the inner one takes for its own deadline, or hands on too. */
Test(ladder, an_alarm_reaches_the_command_through_two_of_them)
{
    struct process *process =
        START(COOPDL, "--grace=0", "-sALRM", "30", COOPDL, "--grace=0", "-sINT", "25", DEAF);
    await_text(process, &process->out, "ready ");
    kill(process->pid, SIGALRM);
    await_text(process, &process->out, "INT ");
    kill(process->pid, SIGKILL);
}

/* Without a grace there is nothing of ours in between, and the words are timeout(1)'s. */
Test(ladder, without_a_grace_it_is_timeout)
{
    setenv("COOPDL_GRACE", "0", 1);
    const struct process *process =
        RUN("bash", "-c", "exec -a timeout \"$COOPDL\" -v -s0 -k.1 .1 sleep 60");
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGKILL);
    cr_assert_str_eq(process->err.text, "timeout: sending signal EXIT to command 'sleep'\n"
                                        "timeout: sending signal KILL to command 'sleep'\n");
    cr_assert_str_eq(RUN(COOPDL, "5", "sh", "-c", "echo \"$LD_PRELOAD\"")->out.text, "\n");
}

static void block_alarm(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

Test(ladder, a_blocked_alarm_is_of_no_account)
{
    before_exec = block_alarm;
    cr_assert_eq(exit_status(RUN(COOPDL, "--grace=0", ".1", "sleep", "60")), 124);
    cr_assert_eq(exit_status(RUN(COOPDL, ".1", "sleep", "60")), 124);
}

/* Its end is not COMMAND's. */
Test(ladder, a_child_that_it_starts_off_with_is_not_the_command)
{
    const struct process *process =
        RUN("sh", "-c", "sleep .1 & exec \"$COOPDL\" --grace=0 .5 sh -c 'sleep 2; echo on'");
    cr_assert_eq(exit_status(process), 124);
    cr_assert_str_empty(process->out.text);
}

/* A pipe that nobody reads: SIGPIPE for whoever writes. */
static void break_stderr(void)
{
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        _exit(97);
    close(ends[0]);
    close(ends[1]);
}

Test(ladder, closed_stderr_does_not_keep_the_signal_back)
{
    before_exec = break_stderr;
    const struct process *process = RUN(COOPDL, "-v", "--grace=0", "-k100ms", "100ms", DEAF);
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGKILL, "status %#x",
              process->status);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
}

Test(ladder, outer_budget_does_not_disturb_the_waiting)
{
    setenv("COOPDL_BUDGET", "200ms", 1);
    const struct process *process = RUN(COOPDL, "60", DEAF, "1200");
    cr_assert_eq(exit_status(process), 124);
    cr_assert_geq(process->ended - process->started, 1200 * MS);
    cr_assert(!strstr(process->out.text, "TERM "), "'%s'", process->out.text);
    cr_assert_lt(process->cpu, 400 * MS, "%" PRId64 " ms of processor time", process->cpu / MS);
}

/* The command is inside the outer budget itself; the ladder of that is not for it. */
Test(ladder, outer_budget_leaves_the_command_alone)
{
    setenv("COOPDL_BUDGET", "200ms", 1);
    setenv("COOPDL_GRACE", "100ms", 1);
    setenv("COOPDL_KILL_AFTER", "300ms", 1);
    const struct process *process = RUN(COOPDL, "-v", "-s", "INT", "60", DEAF);
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGKILL);
    cr_assert_eq(occurrences(process->err.text, SENDING "INT"), 1, "'%s'", process->err.text);
    cr_assert_eq(occurrences(process->err.text, SENDING "KILL"), 1, "'%s'", process->err.text);
    cr_assert_geq(process->ended - process->started, 600 * MS);
}
