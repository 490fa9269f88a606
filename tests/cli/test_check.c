/* SPDX-License-Identifier: Apache-2.0 */
/* test_check.c -- coopdl --check: each line on machines and programs of all kinds. */
#include "../unit/filter.h"
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

TestSuite(check, .init = set_up, .fini = tear_down, .timeout = 60);

enum { NOBODY = 65534, KICK = 59 };

/* The line that begins with `mark` and this name has `text` in it; null: there is no such line. */
static void expect_line(const struct process *process, const char *mark, const char *name,
                        const char *text)
{
    char begin[64], line[1024] = "";
    snprintf(begin, sizeof(begin), "\n%s  %s ", mark, name);
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): RUN returns no null */
    const char *whole = process->out.text, *found = strstr(whole, begin);
    if (!found && strstr(whole, begin + 1) == whole)
        found = whole - 1;
    if (found)
        snprintf(line, sizeof(line), "%.*s", (int)strcspn(found + 1, "\n"), found + 1);
    if (text)
        cr_expect(*line && strstr(line, text), "no '%s' in the line '%s%s' of\n%s", text, begin + 1,
                  line, whole);
    else
        cr_expect(!*line, "a line '%s' in\n%s", line, whole);
}

/* The last line and the exit status say the same, and nothing is said elsewhere. */
static void expect_verdict(const struct process *process, bool kept)
{
    cr_expect_eq(exit_status(process), kept ? 0 : 1, "%s", process->out.text);
    cr_expect_str_empty(process->err.text);
    expect_line(process, kept ? "ok" : "no", "deadline", kept ? "is kept" : "is not kept");
    const char *text = process->out.text, *last = text + process->out.length - 1;
    cr_assert(last > text && *last == '\n', "'%s'", text);
    while (last > text && last[-1] != '\n')
        last--;
    cr_expect(strstr(last, "  deadline ") == last + 2, "%s", text);
    bool any_no = strncmp(text, "no ", 3) == 0 || strstr(text, "\nno ");
    cr_expect_eq(strstr(last, "what says no above is") != NULL, any_no, "%s", text);
}

static void expect_all_well(const struct process *process)
{
    static const char *const names[] = {"kernel",  "machine", "libc", "library",
                                        "preload", "cut",     "kick", "seccomp"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        expect_line(process, "ok", names[i], "");
    expect_line(process, "ok", "kick", "ms after its deadline");
    expect_line(process, "ok", "seccomp", "no filter");
}

static bool has_trap(void)
{
#ifdef __x86_64__
    return prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0, 0, 0, 0) == 0;
#else
    return false;
#endif
}

Test(check, machine)
{
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_all_well(process);
    expect_line(process, "ok", "library", tested("TEST_LIBRARY"));
    expect_line(process, "ok", "kick", "(59) is free");
    expect_line(process, has_trap() ? "ok" : "no", "trap", "");
    cr_expect(strstr(process->out.text, "  python   ") && strstr(process->out.text, "  ruby     "));
}

/* A deadline from outside that has passed does not cut what is asked. */
Test(check, under_a_deadline_that_has_passed)
{
    setenv("COOPDL_GRACE", "off", 1);
    setenv("COOPDL_DEADLINE", "1", 1);
    expect_verdict(RUN(COOPDL, "--check"), true);
    setenv("COOPDL_LOG", "1", 1);
    setenv("COOPDL_BUDGET", "1ns", 1);
    setenv("COOPDL_ERRNO", "eintr", 1);
    setenv("COOPDL_EXCLUDE_THREADS", "coopdl,exe", 1);
    setenv("LD_PRELOAD", tested("TEST_LIBRARY"), 1);
    expect_verdict(RUN(COOPDL, "--check", "sleep"), true);
}

Test(check, no_trap_wanted)
{
    setenv("COOPDL_TRAP", "0", 1);
    const struct process *process = RUN(COOPDL, "--check", "curl");
    expect_verdict(process, true);
    expect_line(process, "no", "trap", "COOPDL_TRAP=0");
    expect_line(process, "no", "left", "not cut");
    cr_expect(strstr(process->out.text, "getaddrinfo"));
}

Test(check, dynamic_program)
{
    const struct process *process = RUN(COOPDL, "--check", DEAF);
    expect_verdict(process, true);
    expect_all_well(process);
    expect_line(process, "ok", "program", "dynamic");
    expect_line(process, "ok", "loader", "loads");
    expect_line(process, "ok", "calls", "covered: ");
}

/* Its own calls are few: those of its libraries count. */
Test(check, calls_of_libraries)
{
    const struct process *process = RUN(COOPDL, "--check", "curl");
    expect_verdict(process, true);
    expect_line(process, "ok", "calls", "poll, ");
    expect_line(process, "no", "left", "pthread_mutex_lock");
}

