/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_budget.c -- the environment: what it does to a whole process, and what
 * happens when it cannot be understood.
 *
 * The programs under test are started anew with the library preloaded, since
 * the environment is read once, before main.
 */
#include "filter.h"
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
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

Test(budget, shortest_is_already_over)
{
    struct outcome o = run("COOPDL_BUDGET=1ns", "sleep 60");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 1, "%s", o.output);
    cr_expect(o.took < 1000 * MS);
}

Test(budget, zero_and_others_are_no_limit)
{
    static const char *none[] = {"0", "0.0s", "0e5", "off", "infinity", "99999999999", "1e999"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        char setting[64];
        snprintf(setting, sizeof(setting), "COOPDL_BUDGET=%s", none[i]);
        struct outcome o = run(setting, "sh -c 'sleep 0.02; echo ${COOPDL_DEADLINE-none}'");
        cr_expect_str_eq(o.output, "none\n", "%s: %s", setting, o.output);
    }
}

Test(budget, kill_after_zero_never_kills)
{
    struct outcome o =
        run("COOPDL_BUDGET=50ms COOPDL_GRACE=0 COOPDL_KILL_AFTER=0",
            "sh -c 'trap \"\" TERM; while :; do [ $((i = i + 1)) -lt 300000 ] || exit 3; done'");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 3, "%x %s", o.status, o.output);
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
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_GRACE=off",
                           "timeout --foreground -s KILL 1 bash -c 'while :; do :; done'");
    cr_expect(o.took >= 950 * MS, "%lld us", (long long)o.took / 1000);
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

/* Told an error, stdio would take it for the end of the data: with the trap, which sees the next
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

Test(budget, stdio_is_told_an_error_if_asked)
{
    struct outcome o =
        run("COOPDL_BUDGET=100ms COOPDL_READ=error COOPDL_TRAP=0", getenv("COOPDL_STDIO_READER"));
    cr_expect(strstr(o.output, "main 4\n"), "%s", o.output);
    o = run("COOPDL_BUDGET=100ms COOPDL_READ=nonsense", "true");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 125);
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
    cr_expect(strncmp(text, "coopdl=cut name=sleep pid=", 26) == 0, "%s", text);
    cr_expect(strstr(text, " deadline=budget length_ms=50 late_us="), "%s", text);
    cr_expect(strstr(text, "nanosleep library=sleep waited_ms="), "%s", text);
    cr_expect(lines(text) == 1, "one line for each first cut: %s", text);
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_LOG=1", "sleep 60");
    cr_expect(strstr(o.output, "coopdl=cut name=sleep "), "%s", o.output);
    o = run("COOPDL_BUDGET=50ms COOPDL_LOG=1 COOPDL_LOG_FORMAT=json", "sleep 60");
    cr_expect(strstr(o.output, "{\"coopdl\":\"cut\",\"name\":\"sleep\",\"pid\":"), "%s", o.output);
    cr_expect(strstr(o.output, ",\"deadline\":\"budget\",\"length_ms\":50,"), "%s", o.output);
}

/* A name that is not a word is quoted, as a JSON string is; whatever it is, the line is one. */
Test(budget, log_quotes_what_is_not_a_word)
{
    static const char command[] = "perl -e '$0 = q(a \"b=); sleep 60'";
    struct outcome o = run("COOPDL_BUDGET=300ms COOPDL_LOG=1", command);
    const char *cut = strstr(o.output, "coopdl=cut name=\"a \\\"b=\" pid=");
    cr_expect(cut && !strstr(cut + 1, "coopdl=cut"), "%s", o.output);
    o = run("COOPDL_BUDGET=300ms COOPDL_LOG=1 COOPDL_LOG_FORMAT=json", command);
    cr_expect(strstr(o.output, "\"name\":\"a \\\"b=\",\"pid\":"), "%s", o.output);
}

Test(budget, log_says_once_why_there_is_no_trap)
{
    /* Two threads, and the reason of one of them. */
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_GRACE=off COOPDL_LOG=1 COOPDL_TRAP=0",
                           getenv("COOPDL_STDIO_READER"));
    const char *said = strstr(o.output, "the trap is not in use");
    cr_expect(said && strstr(said, "why=\"COOPDL_TRAP=0\"\n"), "%s", o.output);
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
    {"COOPDL_LOG", "/dev/null/log", "path of a file"},
    {"COOPDL_LOG_FORMAT", "yaml", "accepted: text, json"},
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

