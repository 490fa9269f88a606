/* SPDX-License-Identifier: Apache-2.0 */
/* test_usage.c -- arguments: what is wrong is one line and 125, and starts nothing. */
#include "process.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(usage, .init = set_up, .fini = tear_down, .timeout = 30);

static const char *const bad_durations[] = {
    "",     "x",  "5x",   "5 ",   " 5",   "+5",  "5 s", "5S",  "s",  ".",    "1.2.3",  "1,5", "nan",
    "info", "1e", "0x10", "1m1h", "1s1s", "Off", "5s5", "5s ", "1-", "five", "1m 30s", "--5",
};

Test(usage, bad_duration)
{
    for (size_t i = 0; i < sizeof(bad_durations) / sizeof(*bad_durations); i++) {
        const char *bad = bad_durations[i];
        char given[64];
        snprintf(given, sizeof(given), "invalid duration '%s': accepted are seconds", bad);
        ASSERT_REFUSED(RUN(COOPDL, "--", bad, "echo", "started"), given, "250ms", "292 years");
    }
}

Test(usage, duration_with_a_sign)
{
    ASSERT_REFUSED(RUN(COOPDL, "--", "-5", "echo", "started"), "invalid duration '-5'",
                   "without a sign");
}

/* As timeout(1) has them. */
Test(usage, durations_that_are_no_limit)
{
    static const char *const none[] = {"0",        "0.0",     "off",  "inf",
                                       "infinity", "106752d", "1e99", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
        const struct process *process =
            RUN(COOPDL, none[i], "sh", "-c", "echo \"${COOPDL_DEADLINE-none}\"");
        cr_expect_str_eq(process->out.text, "none\n", "%s: '%s' '%s'", none[i], process->out.text,
                         process->err.text);
    }
    cr_expect_eq(exit_status(RUN(COOPDL, "-k", "off", "--grace=1e999", "5", "true")), 0);
}

Test(usage, durations_with_an_exponent)
{
    const struct process *process = RUN(COOPDL, "--grace=0e5", "2e-1", "sleep", "60");
    cr_expect_eq(exit_status(process), 124);
    cr_expect_geq(process->ended - process->started, 200 * MS);
    cr_expect_eq(exit_status(RUN(COOPDL, "2.5e-1m", "true")), 0);
}

Test(usage, options_behind_the_duration)
{
    const struct process *process = RUN(COOPDL, "5", "-v", "true");
    cr_expect_eq(exit_status(process), 127);
    ASSERT_ONE_LINE(process, "'-v'", "options go before DURATION");
}

Test(usage, bad_duration_of_an_option)
{
    ASSERT_REFUSED(RUN(COOPDL, "-k", "5x", "1", "echo", "started"), "duration '5x'", "accepted");
    ASSERT_REFUSED(RUN(COOPDL, "--kill-after=-1", "1", "echo", "started"), "'-1'", "accepted");
    ASSERT_REFUSED(RUN(COOPDL, "--grace=", "1", "echo", "started"), "''", "accepted are off,");
    ASSERT_REFUSED(RUN(COOPDL, "--grace=Off", "1", "echo", "started"), "'Off'",
                   "accepted are off,");
}

Test(usage, bad_option)
{
    static const char *const accepted = "accepted are --grace=DURATION|off, -s or --signal=SIGNAL";
    ASSERT_REFUSED(RUN(COOPDL, "-x", "1", "echo", "started"), "invalid option '-x'", accepted);
    ASSERT_REFUSED(RUN(COOPDL, "-vx", "1", "echo", "started"), "invalid option '-x'", accepted);
    ASSERT_REFUSED(RUN(COOPDL, "--verbose", "-xv", "1", "echo", "started"), "option '-x'",
                   accepted);
    ASSERT_REFUSED(RUN(COOPDL, "-5", "echo", "started"), "invalid option '-5'", accepted);
    ASSERT_REFUSED(RUN(COOPDL, "--nonsense=5", "1", "echo", "started"), "option '--nonsense=5'");
    ASSERT_REFUSED(RUN(COOPDL, "--ver", "1", "echo", "started"), "option '--ver'", accepted);
    ASSERT_REFUSED(RUN(COOPDL, "--verbose=5", "1", "echo", "started"), "option '--verbose=5'");
    ASSERT_REFUSED(RUN(COOPDL, "--foreground=5", "1", "echo", "started"), "'--foreground=5'");
    ASSERT_REFUSED(RUN(COOPDL, "--grace"), "missing value of option '--grace'", accepted);
    ASSERT_REFUSED(RUN(COOPDL, "-k"), "missing value of option '-k'", accepted);
}

