/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stragglers.c -- the ladder for programs that the deadline does not reach:
 * those that drop the preload, are stopped, or outlive the command.
 */
#include "ladder.h"

/* The number of the process that has said it. */
static pid_t await_pid(struct process *process)
{
    await_text(process, &process->out, "\n");
    return (pid_t)strtol(process->out.text, NULL, 10);
}

static bool ends_soon(pid_t pid)
{
    for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
        usleep(10000);
    return kill(pid, 0) != 0;
}

Test(ladder, command_does_not_live_on_alone)
{
    static const int numbers[] = {SIGKILL, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF,
                                  SIGIO,   SIGXCPU, SIGHUP,  SIGALRM};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        struct process *process =
            START(COOPDL, "30", "sh", "-c", "echo $$; exec sleep 60 >/dev/null");
        pid_t command = await_pid(process);
        kill(process->pid, numbers[i]);
        cr_expect(ends_soon(command), "after signal %d", numbers[i]);
        kill(command, SIGKILL);
        await_exit(process);
        bool late = WIFEXITED(process->status) && WEXITSTATUS(process->status) == 124;
        cr_expect(numbers[i] == SIGALRM
                      ? late
                      : WIFSIGNALED(process->status) && WTERMSIG(process->status) == numbers[i],
                  "signal %d: status %x", numbers[i], (unsigned)process->status);
    }
}

/* They do not wait for the grace. */
Test(ladder, who_drops_the_preload_is_signalled_at_the_deadline)
{
    static const char *const dropping[] = {
        "exec env -i sleep 60",
        "env -i sleep 60; exit 3",
        "env -i sleep 60 & env -u LD_PRELOAD sleep 60 & wait; wait",
    };
    for (size_t i = 0; i < sizeof(dropping) / sizeof(*dropping); i++) {
        const struct process *process =
            RUN(COOPDL, "-v", "--grace=10s", "300ms", "sh", "-c", dropping[i]);
        cr_expect_eq(exit_status(process), 124);
        cr_expect(strstr(process->err.text, SENDING "TERM to "), "%s: '%s'", dropping[i],
                  process->err.text);
        cr_expect_geq(process->ended - process->started, 300 * MS);
        cr_expect_lt(process->ended - process->started, 3000 * MS, "%s", dropping[i]);
    }
}

#ifdef __GLIBC__
/* It has the library in a moment.  The loader waits for the FIFO before it maps anything else. */
Test(ladder, who_is_being_loaded_has_not_dropped_the_preload)
{
    const struct process *process =
        RUN(COOPDL, "-v", "--grace=10s", "300ms", "sh", "-c",
            "d=$(mktemp -d); mkfifo $d/f; "
            "setsid sh -c 'sleep 0.7; : >$0/f; rm -r $0' $d & " /* it leaves the deadline */
            "LD_AUDIT=$d/f exec sleep 60");
    cr_expect_eq(exit_status(process), 124);
    cr_expect(!strstr(process->err.text, SENDING), "%s", process->err.text);
    cr_expect_geq(process->ended - process->started, 300 * MS);
    cr_expect_lt(process->ended - process->started, 5000 * MS);
}
#endif

Test(ladder, who_drops_the_preload_is_left_alone_without_a_grace)
{
    const struct process *process =
        RUN(COOPDL, "-v", "--grace=off", "100ms", "env", "-i", "sleep", "0.5");
    cr_expect(!strstr(process->err.text, SENDING), "%s", process->err.text);
    cr_expect(strstr(process->err.text, "runs without the library"), "%s", process->err.text);
    cr_expect_geq(process->ended - process->started, 500 * MS);
}