Test(budget, the_first_process_of_a_namespace_ends_too)
{
    /* Its own SIGTERM is dropped by the kernel.  The program takes no error for an answer. */
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

/* A program under a budget, where a filter refuses up to three system calls. */
static struct outcome run_filtered(const long *calls, int error, const char *program)
{
    struct outcome outcome = {.begun = coopdl_now()};
    char library[4096];
    size_t size = 0;
    ssize_t got;
    int ends[2];
    snprintf(library, sizeof(library), "LD_PRELOAD=%s", getenv("COOPDL_LIBRARY"));
    cr_assert(pipe2(ends, O_CLOEXEC) == 0);
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {(char *)(uintptr_t)program, (char[]){"5"}, NULL};
        char *envp[] = {library, (char[]){"COOPDL_BUDGET=200ms"}, (char[]){"COOPDL_GRACE=300ms"},
                        (char[]){"COOPDL_HANGUP=off"}, NULL};
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        for (int i = 0; i < 3 && calls[i]; i++)
            filter_call(calls[i], FILTER_ERROR(error));
        execve(program, argv, envp);
        _exit(99);
    }
    close(ends[1]);
    while ((got = read(ends[0], outcome.output + size, sizeof(outcome.output) - 1 - size)) > 0)
        size += (size_t)got;
    close(ends[0]);
    outcome.status = status_of(child);
    outcome.took = coopdl_now() - outcome.begun;
    return outcome;
}

/* The ladder's signal, by other means, to a program that takes no error for an answer. */
Test(budget, a_filter_that_refuses_the_ladders_signal)
{
    static const long calls[][3] = {{SYS_kill}, {SYS_kill, SYS_tgkill}};
    for (int i = 0; i < 2; i++) {
        struct outcome o = run_filtered(calls[i], EPERM, getenv("COOPDL_STUBBORN"));
        bool ended = i ? WIFEXITED(o.status) && WEXITSTATUS(o.status) == 128 + SIGTERM
                       : WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGTERM;
        cr_expect(ended, "%d: %x %s", i, (unsigned)o.status, o.output);
        cr_expect(o.took >= 500 * MS && o.took < 500 * MS + LATEST, "%lld us",
                  (long long)o.took / 1000);
    }
}

/* There is a deadline, by other means, or one line. */
Test(budget, filters_of_system_calls)
{
    static const struct {
        const char *name;
        long calls[3];
        bool kept;
    } cases[] = {
        {"timer_create", {SYS_timer_create}, true},
        {"timer_settime", {SYS_timer_settime}, true},
        {"tgkill", {SYS_tgkill}, true},
        {"rt_tgsigqueueinfo", {SYS_rt_tgsigqueueinfo}, true},
        {"prctl", {SYS_prctl}, true},
        {"kill", {SYS_kill}, true},
        {"gettid", {SYS_gettid}, false},
        {"rt_sigaction", {SYS_rt_sigaction}, false},
        {"rt_sigprocmask", {SYS_rt_sigprocmask}, false},
        {"kicks", {SYS_tgkill, SYS_rt_tgsigqueueinfo}, false},
        {"timers and threads", {SYS_timer_settime, SYS_clone, SYS_clone3}, false},
    };
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        int error = i % 2 ? EPERM : ENOSYS;
        struct outcome o = run_filtered(cases[i / 2].calls, error, "/bin/sleep");
        const char *name = cases[i / 2].name;
        if (cases[i / 2].kept) {
            cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 1, "%s: %x %s", name,
                      (unsigned)o.status, o.output);
            cr_expect(o.took >= 200 * MS && o.took < 200 * MS + LATEST, "%s: %lld us", name,
                      (long long)o.took / 1000);
        } else {
            const char *newline = strchr(o.output, '\n');
            cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 125, "%s: %x %s", name,
                      (unsigned)o.status, o.output);
            cr_expect(newline && !newline[1] && strncmp(o.output, "coopdl: ", 8) == 0, "%s: '%s'",
                      name, o.output);
        }
    }
}
