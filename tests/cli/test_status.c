/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_status.c -- how the command ends, in the same table for coopdl and for
 * GNU timeout, where that is installed.
 *
 * COOPDL_GRACE is 0 here, so that both send their signal at the deadline.  What
 * they end after it is a loop without a blocking call, so that it is the signal
 * that ends it and not an error.
 */
#include "process.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void without_grace(void)
{
    set_up();
    setenv("COOPDL_GRACE", "0", 1);
}

TestSuite(status, .init = without_grace, .fini = tear_down, .timeout = 40);

#define LOOP "sh", "-c", "while :; do :; done"
#define STUBBORN "sh", "-c", "trap '' TERM; while :; do :; done"
#define TIDY "sh", "-c", "trap 'exit 7' TERM; while :; do :; done"
/* Once the parent sleeps: GNU timeout exits with 128 + n for a signal that comes before its fork
 * has returned to it. */
#define ALARM                                                                                      \
    "sh", "-c",                                                                                    \
        "until grep -q 'S (sleeping)' /proc/$PPID/status; do :; done; kill -ALRM $PPID; sleep 5"

enum { NORMAL = 0x100 }; /* above every signal */

static const struct {
    int ended; /* NORMAL + exit status, or the signal */
    const char *arguments[8];
} cases[] = {
    /* in time */
    {NORMAL + 0, {"5", "true"}},
    {NORMAL + 3, {"5", "sh", "-c", "exit 3"}},
    {NORMAL + 255, {"5", "sh", "-c", "exit 255"}},
    {NORMAL + 4, {"0", "sh", "-c", "exit 4"}},
    {NORMAL + 124, {"5", "sh", "-c", "exit 124"}},
    {SIGTERM, {"5", "sh", "-c", "kill -TERM $$"}},
    {SIGSEGV, {"5", "sh", "-c", "kill -SEGV $$"}},
    {SIGKILL, {"5", "sh", "-c", "kill -KILL $$"}},
    {SIGTERM, {"--foreground", "5", "sh", "-c", "kill -TERM $$"}},
    {SIGUSR2, {"--preserve-status", "5", "sh", "-c", "kill -USR2 $$"}},
    /* late */
    {NORMAL + 124, {"0.1", LOOP}},
    {NORMAL + 124, {"--foreground", "0.1", LOOP}},
    {NORMAL + 124, {"-s", "INT", "0.1", LOOP}},
    {NORMAL + 124, {"-sRTMIN+3", "0.1", LOOP}},
    {NORMAL + 124, {"-s", "sigrtmax-2", "0.1", LOOP}},
    {NORMAL + 124, {"0.1", TIDY}},
    {NORMAL + 143, {"--preserve-status", "0.1", LOOP}},
    {NORMAL + 7, {"--preserve-status", "0.1", TIDY}},
    {NORMAL + 138, {"--preserve-status", "--signal=usr1", "0.1", LOOP}},
    {SIGKILL, {"-s", "KILL", "0.1", LOOP}}, /* the whole group, and so itself */
    {SIGKILL, {"-s", "9", "0.1", LOOP}},
    {NORMAL + 137, {"--foreground", "-s", "SIGKILL", "0.1", LOOP}},
    {SIGKILL, {"-k", "0.1", "0.1", STUBBORN}},
    {NORMAL + 137, {"--foreground", "-k0.1", "0.1", STUBBORN}},
    {NORMAL + 124, {"-k", "5", "0.1", LOOP}},
    {NORMAL + 124, {"-s0", "0.1", "sleep", "0.5"}},
    {NORMAL + 124, {"-s", "EXIT", "1e-1", "sleep", "0.5"}},
    {NORMAL + 124, {"5", ALARM}},
    {NORMAL + 124, {"-sINT", "5", ALARM}},
    {NORMAL + 0, {"1e400", "true"}},
    {NORMAL + 0, {"-k", "1e+3", "2.5e-1m", "true"}},
    {NORMAL + 0, {"infinity", "true"}},
    {NORMAL + 125, {"1e", "true"}},
    {NORMAL + 125, {"nan", "true"}},
    /* not at all */
    {NORMAL + 127, {"5", "-v", "true"}},
    {NORMAL + 127, {"5", "coopdl-no-such-command"}},
    {NORMAL + 127, {"5", "/nowhere/at/all"}},
    {NORMAL + 127, {"5", ""}},
    {NORMAL + 126, {"5", "/"}},
    {NORMAL + 126, {"5", "/etc/passwd"}},
    {NORMAL + 126, {"5", "/etc/passwd/nothing"}},
    {NORMAL + 125, {"5x", "true"}},
    {NORMAL + 125, {"-s", "NONSENSE", "5", "true"}},
    {NORMAL + 125, {"-k", "x", "5", "true"}},
    {NORMAL + 125, {"--nonsense", "5", "true"}},
    {NORMAL + 125, {"-s"}},
    {NORMAL + 125, {"5"}},
};

