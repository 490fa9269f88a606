/* SPDX-License-Identifier: Apache-2.0 */
/* test_budget_filters.c -- a budget where a filter of system calls refuses what the library needs.
 */
#include "filter.h"
#include "preloaded.h"

#include <signal.h>

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

/* The ladder's signal, by other means, to a program that ignores errors. */
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
