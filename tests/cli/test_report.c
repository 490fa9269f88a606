/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_report.c -- coopdl --report: where the time went.  Real servers are in
 * tests/programs/report.py.
 *
 * What must hold: a wait is told with its call and its time, which is no longer than the
 * command took and no shorter than what was waited; calls that never return are told
 * too; what has nothing to do with a report is as without one.
 */
#include "process.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(report, .init = set_up, .fini = tear_down, .timeout = 60);

static char text[4 << 20];

static const char *contents(const char *path)
{
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, text, sizeof(text) - 1);
    text[size > 0 ? size : 0] = '\0';
    close(fd);
    return text;
}

/* The number behind `key` in the first object that has `words`; -1 if there is none. */
static int64_t number(const char *json, const char *words, const char *key)
{
    char quoted[64];
    int64_t value = -1;
    const char *at = strstr(json, words);
    const char *end = at ? strchr(at, '}') : NULL;
    snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *found = at ? strstr(at, quoted) : NULL;
    if (found && (!end || found < end))
        sscanf(found + strlen(quoted), "%" SCNd64, &value);
    return value;
}

#define SLEEPS "\"program\":\"sleep\",\"library\":\"sleep\""

Test(report, how_long_a_call_has_waited_and_that_it_was_not_cut)
{
    const struct process *process = RUN(COOPDL, "--report=json", "60s", "sleep", "0.3");
    const char *json = process->err.text;
    int64_t waited = number(json, SLEEPS, "total_us");
    cr_assert_eq(exit_status(process), 0);
    cr_expect(waited >= 300000, "%s", json);
    cr_expect(waited <= number(json, "{\"coopdl\":", "elapsed_us"), "%s", json);
    cr_expect_eq(number(json, SLEEPS, "count"), 1, "%s", json);
    cr_expect_eq(number(json, SLEEPS, "cut"), 0, "%s", json);
    cr_expect_eq(number(json, SLEEPS, "unfinished"), 0, "%s", json);
    cr_expect(strstr(json, "\"command\":[\"sleep\",\"0.3\"],\"deadline_us\":60000000,"
                           "\"late\":false,\"exit\":0,\"signal\":null,"),
              "%s", json);
}

/* The shells and what they wait for are signalled in their calls, and no line is lost. */
Test(report, the_cut_one_is_marked_and_all_processes_are_in)
{
    const char *path = scratch("report.json");
    char option[300];
    snprintf(option, sizeof(option), "--report=%s", path);
    const struct process *process = RUN(COOPDL, option, "-q", "1s", "sh", "-c",
                                        "sleep 0.2; exec sh -c 'sleep 60 2>/dev/null; true'");
    const char *json = contents(path);
    cr_assert_eq(exit_status(process), 124);
    cr_expect_str_empty(process->err.text);
    cr_expect(number(json, SLEEPS, "cut") >= 1, "%s", json);
    cr_expect(number(json, SLEEPS, "total_us") >= 200000, "%s", json);
    cr_expect(number(json, SLEEPS, "longest_us") < number(json, SLEEPS, "total_us"), "%s", json);
    cr_expect_eq(number(json, "{\"coopdl\":", "processes"), 4, "%s", json);
    cr_expect_eq(number(json, "\"program\":\"sh\"", "unfinished"), 1, "the last wait: %s", json);
    cr_expect(strstr(json, "\"late\":true"), "%s", json);
}

/* The shell reaps it, 1.5 s before the end. */
Test(report, a_call_that_is_killed_counts_until_its_process_has_ended)
{
    const struct process *process = RUN(COOPDL, "--report=json", "60s", "sh", "-c",
                                        "perl -e 'sleep 60' & sleep 1; kill $!; wait; sleep 1.5");
    const char *json = process->err.text, *perl = "\"program\":\"perl\"";
    cr_assert_eq(exit_status(process), 0);
    cr_expect_eq(number(json, perl, "unfinished"), 1, "%s", json);
    int64_t waited = number(json, perl, "total_us");
    cr_expect(waited > 0, "%s", json);
    cr_expect(waited <= number(json, "{\"coopdl\":", "elapsed_us") - 1500000, "%s", json);
}

