/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_budget.c -- the environment: what it does to a whole process, and what
 * happens when it cannot be understood.
 *
 * The programs under test are started anew with the library preloaded, since
 * the environment is read once, before main.
 */
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

TestSuite(budget, .timeout = 60);

struct outcome {
    int status;
    int64_t begun, took;
    char output[8192]; /* stdout and stderr */
};

/* Runs a shell command under sh -c, with `settings` ("NAME=value NAME=value") for it alone. */
static struct outcome run(const char *settings, const char *command)
{
    struct outcome outcome = {0};
    char line[4096];
    int ends[2];
    cr_assert(pipe2(ends, O_CLOEXEC) == 0);
    snprintf(line, sizeof(line), "exec env %s LD_PRELOAD='%s' %s", settings,
             getenv("COOPDL_LIBRARY"), command);
    outcome.begun = coopdl_now();
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(126);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], outcome.output + length, sizeof(outcome.output) - 1 - length)) > 0)
        length += got;
    outcome.status = status_of(child);
    outcome.took = coopdl_now() - outcome.begun;
    close(ends[0]);
    return outcome;
}

static int lines(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

Test(budget, ends_a_sleep)
{
    struct outcome o = run("COOPDL_BUDGET=300ms", "sleep 60");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 1, "status %x: %s", o.status,
              o.output);
    cr_expect(o.took >= 300 * MS, "%lld us", (long long)o.took / 1000);
    cr_expect(o.took < 300 * MS + LATEST, "%lld us", (long long)o.took / 1000);
    cr_expect(strstr(o.output, "timed out"), "%s", o.output);
}

Test(budget, zero_is_already_over)
{
    struct outcome o = run("COOPDL_BUDGET=0", "sleep 60");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 1, "%s", o.output);
    cr_expect(o.took < 1000 * MS);
}

Test(budget, far_one_changes_nothing)
{
    struct outcome o = run("COOPDL_BUDGET=292d", "sh -c 'echo one | cat; exit 7'");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 7);
    cr_expect_str_eq(o.output, "one\n");
}

Test(budget, one_thread)
{
    /* Neither without a budget nor with one, before its end or after it. */
    static const char *settings[] = {"", "COOPDL_BUDGET=1h", "COOPDL_BUDGET=0 COOPDL_GRACE=off"};
    for (size_t i = 0; i < 3; i++) {
        struct outcome o = run(settings[i], "grep Threads: /proc/self/status");
        cr_expect_str_eq(o.output, "Threads:\t1\n", "with '%s': %s", settings[i], o.output);
    }
}

Test(budget, children_do_not_restart_the_clock)
{
    /* Three processes deep, through a shell that brings its own environment functions. */
    struct outcome o =
        run("COOPDL_BUDGET=400ms COOPDL_GRACE=off",
            "bash -c \"sleep 0.2; bash -c 'sleep 0.1; sleep 60; echo inner; true'; true\"");
    cr_expect(o.took >= 400 * MS && o.took < 400 * MS + LATEST, "%lld us: %s",
              (long long)o.took / 1000, o.output);
    cr_expect(strstr(o.output, "inner"));
}

Test(budget, the_earlier_of_the_two_rules)
{
    char settings[200];
    snprintf(settings, sizeof(settings), "COOPDL_BUDGET=10s COOPDL_DEADLINE=%lld",
             (long long)coopdl_after(200 * MS));
    struct outcome o = run(settings, "sleep 60");
    cr_expect(o.took < 200 * MS + LATEST);
    snprintf(settings, sizeof(settings), "COOPDL_BUDGET=200ms COOPDL_DEADLINE=%lld",
             (long long)coopdl_after(10 * COOPDL_SECOND));
    o = run(settings, "sleep 60");
    cr_expect(o.took >= 200 * MS && o.took < 200 * MS + LATEST);
}

Test(budget, environment_is_left_alone)
{
    struct outcome o = run("-i A=1", "env");
    cr_expect_null(strstr(o.output, "COOPDL_DEADLINE"), "%s", o.output);
    o = run("-i A=1 COOPDL_BUDGET=1h", "env");
    cr_expect(strstr(o.output, "COOPDL_DEADLINE="), "%s", o.output);
    cr_expect(strstr(o.output, "A=1\n"));
}

Test(budget, ladder_terminates)
{
    struct outcome o =
        run("COOPDL_BUDGET=100ms COOPDL_GRACE=200ms", "bash -c 'while :; do :; done'");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGTERM, "status %x: %s", o.status,
              o.output);
    cr_expect(o.took >= 300 * MS && o.took < 300 * MS + LATEST, "%lld us",
              (long long)o.took / 1000);
}