Test(usage, bad_option_that_looks_like_another)
{
    static const struct {
        const char *given, *says;
    } cases[] = {
        {"--verbsoe", "'--verbsoe', perhaps --verbose: accepted"},
        {"--sginal=INT", "'--sginal=INT', perhaps --signal: accepted"},
        {"--ver", "'--ver': accepted"}, /* --verbose or --version */
        {"--forground", "'--forground', perhaps --foreground: accepted"},
        {"--chek", "'--chek', perhaps --check: accepted"},
        {"--tree=1", "'--tree=1', perhaps --tree: accepted"},
        {"--nonsense", "'--nonsense': accepted"},
        {"--=5", "'--=5': accepted"},
        {"-x", "'-x': accepted"},
        {"--a-name-that-is-longer-than-all-of-them", "longer-than-all-of-them': accepted"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        ASSERT_REFUSED(RUN(COOPDL, cases[i].given, "1", "echo", "started"), cases[i].says);
    ASSERT_REFUSED(RUN(COOPDL, "--grace"), "'--grace': accepted");
}

/* 24 lines of 80 columns. */
Test(usage, no_arguments_fits_a_screen)
{
    const struct process *process = RUN(COOPDL);
    const char *text = process->err.text;
    int lines = 0;
    cr_expect_eq(exit_status(process), 125);
    cr_expect_str_empty(process->out.text);
    cr_assert(strstr(text, "coopdl: missing duration and command\nUsage: coopdl [OPTION]") == text,
              "'%s'", text);
    for (const char *line = text; *line; line = strchr(line, '\n') + 1, lines++)
        cr_expect_leq(strcspn(line, "\n"), 80, "'%.100s'", line);
    cr_expect_leq(lines, 23, "%d lines, and the prompt", lines);
}

Test(usage, bad_signal)
{
    static const char *const bad[] = {
        "",      "FOO", "SIG", "00x",    "65",      "-1",       "32",      "33",       "999999999",
        "TERM ", "9x",  "RT",  "RTMIN+", "RTMIN-1", "RTMIN+99", "RTMAX+1", "RTMAX-99", "RTMIN+-1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char given[64];
        snprintf(given, sizeof(given), "invalid signal '%s': accepted are names", bad[i]);
        ASSERT_REFUSED(RUN(COOPDL, "-s", bad[i], "1", "echo", "started"), given, "RTMIN+n");
    }
}

Test(usage, missing_operands)
{
    ASSERT_REFUSED(RUN(COOPDL, "-v"), "missing duration and command", "usage is coopdl [OPTION]");
    ASSERT_REFUSED(RUN(COOPDL, "5"), "missing command", "usage is coopdl [OPTION]");
    ASSERT_REFUSED(RUN(COOPDL, "--", "5"), "missing command", "usage is coopdl [OPTION]");
}

Test(usage, library_that_cannot_be_preloaded)
{
    setenv("COOPDL_LIBRARY", "/nowhere/libcoopdl.so", 1);
    ASSERT_REFUSED(RUN(COOPDL, "5", "echo", "started"), "'/nowhere/libcoopdl.so'", "No such file",
                   "COOPDL_LIBRARY");
    setenv("COOPDL_LIBRARY", "", 1);
    ASSERT_REFUSED(RUN(COOPDL, "5", "echo", "started"), "''", "COOPDL_LIBRARY");
    setenv("COOPDL_LIBRARY", "/tmp", 1);
    ASSERT_REFUSED(RUN(COOPDL, "5", "echo", "started"), "'/tmp' is no file", "COOPDL_LIBRARY");

    const char *blank = scratch("with blank.so");
    cr_assert_eq(exit_status(RUN("cp", tested("TEST_LIBRARY"), blank)), 0);
    setenv("COOPDL_LIBRARY", blank, 1);
    ASSERT_REFUSED(RUN(COOPDL, "5", "echo", "started"), blank, "LD_PRELOAD takes no path with");

    /* What the loader would only warn of. */
    setenv("COOPDL_LIBRARY", "/etc/passwd", 1);
    ASSERT_REFUSED(RUN(COOPDL, "5", "echo", "started"), "cannot preload", "/etc/passwd");
    static const char another[] = "/lib/x86_64-linux-gnu/libm.so.6";
    setenv("COOPDL_LIBRARY", another, 1);
    if (access(another, R_OK) == 0)
        ASSERT_REFUSED(RUN(COOPDL, "5", "echo", "started"), "cannot preload", "not libcoopdl.so");
}

Test(usage, help)
{
    const struct process *help = RUN(COOPDL, "--help");
    static const char *const words[] = {
        "Usage: coopdl [OPTION]... DURATION COMMAND [ARG]...\n",
        "--grace=",
        "--signal=",
        "--kill-after=",
        "--foreground",
        "--preserve-status",
        "--verbose",
        "--version",
        "0 means no limit",
        "Exit status:",
        "124",
        "125",
        "126",
        "127",
        "137",
    };
    cr_assert_eq(exit_status(help), 0);
    cr_assert_str_empty(help->err.text);
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        cr_assert(strstr(help->out.text, words[i]), "no '%s' in the help", words[i]);
}

Test(usage, help_is_not_a_command)
{
    /* Before anything else is looked at, as with other commands. */
    cr_assert_eq(exit_status(RUN(COOPDL, "-v", "--help", "nonsense")), 0);
    /* Options behind the command are the command's. */
    cr_assert_str_eq(RUN(COOPDL, "5", "echo", "--help", "-x")->out.text, "--help -x\n");
}

static void close_output(void)
{
    close(STDOUT_FILENO);
}

Test(usage, help_that_cannot_be_written)
{
    before_exec = close_output;
    ASSERT_REFUSED(RUN(COOPDL, "--help"), "cannot write to standard output");
}

Test(usage, version)
{
    const struct process *version = RUN(COOPDL, "--version");
    int numbers[3], length = 0;
    cr_assert_eq(exit_status(version), 0);
    cr_assert_eq(sscanf(version->out.text, "coopdl %d.%d.%d\n%n", &numbers[0], &numbers[1],
                        &numbers[2], &length),
                 3, "'%s'", version->out.text);
    cr_assert_eq((size_t)length, version->out.length);
}
