/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_budget.c -- what a budget does to a whole process and to what it starts: its end, its
 * ladder, what is cut and what is not.
 *
 * The programs under test are started anew with the library preloaded, since the environment is
 * read once, before main.  test_budget_settings.c has the other variables.
 */
#include "preloaded.h"

#include <sched.h>
#include <signal.h>

TestSuite(budget, .timeout = 60);

Test(budget, ends_a_sleep)
{
    struct outcome o = run("COOPDL_BUDGET=300ms", "sleep 60");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 1, "status %x: %s", o.status,
              o.output);
    cr_expect(o.took >= 300 * MS, "%lld us", (long long)o.took / 1000);
    cr_expect(o.took < 300 * MS + LATEST, "%lld us", (long long)o.took / 1000);
    cr_expect(strstr(o.output, "timed out"), "%s", o.output);
}

Test(budget, shortest_is_already_over)
{
    struct outcome o = run("COOPDL_BUDGET=1ns", "sleep 60");
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
    static const char *settings[] = {"", "COOPDL_BUDGET=1h", "COOPDL_BUDGET=1ns COOPDL_GRACE=off"};
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
    struct outcome o = run("COOPDL_BUDGET=100ms COOPDL_GRACE=200ms", "perl -e '1 while 1'");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGTERM, "status %x: %s", o.status,
              o.output);
    cr_expect(o.took >= 300 * MS && o.took < 300 * MS + LATEST, "%lld us",
              (long long)o.took / 1000);
}

Test(budget, ladder_kills)
{
    struct outcome o = run("COOPDL_BUDGET=100ms COOPDL_GRACE=100ms COOPDL_KILL_AFTER=200ms",
                           "perl -e '$SIG{TERM} = sub {}; 1 while 1'");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGKILL, "status %x: %s", o.status,
              o.output);
    cr_expect(o.took >= 400 * MS && o.took < 400 * MS + LATEST, "%lld us",
              (long long)o.took / 1000);
    /* Without SIGTERM it counts from the budget's end. */
    o = run("COOPDL_BUDGET=100ms COOPDL_GRACE=off COOPDL_KILL_AFTER=200ms",
            "perl -e '$SIG{TERM} = sub {}; 1 while 1'");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGKILL, "status %x", o.status);
    cr_expect(o.took >= 300 * MS && o.took < 300 * MS + LATEST);
}

Test(budget, ladder_off)
{
    /* `timeout` from outside, since nothing of ours ends it. */
    struct outcome o = run("COOPDL_BUDGET=300ms COOPDL_GRACE=off",
                           "timeout --foreground -s KILL 1 bash -c 'while :; do :; done'");
    cr_expect(o.took >= 950 * MS, "%lld us", (long long)o.took / 1000);
}

Test(budget, kill_after_zero_never_kills)
{
    struct outcome o =
        run("COOPDL_BUDGET=50ms COOPDL_GRACE=0 COOPDL_KILL_AFTER=0",
            "sh -c 'trap \"\" TERM; while :; do [ $((i = i + 1)) -lt 300000 ] || exit 3; done'");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 3, "%x %s", o.status, o.output);
}

Test(budget, the_first_process_of_a_namespace_ends_too)
{
    /* Its own SIGTERM is dropped by the kernel.  The program ignores errors. */
    static const struct {
        const char *settings;
        int status;
    } cases[] = {{"COOPDL_GRACE=200ms", 128 + SIGTERM},
                 {"COOPDL_GRACE=off COOPDL_KILL_AFTER=200ms", 128 + SIGKILL}};
    for (size_t i = 0; i < 2; i++) {
        char line[4096];
        snprintf(line, sizeof(line),
                 "exec env %s COOPDL_BUDGET=100ms COOPDL_HANGUP=off LD_PRELOAD='%s' '%s'",
                 cases[i].settings, getenv("COOPDL_LIBRARY"), getenv("COOPDL_STUBBORN"));
        int64_t begun = coopdl_now();
        pid_t outer = fork();
        if (outer == 0) {
            if (unshare(CLONE_NEWPID | (geteuid() ? CLONE_NEWUSER : 0)) != 0)
                _exit(77);
            pid_t first = fork();
            if (first == 0) {
                execl("/bin/sh", "sh", "-c", line, (char *)NULL);
                _exit(126);
            }
            int status;
            while (waitpid(first, &status, 0) < 0)
                ;
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
        }
        int status = status_of(outer);
        int64_t took = coopdl_now() - begun;
        if (WEXITSTATUS(status) == 77)
            cr_skip_test("there are no namespaces");
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == cases[i].status, "%x", status);
        cr_expect(took >= 300 * MS && took < 300 * MS + 2 * LATEST, "%lld us",
                  (long long)took / 1000);
    }
}

Test(budget, a_childs_own_status_comes_back)
{
    struct outcome o =
        run("COOPDL_BUDGET=100ms COOPDL_GRACE=off", "perl -e 'print system(\"sleep 5; exit 7\")'");
    cr_expect(strstr(o.output, "1792"), "%s", o.output);
    cr_expect(o.took >= 100 * MS && o.took < 100 * MS + LATEST);
}