Test(budget, ladder_kills)
{
    struct outcome o = run("COOPDL_BUDGET=100ms COOPDL_GRACE=100ms COOPDL_KILL_AFTER=200ms",
                           "bash -c 'trap : TERM; while :; do :; done'");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGKILL, "status %x: %s", o.status,
              o.output);
    cr_expect(o.took >= 400 * MS && o.took < 400 * MS + LATEST, "%lld us",
              (long long)o.took / 1000);
    /* Without SIGTERM it counts from the budget's end. */
    o = run("COOPDL_BUDGET=100ms COOPDL_GRACE=off COOPDL_KILL_AFTER=200ms",
            "bash -c 'trap : TERM; while :; do :; done'");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGKILL, "status %x", o.status);
    cr_expect(o.took >= 300 * MS && o.took < 300 * MS + LATEST);
}

Test(budget, ladder_off)
{
    /* `timeout` from outside, since nothing of ours ends it. */
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_GRACE=off",
                           "timeout --foreground -s KILL 1 bash -c 'while :; do :; done'");
    cr_expect(o.took >= 950 * MS, "%lld us", (long long)o.took / 1000);
}

Test(budget, errno_policy)
{
    static const struct {
        const char *policy, *expected;
    } policies[] = {
        {"escalate", "[4, 110, 110]"}, {"eintr", "[4, 4, 4]"}, {"etimedout", "[110, 110, 110]"}};
    for (size_t i = 0; i < 3; i++) {
        char settings[100];
        snprintf(settings, sizeof(settings), "COOPDL_BUDGET=50ms COOPDL_ERRNO=%s",
                 policies[i].policy);
        struct outcome o =
            run(settings, "perl -e 'pipe(R, W); for (1..3) { sysread(R, $x, 1); push @e, $!+0 } "
                          "print \"[\" . join(\", \", @e) . \"]\"'");
        cr_expect_str_eq(o.output, policies[i].expected, "%s: %s", policies[i].policy, o.output);
    }
}

Test(budget, log)
{
    char path[] = "/tmp/coopdl-test-XXXXXX", settings[200], text[4096] = "";
    int fd = mkstemp(path);
    snprintf(settings, sizeof(settings), "COOPDL_BUDGET=50ms COOPDL_TRAP=1 COOPDL_LOG=%s", path);
    run(settings, "sleep 60");
    cr_expect(read(fd, text, sizeof(text) - 1) > 0);
    unlink(path);
    cr_expect(strstr(text, "coopdl: sleep["), "%s", text);
    cr_expect(strstr(text, "nanosleep"), "%s", text);
    cr_expect(lines(text) == 1, "one line for each first cut: %s", text);
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_LOG=1", "sleep 60");
    cr_expect(strstr(o.output, "coopdl: sleep["), "%s", o.output);
}

Test(budget, log_says_once_why_there_is_no_trap)
{
    /* Two threads, and the reason of one of them. */
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_GRACE=off COOPDL_LOG=1 COOPDL_TRAP=0",
                           getenv("COOPDL_STDIO_READER"));
    const char *said = strstr(o.output, "the trap is not in use");
    cr_expect(said && strstr(said, "COOPDL_TRAP=0\n"), "%s", o.output);
    cr_expect(said && !strstr(said + 1, "the trap is not in use"), "%s", o.output);
}

Test(budget, under_valgrind_there_is_no_trap)
{
    /* It makes the program's system calls from code of its own. */
    char command[1000];
    if (access("/usr/bin/valgrind", X_OK) != 0)
        cr_skip_test("there is no valgrind");
    snprintf(command, sizeof(command), "valgrind -q %s", getenv("COOPDL_STDIO_READER"));
    struct outcome o = run("COOPDL_BUDGET=3s COOPDL_GRACE=off", command);
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0, "status %x: %s", o.status,
              o.output);
    cr_expect_str_eq(o.output, "main 4\nthread 4\n");
}

Test(budget, another_signal)
{
    static const char *signals[] = {"RTMIN+7", "SIGRTMAX-1", "USR2", "SIGURG", "50"};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        char settings[100];
        snprintf(settings, sizeof(settings), "COOPDL_BUDGET=100ms COOPDL_SIGNAL=%s", signals[i]);
        struct outcome o = run(settings, "perl -e 'pipe(R, W); sysread(R, $x, 1); print $!+0'");
        cr_expect_str_eq(o.output, "4", "%s: %s, status %x", signals[i], o.output, o.status);
        cr_expect(o.took >= 100 * MS && o.took < 100 * MS + LATEST);
    }
}

