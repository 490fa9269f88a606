/* SPDX-License-Identifier: Apache-2.0 */
/* criterion.c -- runs the tests of one program, each in a process, and reports in TAP. */
#include "criterion/criterion.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED = 77 };

struct criterion_suite criterion_suite = {.timeout = 60};

static struct criterion_test *first;
static volatile bool failed; /* the test that this process runs */

/* In the order of the file, which is that of the constructors. */
void criterion_add(struct criterion_test *test)
{
    struct criterion_test **last = &first;
    while (*last)
        last = &(*last)->next;
    *last = test;
}

bool criterion_check(bool holds, const char *file, int line, const char *condition)
{
    if (!holds) {
        failed = true;
        criterion_say("%s:%d: %s", file, line, condition);
    }
    return holds;
}

void criterion_say(const char *format, ...)
{
    char text[1000];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)dprintf(STDOUT_FILENO, "# %s\n", text);
}

void criterion_end(void)
{
    _exit(failed ? 1 : 0);
}

void criterion_skip(const char *reason)
{
    criterion_say("%s", reason);
    _exit(SKIPPED);
}

/* Its status, or that of SIGKILL where its time is over.  SIGCHLD is blocked. */
static int status_of(pid_t child)
{
    sigset_t ended;
    struct timespec timeout = {.tv_sec = criterion_suite.timeout};
    int status = 0;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    if (sigtimedwait(&ended, NULL, &timeout) < 0) {
        criterion_say("not done after %d s", criterion_suite.timeout);
        kill(child, SIGKILL);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int run(const struct criterion_test *test)
{
    sigset_t ended, before;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &before);
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        test->run();
        criterion_end();
    }
    int status = child < 0 ? -1 : status_of(child);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

int main(void)
{
    int count = 0, number = 0, failures = 0;
    for (const struct criterion_test *test = first; test; test = test->next)
        count++;
    (void)dprintf(STDOUT_FILENO, "1..%d\n", count);
    for (const struct criterion_test *test = first; test; test = test->next) {
        int status = run(test);
        bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
        bool passed = status == 0 || skipped;
        if (WIFSIGNALED(status))
            criterion_say("ended by signal %d", WTERMSIG(status));
        (void)dprintf(STDOUT_FILENO, "%sok %d - %s::%s%s\n", passed ? "" : "not ", ++number,
                      test->suite, test->name, skipped ? " # SKIP its reason is above" : "");
        failures += !passed;
    }
    return failures > 0;
}