/* Soon after the start, once: it has dropped the preload, or the loader has ignored it. */
Test(ladder, who_runs_without_the_library_is_told_of)
{
    static const struct {
        const char *grace, *deadline, *said;
        const char *command[3];
    } rows[] = {
        {"5s", "10s", "at the deadline it gets SIGTERM", {"env", "-i"}},
        {"5s", "10s", "at the deadline it gets SIGTERM", {"env", "LD_PRELOAD=/nonexistent.so"}},
        {"off", "300ms", "nothing ends it", {"env", "-i"}},
        {"5s", "10s", NULL, {"env", "-u", "HOME"}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char grace[32];
        const char *const *command = rows[i].command;
        snprintf(grace, sizeof(grace), "--grace=%s", rows[i].grace);
        const struct process *process =
            command[2]
                ? RUN(COOPDL, grace, rows[i].deadline, command[0], command[1], command[2], "sleep",
                      "0.6")
                : RUN(COOPDL, grace, rows[i].deadline, command[0], command[1], "sleep", "0.6");
        cr_expect(occurrences(process->err.text, "runs without the library") == !!rows[i].said,
                  "row %zu: '%s'", i, process->err.text);
        cr_expect(!rows[i].said || strstr(process->err.text, rows[i].said), "row %zu: '%s'", i,
                  process->err.text);
        cr_expect_geq(process->ended - process->started, 600 * MS);
    }
}

/* Not after the grace; and nothing goes on that would not under timeout(1). */
Test(ladder, who_is_stopped_is_signalled_at_the_deadline)
{
    static const char *const stopped[] = {
        "exec perl -e 'kill STOP => $$; print 1'",
        "perl -e 'kill STOP => $$; print 1'; echo next",
        "kill -STOP $$; echo next",
        "sh -c 'kill -STOP $$; echo next'; echo next",
        "env -i sh -c 'kill -STOP $$; echo next'; echo next",
        "exec env -i sh -c 'kill -STOP $$; echo next'",
    };
    for (size_t i = 0; i < sizeof(stopped) / sizeof(*stopped); i++) {
        const struct process *process = RUN(COOPDL, "--grace=10s", "300ms", "sh", "-c", stopped[i]);
        cr_expect_eq(exit_status(process), 124);
        cr_expect_str_empty(process->out.text, "%s: '%s'", stopped[i], process->out.text);
        cr_expect_geq(process->ended - process->started, 300 * MS);
        cr_expect_lt(process->ended - process->started, 5000 * MS, "%s", stopped[i]);
    }
}

Test(ladder, who_is_stopped_gets_the_signal_once)
{
    const struct process *process =
        RUN(COOPDL, "-v", "--grace=1s", "-k5", "300ms", "perl", "-e",
            "$| = 1; $SIG{TERM} = sub { print 'TERM '; exit 3 }; kill STOP => $$; print 'next'");
    cr_assert_str_eq(process->out.text, "TERM ");
    cr_assert(strstr(process->err.text, ", which is stopped\n"), "'%s'", process->err.text);
    cr_assert_eq(occurrences(process->err.text, SENDING), 1, "'%s'", process->err.text);
}

static void with_silent_input(void)
{
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[0], STDIN_FILENO) < 0)
        _exit(95);
}

/* coopdl's group is not the terminal's: who reads it is stopped. */
Test(ladder, a_background_read_of_a_terminal_ends_at_the_deadline)
{
    before_exec = with_silent_input;
    const struct process *process =
        RUN("script", "-qec", "\"$COOPDL\" -v --grace=10s 300ms cat /dev/tty; echo status $?",
            "/dev/null");
    cr_assert(strstr(process->out.text, ", which is stopped"), "'%s'", process->out.text);
    cr_assert(strstr(process->out.text, "status 124"), "'%s'", process->out.text);
    cr_assert_geq(process->ended - process->started, 300 * MS);
    cr_assert_lt(process->ended - process->started, 5000 * MS);
}

Test(ladder, who_is_stopped_is_only_continued_without_a_grace)
{
    const struct process *process = RUN(COOPDL, "-vp", "--grace=off", "300ms", "perl", "-e",
                                        "kill STOP => $$; print 'on'; sleep 60; exit 33");
    cr_assert(!strstr(process->err.text, SENDING), "'%s'", process->err.text);
    cr_assert_eq(exit_status(process), 33);
    cr_assert_str_eq(process->out.text, "on");
}

/* coopdl has gone in time; who is left then takes the steps of the ladder itself. */
Test(ladder, who_outlives_coopdl_has_a_ladder_of_its_own)
{
    struct process *process = START(COOPDL, "-v", "--grace=300ms", "-k300ms", "500ms", "sh", "-c",
                                    "\"$TEST_DEAF\" 9000 & sleep 0.1");
    await_end(&process->out);
    int64_t end = now();
    await_exit(process);
    cr_assert_eq(exit_status(process), 0);
    cr_assert_str_empty(process->err.text);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
    cr_assert_geq(said(process, "TERM "), said(process, "ready ") + 300 * MS);
    cr_assert_geq(end, said(process, "ready ") + 600 * MS);
    cr_assert_lt(end, process->started + 6000 * MS);
}

Test(ladder, who_outlives_coopdl_gets_the_signal_that_was_asked_for)
{
    struct process *process = START(COOPDL, "-sHUP", "--grace=200ms", "400ms", "sh", "-c",
                                    "\"$TEST_DEAF\" 2000 & sleep 0.1");
    await_end(&process->out);
    cr_assert_eq(occurrences(process->out.text, "HUP "), 1, "'%s'", process->out.text);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 0, "'%s'", process->out.text);
}

/* It has got it from coopdl, which then goes. */
Test(ladder, who_was_signalled_by_coopdl_does_not_signal_itself)
{
    struct process *process =
        START(COOPDL, "--grace=300ms", "300ms", "sh", "-c", "\"$TEST_DEAF\" 1500 & exec sleep 60");
    await_end(&process->out);
    cr_assert_eq(occurrences(process->out.text, "TERM "), 1, "'%s'", process->out.text);
}

/* The first one leaves its group in time, and coopdl is there until the second one ends. */
Test(ladder, who_has_left_the_group_is_signalled_once_coopdl_has_gone)
{
    struct process *process =
        START(COOPDL, "--grace=200ms", "400ms", "bash", "-c",
              "set -m; \"$TEST_DEAF\" 9000 & exec \"$TEST_DEAF\" 1200 >/dev/null");
    await_text(process, &process->out, "TERM ");
    cr_assert_geq(said(process, "TERM "), process->started + 1200 * MS);
    cr_assert_lt(said(process, "TERM "), process->started + 6000 * MS);
}