Test(budget, no_program_is_started_after_its_end)
{
    struct outcome o = run("COOPDL_BUDGET=100ms COOPDL_GRACE=off",
                           "perl -e 'sleep 5; exec {\"/bin/echo\"} \"echo\", \"started\"; "
                           "print $!+0'");
    cr_expect_str_eq(o.output, "110", "%s", o.output);
}

/* Computes until the budget is over, starts something, and goes on. */
#define PERL(start)                                                                                \
    "perl -MTime::HiRes=time -e '$| = 1; $end = time + 0.5; 1 while time < $end; " start           \
    "; print 1'"
#define PYTHON(start)                                                                              \
    "/usr/bin/python3 -c 'import os, time; end = time.time() + 0.5\n"                              \
    "while time.time() < end: pass\n" start "; os.write(1, b\"1\")'"

/* To it a start that was refused is a failed command.  Python's system is libc's. */
Test(budget, who_starts_a_process_after_its_end_is_signalled)
{
    static const char *const ways[] = {
        PERL("fork or exit"),
        PERL("system(\"true\")"),
        PERL("open(F, \"-|\", \"true\")"),
        PYTHON("os.system(\"true\")"),
        PYTHON("try: os.posix_spawn(\"/bin/true\", [\"true\"], {})\nexcept OSError: pass\n0"),
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        struct outcome o = run("COOPDL_BUDGET=100ms", ways[i]);
        cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGTERM, "%s: status %x", ways[i],
                  (unsigned)o.status);
        cr_expect_str_empty(o.output, "%s: %s", ways[i], o.output);
    }
}

/* Given an error, stdio would take it for the end of the data: with the trap, which sees the next
 * call alone, as without. */
Test(budget, who_is_in_stdios_read_is_signalled)
{
    static const char *const arguments[] = {"", "alone"};
    for (int i = 0; i < 4; i++) {
        char settings[100], command[4096];
        snprintf(settings, sizeof(settings), "COOPDL_BUDGET=100ms COOPDL_TRAP=%d", i / 2);
        snprintf(command, sizeof(command), "'%s' %s", getenv("COOPDL_STDIO_READER"),
                 arguments[i % 2]);
        struct outcome o = run(settings, command);
        cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGTERM, "%s, %s: %x", settings,
                  arguments[i % 2], (unsigned)o.status);
        cr_expect_str_empty(o.output, "%s, %s: %s", settings, arguments[i % 2], o.output);
    }
}

/* A call on an end whose writer the budget may have ended; the same on one that it has not. */
Test(budget, an_ended_writer_is_no_end_of_the_data)
{
    static const char cut_socket[] =
        " first=1 read=ETIMEDOUT readv=ETIMEDOUT recv=ETIMEDOUT recvfrom=ETIMEDOUT "
        "recvmsg=ETIMEDOUT poll=ETIMEDOUT select=1 epoll=1\n";
    static const char ended_socket[] = " first=1 read=end readv=end recv=end recvfrom=end "
                                       "recvmsg=end poll=1 select=1 epoll=1\n";
    static const struct {
        const char *kind, *answers;
    } rows[] = {
        {"\npipe:", " first=1 read=ETIMEDOUT readv=ETIMEDOUT splice=ETIMEDOUT tee=ETIMEDOUT "
                    "poll=ETIMEDOUT select=1 epoll=1\n"},
        {"\nstream:", cut_socket},
        {"\npackets:", cut_socket},
        {"\naccepted:", cut_socket},
        {"\nmade:", ended_socket}, /* the hang-up's, which is to be seen */
        {"\nhalf:", ended_socket}, /* a living peer's */
    };
    for (int trap = 0; trap < 2; trap++) {
        char settings[200], command[4096];
        snprintf(settings, sizeof(settings),
                 "COOPDL_BUDGET=100ms COOPDL_GRACE=off COOPDL_HANGUP=off COOPDL_TRAP=%d", trap);
        snprintf(command, sizeof(command), "sh -c 'echo; exec \"%s\"'", getenv("COOPDL_ENDS"));
        struct outcome o = run(settings, command);
        cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0, "%x: %s", o.status, o.output);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            const char *line = strstr(o.output, rows[i].kind);
            size_t skip = strlen(rows[i].kind), size = strlen(rows[i].answers);
            cr_expect(line && strncmp(line + skip, rows[i].answers, size) == 0,
                      "trap %d, %s: expected%sin\n%s", trap, rows[i].kind + 1, rows[i].answers,
                      o.output);
        }
    }
}

/* It is none of the reads whose error would be taken for the end of the data. */
Test(budget, stdios_write_is_not_signalled)
{
    char command[4096];
    snprintf(command, sizeof(command), "'%s' writes", getenv("COOPDL_ENDS"));
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_GRACE=60s COOPDL_TRAP=0", command);
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0, "%x: %s", (unsigned)o.status,
              o.output);
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