Test(check, static_program)
{
    const char *path = tested("TEST_DEAF_STATIC");
    if (!*path)
        cr_skip_test("there is no static libc to link a program with");
    const struct process *process = RUN(COOPDL, "--check", path);
    expect_verdict(process, false);
    expect_all_well(process);
    expect_line(process, "no", "program", "is statically linked: LD_PRELOAD cannot reach it");
    expect_line(process, "ok", "calls", NULL);
}

Test(check, setuid_copy)
{
    const char *copy = scratch("privileged");
    struct statvfs system;
    if (getuid() != 0)
        cr_skip_test("only root gives a file to somebody else");
    cr_assert_eq(exit_status(RUN("cp", DEAF, copy)), 0);
    cr_assert(chown(copy, NOBODY, NOBODY) == 0 && chmod(copy, 04755) == 0);
    cr_assert_eq(statvfs(copy, &system), 0);
    if (system.f_flag & ST_NOSUID)
        cr_skip_test("the temporary directory's file system is mounted nosuid");
    const struct process *process = RUN(COOPDL, "--check", copy);
    expect_verdict(process, false);
    expect_line(process, "no", "program", "is setuid");
}

Test(check, go)
{
    const struct process *process = RUN(COOPDL, "--check", tested("TEST_GO"));
    expect_verdict(process, false);
    expect_line(process, "no", "program", "is a Go program");
    if (!*tested("TEST_GO_ALONE"))
        cr_skip_test("no program can be linked without a libc here");
    process = RUN(COOPDL, "--check", tested("TEST_GO_ALONE"));
    expect_verdict(process, false);
    expect_line(process, "no", "program", "is statically linked (Go)");
}

Test(check, scripts_and_shells)
{
    const char *path = scratch("script");
    FILE *file = fopen(path, "w");
    cr_assert(file && fprintf(file, "#!%s\n", DEAF) > 0 && fclose(file) == 0);
    cr_assert_eq(chmod(path, 0755), 0);
    const struct process *process = RUN(COOPDL, "--check", path);
    expect_verdict(process, true);
    expect_line(process, "ok", "program", path);
    expect_line(process, "ok", "program", DEAF);
    process = RUN(COOPDL, "--check", "sh");
    expect_verdict(process, false);
    expect_line(process, "no", "program", "gets the signal at the deadline");
}

Test(check, no_program)
{
    const struct process *process = RUN(COOPDL, "--check", "no-such-program");
    expect_verdict(process, false);
    expect_line(process, "no", "program", "'no-such-program'");
}

/* What is no ELF file, or says nonsense of itself, is looked at without harm. */
Test(check, damaged_programs)
{
    const char *copy = scratch("damaged");
    for (int i = 0; i < 24; i++) {
        char command[512];
        snprintf(command, sizeof(command),
                 "cp '%s' '%s' && printf '\\377\\377\\377' | dd conv=notrunc status=none bs=1 "
                 "seek=%d 'of=%s'",
                 DEAF, copy, 16 + 2 * i, copy);
        cr_assert_eq(exit_status(RUN("sh", "-c", command)), 0);
        int status = exit_status(RUN(COOPDL, "--check", copy));
        cr_expect(status == 0 || status == 1, "%d: status %d", i, status);
    }
}

Test(check, library_that_is_not_there)
{
    setenv("COOPDL_LIBRARY", "/nowhere/libcoopdl.so", 1);
    const struct process *process = RUN(COOPDL, "--check", DEAF);
    expect_verdict(process, false);
    expect_line(process, "no", "library", "/nowhere/libcoopdl.so");
    expect_line(process, "ok", "preload", NULL);
    expect_line(process, "ok", "program", "dynamic");
    setenv("COOPDL_LIBRARY", "/etc/passwd", 1);
    expect_line(RUN(COOPDL, "--check"), "no", "library", "/etc/passwd");
}

/* Not the one that the command is linked to, and not the first in the list. */
Test(check, another_library)
{
    const char *copy = scratch("libcoopdl.so.copy");
    cr_assert_eq(exit_status(RUN("cp", tested("TEST_LIBRARY"), copy)), 0);
    setenv("COOPDL_LIBRARY", copy, 1);
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "ok", "library", copy);

    char list[256];
    snprintf(list, sizeof(list), "libm.so.6:%s", copy);
    setenv("LD_PRELOAD", list, 1);
    process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
}

static void refuse_trap(void)
{
    filter_prctl(59, FILTER_ERROR(EPERM));
}

Test(check, filter_that_refuses_the_trap)
{
    before_exec = refuse_trap;
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "no", "seccomp", "refuses prctl(PR_SET_SYSCALL_USER_DISPATCH)");
    expect_line(process, "no", "trap", "have it allow");
    expect_line(process, "ok", "kick", "");
}

static void kill_for_trap(void)
{
    filter_prctl(59, FILTER_KILL);
}