enum { CASES = sizeof(cases) / sizeof(*cases) };

static void run_cases(const char *program)
{
    for (int i = 0; i < CASES; i++) {
        const char *argv[10] = {program};
        char shown[256] = "";
        for (int j = 0; cases[i].arguments[j]; j++) {
            argv[j + 1] = cases[i].arguments[j];
            size_t length = strlen(shown);
            snprintf(shown + length, sizeof(shown) - length, " %s", argv[j + 1]);
        }
        const struct process *process = run(argv);
        int status = process->status;
        int ended = WIFSIGNALED(status) ? WTERMSIG(status) : NORMAL + WEXITSTATUS(status);
        cr_expect_eq(ended, cases[i].ended, "%s%s: %s %d instead of %s %d; stderr '%s'", program,
                     shown, ended < NORMAL ? "signal" : "status", ended & 0xff,
                     cases[i].ended < NORMAL ? "signal" : "status", cases[i].ended & 0xff,
                     process->err.text);
    }
}

Test(status, of_coopdl)
{
    run_cases(COOPDL);
}

Test(status, of_gnu_timeout_is_the_same)
{
    static const char gnu[] = "/usr/bin/timeout";
    if (access(gnu, X_OK) != 0 || !strstr(RUN(gnu, "--version")->out.text, "GNU"))
        cr_skip_test("GNU timeout is not installed");
    if (strstr(RUN(gnu, "--version")->out.text, "coreutils) 8."))
        cr_skip_test("GNU timeout 8 exits with 124 where newer ones say that they have killed");
    run_cases(gnu);
}

Test(status, failed_exec_is_one_line)
{
    ASSERT_ONE_LINE(RUN(COOPDL, "5", "coopdl-no-such-command"),
                    "failed to run command 'coopdl-no-such-command': No such file or directory");
    ASSERT_ONE_LINE(RUN(COOPDL, "5", "/"), "failed to run command '/': Permission denied");
}

static void allow_cores(void)
{
    struct rlimit limit;
    if (chdir(scratch(".")) != 0 || getrlimit(RLIMIT_CORE, &limit) != 0)
        _exit(97);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_CORE, &limit);
}

Test(status, of_a_crash_comes_without_a_second_core)
{
    scratch("."); /* made here, so that it is removed */
    before_exec = allow_cores;
    if (!WCOREDUMP(RUN("sh", "-c", "kill -SEGV $$")->status))
        cr_skip_test("no core is dumped here");
    const struct process *process = RUN(COOPDL, "5", "sh", "-c", "kill -SEGV $$");
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGSEGV);
    cr_assert(!WCOREDUMP(process->status));
    ASSERT_ONE_LINE(process, "command 'sh' dumped core");
}

static void ignore_children(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGCHLD, SIG_IGN);
}

Test(status, with_sigchld_ignored_and_blocked)
{
    before_exec = ignore_children;
    cr_assert_eq(exit_status(RUN(COOPDL, "5", "sh", "-c", "exit 3")), 3);
    cr_assert_eq(exit_status(RUN(COOPDL, "0.1", LOOP)), 124);
}

Test(status, of_a_session_leader)
{
    cr_assert_eq(exit_status(RUN("setsid", "--wait", COOPDL, "0.1", LOOP)), 124);
    cr_assert_eq(exit_status(RUN("setsid", "--wait", COOPDL, "5", "sh", "-c", "exit 3")), 3);
}

/* Signal numbers as /proc shows them, one bit each. */
static void change_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
}

Test(status, program_inherits_mask_and_dispositions)
{
    static const char *const show = "^Sig(Blk|Ign)";
    before_exec = change_signals;
    const struct process *plain = RUN("grep", "-E", show, "/proc/self/status");
    const struct process *started = RUN(COOPDL, "0", "grep", "-E", show, "/proc/self/status");
    cr_assert_eq(occurrences(plain->out.text, "\n"), 2);
    cr_assert_str_eq(started->out.text, plain->out.text);
}
