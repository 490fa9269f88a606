/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stuck.c -- what coopdl says of the processes that were stuck at the deadline.
 *
 * The deadlines leave a busy machine the time to get each program into its call.
 */
#include "process.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(stuck, .init = set_up, .fini = tear_down, .timeout = 30);

#define PASSED "coopdl: 1 s deadline passed: "

/* sleep(1) has words of its own for a sleep that fails. */
#define QUIET_SLEEP "sleep 60 2>/dev/null"

Test(stuck, a_process_its_call_and_how_long_it_waited)
{
    const struct process *process = RUN(COOPDL, "1s", "sh", "-c", "exec " QUIET_SLEEP);
    char pid[32];
    int waited = -1;
    cr_expect_eq(exit_status(process), 124);
    ASSERT_ONE_LINE(process, PASSED "sleep[", "] in ", "nanosleep() (sleep) for ");
    const char *at = strstr(process->err.text, " for ");
    cr_assert(sscanf(process->err.text, PASSED "sleep[%30[0-9]]", pid) == 1 && at, "'%s'",
              process->err.text);
    if (sscanf(at, " for %dms\n", &waited) == 1)
        cr_expect(waited > 0 && waited < 1000, "%d", waited);
    else
        cr_expect(strstr(at, "s\n"), "'%s'", at);
}

Test(stuck, curl_its_peer_and_its_library)
{
    char address[64], target[64];
    const char *port = silent_port();
    snprintf(address, sizeof(address), "http://127.0.0.1:%s/", port);
    snprintf(target, sizeof(target), "] in poll() on tcp 127.0.0.1:%s (libcurl", port);
    const struct process *process = RUN(COOPDL, "3s", "curl", "-s", address);
    cr_expect_eq(exit_status(process), 124);
    ASSERT_ONE_LINE(process, "coopdl: 3 s deadline passed: curl[", target, ") for ");
}

/* COMMAND prints for a tenth of a second of its processor time. */
Test(stuck, the_line_stands_in_no_line_of_the_programs)
{
    const struct process *process =
        RUN(COOPDL, "--grace=20s", "1s", "perl", "-e",
            "sleep 60; print STDERR 'one '; 1 while (times)[0] < 0.1; print STDERR qq(line\n)");
    cr_expect_eq(exit_status(process), 124);
    cr_expect(strstr(process->err.text, "one line\n" PASSED "perl["), "'%s'", process->err.text);
}

/* The shell is another process, which may be signalled before it has waited. */
Test(stuck, one_line_for_each_process)
{
    const struct process *process =
        RUN(COOPDL, "1s", "sh", "-c", QUIET_SLEEP " & " QUIET_SLEEP " & wait");
    const char *text = process->err.text, *first = strstr(text, PASSED "sleep[");
    int one = 0, other = 0;
    cr_assert_eq(occurrences(text, PASSED "sleep["), 2, "'%s'", text);
    cr_assert(sscanf(first, PASSED "sleep[%d] in ", &one) == 1, "'%s'", text);
    first = strstr(first + 1, PASSED "sleep[");
    cr_assert(sscanf(first, PASSED "sleep[%d] in ", &other) == 1, "'%s'", text);
    cr_expect_neq(one, other);
}

Test(stuck, three_lines_at_the_most)
{
    const struct process *process =
        RUN(COOPDL, "1s", "sh", "-c", "for i in 1 2 3 4 5; do " QUIET_SLEEP " & done; wait");
    cr_expect_eq(occurrences(process->err.text, PASSED), 3, "'%s'", process->err.text);
    cr_expect_eq(occurrences(process->err.text, "\n"), 3, "'%s'", process->err.text);
}

Test(stuck, nothing_is_said_if_it_is_not_wanted)
{
    static const char *const quiet[] = {"-q", "--quiet"};
    for (int i = 0; i < 2; i++) {
        const struct process *process =
            RUN(COOPDL, quiet[i], "300ms", "sh", "-c", "exec " QUIET_SLEEP);
        cr_expect_eq(exit_status(process), 124);
        cr_expect_str_empty(process->err.text);
    }
}

Test(stuck, nothing_is_said_if_no_deadline_has_passed)
{
    const struct process *process = RUN(COOPDL, "60s", "sh", "-c", "sleep 0.1; exit 3");
    cr_expect_eq(exit_status(process), 3);
    cr_expect_str_empty(process->err.text);
}

/* Who has the earlier deadline is not known inside, so neither is how long that was. */
Test(stuck, a_coopdl_inside_another_says_it_alone)
{
    const struct process *process =
        RUN(COOPDL, "1s", COOPDL, "60s", "sh", "-c", "exec " QUIET_SLEEP);
    cr_expect_eq(exit_status(process), 124);
    ASSERT_ONE_LINE(process, "coopdl: deadline passed: sleep[", "nanosleep()");
}

Test(stuck, a_lock_is_named_after_the_grace)
{
    const struct process *process = RUN(COOPDL, "--grace=300ms", "-k100ms", "200ms", DEAF);
    ASSERT_ONE_LINE(process, "coopdl: 0.2 s deadline passed: deaf[",
                    "] waits for a lock, which no deadline ends\n");
}

Test(stuck, what_computes_is_named_after_the_grace)
{
    const struct process *process = RUN(COOPDL, "--grace=1s", "200ms", "perl", "-e", "1 while 1");
    cr_expect_eq(exit_status(process), 124);
    ASSERT_ONE_LINE(process, "coopdl: 0.2 s deadline passed: perl[", "] computes, ");
}

/* A process that outlives coopdl, or is in another name space, finds another file there. */
Test(stuck, another_file_is_not_written_to)
{
    char text[128];
    struct stat file;
    int fd = open(scratch("other"), O_RDWR | O_CREAT, 0600);
    snprintf(text, sizeof(text), "0,15,%" PRId64 ",%" PRId64 ",%d,0,%d", INT64_MAX, INT64_MAX,
             (int)getpid(), fd);
    setenv("COOPDL_COMMAND", text, 1);
    setenv("COOPDL_BUDGET", "300ms", 1);
    setenv("LD_PRELOAD", tested("TEST_LIBRARY"), 1);
    const struct process *process = RUN("sleep", "60");
    cr_expect_eq(exit_status(process), 1, "it is cut");
    cr_assert_eq(fstat(fd, &file), 0);
    cr_expect_eq(file.st_size, 0);
}