Test(check, filter_that_kills)
{
    if (!has_trap())
        cr_skip_test("there is no trap to ask for");
    before_exec = kill_for_trap;
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, false);
    expect_line(process, "no", "preload", "signal");
    expect_line(process, "no", "seccomp", "ends who makes");
    setenv("COOPDL_TRAP", "0", 1);
    process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "no", "trap", "COOPDL_TRAP=0");
}

static void refuse_signals(void)
{
    filter_call(SYS_rt_tgsigqueueinfo, FILTER_ERROR(EPERM));
    filter_call(SYS_tgkill, FILTER_ERROR(EPERM));
}

Test(check, filter_that_refuses_the_kick)
{
    before_exec = refuse_signals;
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, false);
    expect_line(process, "no", "seccomp", "refuses tgkill");
    expect_line(process, "ok", "preload", "");
    expect_line(process, "no", "cut", "refuses this one");
}

static void refuse_timer(void)
{
    filter_call(SYS_timer_create, FILTER_ERROR(EPERM));
}

/* A thread does it instead. */
Test(check, filter_that_refuses_the_timer)
{
    before_exec = refuse_timer;
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "no", "seccomp", "refuses timer_create:");
}

static void let_all_pass(void)
{
    filter_call(SYS_vhangup, FILTER_ERROR(EPERM));
}

Test(check, filter_that_does_not_matter)
{
    before_exec = let_all_pass;
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "ok", "seccomp", "refuses nothing");
}

static void ignore_kick(void)
{
    signal(KICK, SIG_IGN);
}

static void block_kick(void)
{
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, KICK);
    sigprocmask(SIG_BLOCK, &kick, NULL);
}

Test(check, kick_that_is_taken)
{
    before_exec = ignore_kick;
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "no", "kick", "(59) is ignored");
    expect_line(process, "no", "kick", "COOPDL_SIGNAL");
    before_exec = block_kick;
    process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "no", "kick", "(59) is blocked");
    setenv("COOPDL_SIGNAL", "USR2", 1);
    process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "ok", "kick", "USR2 (12) is free");
}

Test(check, modules)
{
    const char *python = scratch("python3"), *ruby = scratch("ruby");
    char path[256];
    snprintf(path, sizeof(path), "%.*s", (int)(strrchr(python, '/') - python), python);
    const char *before = getenv("PATH");
    char *others = strdup(before ? before : "");
    setenv("PATH", path, 1);
    const struct process *process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "ok", "python", "none in PATH");
    expect_line(process, "ok", "ruby", "none in PATH");

    /* One that ends without a word, and one that cannot be run. */
    cr_assert(symlink("/bin/false", python) == 0 && symlink("/etc/passwd", ruby) == 0);
    process = RUN(COOPDL, "--check");
    expect_verdict(process, true);
    expect_line(process, "no", "python", "does not tell");
    expect_line(process, "ok", "ruby", "none in PATH");
    setenv("PATH", others, 1);
    free(others);
}

Test(check, usage)
{
    ASSERT_REFUSED(RUN(COOPDL, "--check", "a", "b"), "--check takes one PROGRAM or none", "'b'");
    ASSERT_REFUSED(RUN(COOPDL, "--check", "-v"), "not '-v'", "usage is coopdl --check [PROGRAM]");
    ASSERT_REFUSED(RUN(COOPDL, "--check=x"), "'--check=x'", "accepted are");
}

static void close_output(void)
{
    close(STDOUT_FILENO);
}

Test(check, that_cannot_be_written)
{
    before_exec = close_output;
    ASSERT_REFUSED(RUN(COOPDL, "--check"), "cannot write to standard output");
}

static int terminal;

static void to_terminal(void)
{
    int slave = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    dup2(slave, STDOUT_FILENO);
    close(slave);
}

/* What it says on a terminal. */
static const char *said_on_terminal(void)
{
    static char text[1 << 13];
    size_t length = 0;
    ssize_t got;
    terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    cr_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int keep = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC); /* what was written stays */
    before_exec = to_terminal;
    cr_expect_eq(exit_status(RUN(COOPDL, "--check", "true")), 0);
    before_exec = NULL;
    close(keep);
    while ((got = read(terminal, text + length, sizeof(text) - 1 - length)) > 0)
        length += (size_t)got;
    close(terminal);
    text[length] = '\0';
    return text;
}

Test(check, colour_on_a_terminal_unless_forbidden)
{
    unsetenv("NO_COLOR");
    cr_expect(strstr(said_on_terminal(), "\033[32mok\033[0m  deadline "));
    setenv("NO_COLOR", "", 1); /* as if it were not set, by its convention */
    cr_expect(strstr(said_on_terminal(), "\033[32mok"));
    setenv("NO_COLOR", "1", 1);
    const char *text = said_on_terminal();
    cr_expect(strstr(text, "ok  deadline ") && !strchr(text, '\033'), "%s", text);
    unsetenv("NO_COLOR");
    cr_expect(!strchr(RUN(COOPDL, "--check", "true")->out.text, '\033'), "in a pipe");
}