/* Both reads are made from the same place, on the same descriptor. */
Test(report, a_descriptor_that_stands_for_another_thing_later)
{
    static const char script[] =
        "use POSIX; use Socket; pipe(R, W); sub later { my $to = shift; return if fork;"
        " select(undef, undef, undef, 0.3); syswrite($to, 'x'); POSIX::_exit(0) }"
        " later(*W); sysread(R, $x, 1); socketpair(A, B, AF_UNIX, SOCK_STREAM, 0);"
        " POSIX::dup2(fileno(A), fileno(R)); later(*B); sysread(R, $x, 1);";
    const struct process *process = RUN(COOPDL, "--report=json", "60s", "perl", "-e", script);
    const char *json = process->err.text;
    cr_assert_eq(exit_status(process), 0);
    cr_expect(number(json, "\"call\":\"read\",\"target\":\"pipe\"", "total_us") >= 150000, "%s",
              json);
    cr_expect(number(json, "\"call\":\"read\",\"target\":\"unix without a name\"", "total_us") >=
                  150000,
              "%s", json);
}

Test(report, text_for_people)
{
    const struct process *process = RUN(COOPDL, "--report", "60s", "sleep", "0.1");
    const char *said = process->err.text;
    cr_assert_eq(exit_status(process), 0);
    cr_expect(strstr(said, "coopdl: 'sleep' took "), "%s", said);
    cr_expect(strstr(said, " waiting in 1 process\n"), "%s", said);
    cr_expect(strstr(said, "sleep in "), "%s", said);
    cr_expect(strstr(said, "nanosleep() (sleep)\n"), "%s", said);
    cr_expect_null(strchr(said, '\033'), "colour is for a terminal");
}

Test(report, the_variable_asks_for_one_and_a_command_inside_makes_none)
{
    setenv("COOPDL_REPORT", "json", 1);
    const struct process *process = RUN(COOPDL, "60s", COOPDL, "50s", "sleep", "0.1");
    cr_assert_eq(exit_status(process), 0);
    cr_expect_eq(occurrences(process->err.text, "{\"coopdl\":"), 1, "%s", process->err.text);
    cr_expect(number(process->err.text, SLEEPS, "total_us") >= 100000, "%s", process->err.text);
    setenv("COOPDL_REPORT", "", 1);
    cr_expect_str_empty(RUN(COOPDL, "60s", "true")->err.text);
}

Test(report, a_file_that_cannot_be_written_and_nothing_is_started)
{
    ASSERT_REFUSED(RUN(COOPDL, "--report=/nowhere/report", "5", "echo", "started"),
                   "'/nowhere/report'", "No such file", "--report=FILE");
}

Test(report, what_is_no_text_stays_json)
{
    const struct process *process =
        RUN(COOPDL, "--report=json", "60s", "sh", "-c", ": \"\\\n\xff\t\xc3\xa9\"");
    cr_assert_eq(exit_status(process), 0);
    cr_expect(strstr(process->err.text, ": \\\"\\\\\\u000a?\\u0009\xc3\xa9\\\"\""), "%s",
              process->err.text);
}

/* Without the library in it there is nothing to measure, and that is said. */
Test(report, a_program_that_is_not_reached)
{
    const char *program = tested("TEST_DEAF_STATIC");
    if (!*program)
        cr_skip_test("no static libc");
    const struct process *process = RUN(COOPDL, "--report", "-k100ms", "200ms", program);
    cr_expect(strstr(process->err.text, "nothing was measured"), "%s", process->err.text);
}

/* Another file behind that number is nobody's table. */
Test(report, another_file_is_not_written_to)
{
    char path[64];
    struct stat file;
    int fd = open(scratch("other"), O_RDWR | O_CREAT, 0600);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
    cr_assert_eq(ftruncate(fd, 8 << 20), 0);
    setenv("COOPDL_MEASURE", path, 1);
    setenv("COOPDL_BUDGET", "60s", 1);
    setenv("LD_PRELOAD", tested("TEST_LIBRARY"), 1);
    cr_expect_eq(exit_status(RUN("sleep", "0.01")), 0);
    cr_assert_eq(fstat(fd, &file), 0);
    cr_expect_eq(file.st_blocks, 0);
}