Test(budget, without_queued_signals)
{
    /* No timer and no realtime signal is to be had: a thread and SIGURG do the work. */
    struct outcome o =
        run("COOPDL_BUDGET=200ms", "bash -c 'ulimit -i 0; exec perl -e \""
                                   "pipe(R, W); sysread(R, \\$x, 1); print \\$!+0\"'");
    cr_expect_str_eq(o.output, "4", "%s", o.output);
    cr_expect(o.took >= 200 * MS && o.took < 200 * MS + LATEST, "%lld us",
              (long long)o.took / 1000);
}

Test(budget, calls_inside_libc_are_kicked_too)
{
    /* fgets on a pipe in a thread that no wrapper has seen: EINTR, at the budget's end. */
    struct outcome o = run("COOPDL_BUDGET=200ms COOPDL_GRACE=off", getenv("COOPDL_STDIO_READER"));
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0, "status %x: %s", o.status,
              o.output);
    cr_expect(o.took >= 200 * MS && o.took < 200 * MS + LATEST, "%lld us",
              (long long)o.took / 1000);
    cr_expect_str_eq(o.output, "main 4\nthread 4\n");
}

Test(budget, excluded_threads)
{
    char command[1000];
    snprintf(command, sizeof(command), "%s excluded", getenv("COOPDL_STDIO_READER"));
    struct outcome o =
        run("COOPDL_BUDGET=200ms COOPDL_GRACE=off COOPDL_EXCLUDE_THREADS=a,excluded", command);
    cr_expect_str_eq(o.output, "main 4\n", "%s", o.output);
}

static const struct {
    const char *name, *value, *accepted;
} refused[] = {
    {"COOPDL_BUDGET", "", "accepted: seconds"},
    {"COOPDL_BUDGET", "5x", "accepted: seconds"},
    {"COOPDL_BUDGET", "-5", "accepted: seconds"},
    {"COOPDL_BUDGET", "nan", "accepted: seconds"},
    {"COOPDL_BUDGET", "293y", "accepted: seconds"},
    {"COOPDL_BUDGET", "99999999999", "292 years"},
    {"COOPDL_BUDGET", "off", "accepted: seconds"},
    {"COOPDL_DEADLINE", "", "CLOCK_MONOTONIC"},
    {"COOPDL_DEADLINE", "5s", "CLOCK_MONOTONIC"},
    {"COOPDL_DEADLINE", "-5", "CLOCK_MONOTONIC"},
    {"COOPDL_DEADLINE", "9223372036854775808", "CLOCK_MONOTONIC"},
    {"COOPDL_ERRNO", "", "escalate, eintr, etimedout"},
    {"COOPDL_ERRNO", "EINTR", "escalate, eintr, etimedout"},
    {"COOPDL_GRACE", "soon", "or off"},
    {"COOPDL_GRACE", "", "or off"},
    {"COOPDL_KILL_AFTER", "-1", "or off"},
    {"COOPDL_SIGNAL", "KILL", "RTMIN+n"},
    {"COOPDL_SIGNAL", "SEGV", "RTMIN+n"},
    {"COOPDL_SIGNAL", "0", "RTMIN+n"},
    {"COOPDL_SIGNAL", "33", "RTMIN+n"},
    {"COOPDL_SIGNAL", "65", "RTMIN+n"},
    {"COOPDL_SIGNAL", "RTMIN+99", "RTMIN+n"},
    {"COOPDL_SIGNAL", "RTMAX-", "RTMIN+n"},
    {"COOPDL_SIGNAL", "", "RTMIN+n"},
    {"COOPDL_TRAP", "2", "0, 1"},
    {"COOPDL_TRAP", "", "0, 1"},
    {"COOPDL_LOG", "", "path of a file"},
    {"COOPDL_LOG", "/nonexistent/log", "path of a file"},
};

Test(budget, what_cannot_be_understood_is_refused)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        char settings[200], quoted[100];
        snprintf(settings, sizeof(settings), "%s='%s'", refused[i].name, refused[i].value);
        snprintf(quoted, sizeof(quoted), "%s='%s'", refused[i].name, refused[i].value);
        struct outcome o = run(settings, "echo started");
        cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 125, "%s: status %x", quoted,
                  o.status);
        cr_expect_null(strstr(o.output, "started"), "%s: it was started", quoted);
        cr_expect(lines(o.output) == 1, "%s: %s", quoted, o.output);
        cr_expect(strstr(o.output, quoted), "%s is not named: %s", quoted, o.output);
        cr_expect(strstr(o.output, refused[i].accepted), "%s: %s", quoted, o.output);
    }
}
