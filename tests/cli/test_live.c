/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_live.c -- coopdl --status: what a process waits in now, without stopping it.
 *
 * What must hold: the deadline that is told is never later than the true one; the call and
 * its peer are those that the thread is in; the process goes on.  Each process has said that
 * it is about to wait, or its thread is seen to be asleep, before it is asked for.
 */
#include "process.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(live, .init = set_up, .fini = tear_down, .timeout = 30);

/* COMMAND is the one child of coopdl. */
static pid_t child_of(pid_t pid)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    for (int i = 0; i < 1000 && !child; i++) {
        FILE *file = fopen(path, "re");
        if (file && fscanf(file, "%d", &child) != 1)
            child = 0;
        if (file)
            fclose(file);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    cr_assert(child, "coopdl has started nothing");
    return child;
}

/* Asks until the answer has this text: the process may not be in its call yet. */
static const char *status_of(pid_t pid, const char *awaited)
{
    char number[32];
    const char *said = "";
    snprintf(number, sizeof(number), "%d", (int)pid);
    for (int i = 0; i < 50 && !strstr(said, awaited); i++) {
        const struct process *process = RUN(COOPDL, "--status", number);
        cr_assert_eq(exit_status(process), 0);
        cr_expect_str_empty(process->err.text);
        cr_assert_not_null(process->out.text);
        said = process->out.text;
    }
    cr_assert(strstr(said, awaited), "no '%s' in '%s'", awaited, said);
    return said;
}

/* A duration, in seconds: 1m50s, 2.5s, 12ms. */
static double seconds_behind(const char *text, const char *words)
{
    const char *at = strstr(text, words);
    double seconds = 0;
    cr_assert(at, "no '%s' in '%s'", words, text);
    for (at += strlen(words); isdigit((unsigned char)*at);) {
        char *unit;
        double number = strtod(at, &unit);
        bool small = strncmp(unit, "ms", 2) == 0;
        seconds += small ? number / 1000 : *unit == 'm' ? number * 60 : number;
        cr_assert(small || *unit == 'm' || *unit == 's', "'%s' in '%s'", at, text);
        at = unit + (small ? 2 : 1);
    }
    return seconds;
}

static void end(struct process *process)
{
    kill(process->pid, SIGTERM);
    await_exit(process);
}

Test(live, the_deadline_the_call_and_since_when)
{
    struct process *process = START(COOPDL, "50s", "sleep", "40");
    pid_t sleep = child_of(process->pid);
    const char *said = status_of(sleep, "nanosleep()");
    char begin[64];
    snprintf(begin, sizeof(begin), "sleep[%d]: deadline in ", (int)sleep);
    double left = seconds_behind(said, begin);
    cr_expect(left > 0 && left <= 50, "%s", said);
    cr_expect_null(strstr(said, "the library is not in it"), "%s", said);
    cr_expect_eq(occurrences(said, "\n"), 2, "%s", said);
    /* It can have slept no longer than it is there.  Where the kernel does not tell, nor do we. */
    const char *idle = strstr(said, "has not run for ");
    double passed = (double)(now() - process->started) / 1e9;
    if (idle)
        cr_expect(seconds_behind(said, "has not run for ") <= passed + 0.1, "%s", said);
    cr_expect_eq(kill(sleep, 0), 0, "it goes on");
    char stat[128];
    snprintf(begin, sizeof(begin), "/proc/%d/stat", (int)sleep);
    FILE *file = fopen(begin, "re");
    cr_expect(file && fgets(stat, sizeof(stat), file) && strstr(stat, ") S "), "it is stopped");
    if (file)
        fclose(file);
    end(process);
}

Test(live, the_peer_of_a_connection)
{
    char address[64], target[64];
    const char *port = silent_port();
    snprintf(address, sizeof(address), "http://127.0.0.1:%s/", port);
    snprintf(target, sizeof(target), "poll() on tcp 127.0.0.1:%s, silent for ", port);
    struct process *process = START(COOPDL, "50s", "curl", "-s", address);
    status_of(child_of(process->pid), target);
    end(process);
}

Test(live, a_child)
{
    struct process *process = START(COOPDL, "--tree", "50s", "sh", "-c", "sleep 40; true");
    pid_t shell = child_of(process->pid);
    status_of(shell, "wait4() on any child");
    end(process);
}

Test(live, under_a_report_also_the_library)
{
    struct process *process = START(COOPDL, "--report=json", "50s", "sleep", "40");
    const char *said = status_of(child_of(process->pid), "nanosleep() (sleep) for ");
    double passed = (double)(now() - process->started) / 1e9;
    cr_expect(seconds_behind(said, " (sleep) for ") <= passed, "%s", said);
    end(process);
}

Test(live, a_budget_from_the_environment_and_none)
{
    setenv("COOPDL_BUDGET", "50s", 1);
    setenv("LD_PRELOAD", tested("TEST_LIBRARY"), 1);
    struct process *process = START("sleep", "40");
    unsetenv("COOPDL_BUDGET");
    unsetenv("LD_PRELOAD");
    double left = seconds_behind(status_of(process->pid, "nanosleep()"), "deadline in ");
    cr_expect(left > 0 && left <= 50, "%f", left);
    end(process);
    process = START("sleep", "40");
    status_of(process->pid, ": no deadline, and no library\n");
    end(process);
}

Test(live, what_is_no_process)
{
    ASSERT_REFUSED(RUN(COOPDL, "--status"), "one process", "coopdl --status PID");
    ASSERT_REFUSED(RUN(COOPDL, "--status", "x"), "'x'", "coopdl --status PID");
    ASSERT_REFUSED(RUN(COOPDL, "--status", "0"), "'0'", "coopdl --status PID");
    ASSERT_REFUSED(RUN(COOPDL, "--status", "1", "2"), "one process", "coopdl --status PID");
    ASSERT_REFUSED(RUN(COOPDL, "--status", "2147483647"), "no process 2147483647");
}