/* 6,000 sites, of which each process has room for in its own table: the common one is full. */
Test(report, a_full_table_says_what_it_has_dropped)
{
    static const char script[] =
        "use Socket; for my $n (0..9) { next if fork; my @kept; for my $i (1..600) {"
        " socket(my $s, AF_INET, SOCK_DGRAM, 0) or die; push @kept, $s;"
        " connect($s, sockaddr_in(20000 + 600 * $n + $i, inet_aton('127.0.0.1'))) or die;"
        " send($s, 'x', 0) or die } exit } 1 while wait > 0";
    const char *path = scratch("full.json");
    char option[300];
    snprintf(option, sizeof(option), "--report=%s", path);
    const struct process *process = RUN(COOPDL, option, "60s", "perl", "-e", script);
    cr_assert_eq(exit_status(process), 0, "%s", process->err.text);
    const char *json = contents(path);
    static const char dropped[] = "{\"program\":null,\"library\":null,\"function\":null,"
                                  "\"call\":null,\"target\":null,\"count\":";
    const char *row = strstr(json, dropped);
    cr_assert(row, "nothing was dropped: %zu", strlen(json));
    int rows = occurrences(json, "{\"program\":");
    int64_t count = strtoll(row + strlen(dropped), NULL, 10);
    cr_expect(rows > 3500 && rows <= 4096, "%d rows", rows);
    /* Each of the calls, 1,200 of each child, is in its own row or in that one. */
    cr_expect(rows - 1 + count >= 6000, "%d rows, and %" PRId64, rows, count);
    process = RUN(COOPDL, "--report", "60s", "perl", "-e", script);
    cr_expect(strstr(process->err.text, " what found no room in the table\n"), "%s",
              process->err.text);
}

static int slave;

static void to_terminal(void)
{
    dup2(slave, STDERR_FILENO);
}

/* What a report says on a terminal of so many columns. */
static const char *on_terminal(unsigned short columns)
{
    const struct winsize size = {.ws_row = 25, .ws_col = columns};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    cr_assert(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0);
    before_exec = to_terminal;
    RUN(COOPDL, "--report", "-q", "100ms", "sh", "-c", "exec sleep 40 2>/dev/null");
    before_exec = NULL;
    struct pollfd end = {.fd = master, .events = POLLIN};
    size_t length = 0;
    ssize_t more;
    while (poll(&end, 1, 0) > 0 && (more = read(master, text + length, 4096)) > 0)
        length += (size_t)more;
    text[length] = '\0';
    close(slave);
    close(master);
    return text;
}

/* That of the line which has `words`, without what is for its colour. */
static size_t width_of(const char *said, const char *words)
{
    const char *at = strstr(said, words);
    cr_assert(at, "no '%s' in '%s'", words, said);
    size_t width = strcspn(at, "\r\n");
    for (; at > said && at[-1] != '\n'; at--)
        width++;
    return width - strlen("\033[31m\033[0m");
}

Test(report, on_a_terminal_it_has_its_width_and_colour)
{
    const char *said = on_terminal(60);
    cr_expect(strstr(said, "\033[31mcut  \033[0m"), "%s", said);
    cr_expect_eq(width_of(said, "sleep in "), 60, "%s", said);
    cr_expect(strstr(said, "...\r\n"), "%s", said);
    said = on_terminal(200);
    cr_expect(strstr(said, "nanosleep() (sleep)\r\n"), "%s", said);
    setenv("NO_COLOR", "1", 1);
    cr_expect_null(strchr(on_terminal(200), '\033'), "%s", text);
    setenv("NO_COLOR", "", 1); /* as if it were not set */
    cr_expect(strchr(on_terminal(200), '\033'), "%s", text);
}
