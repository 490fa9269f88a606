/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c -- a child of --check, which tries what a COMMAND would meet.
 *
 * The child is this command again (exec, so that the loader reads LD_PRELOAD anew), under
 * a budget of its own.  It reads an empty pipe, whose other end it holds, three times:
 *
 *   1. through stdio, before the deadline: libc's own call, past the wrappers.  The kick
 *      ends it, with EINTR
 *   2. the same after the deadline: the trap cuts it with ETIMEDOUT; without a trap the
 *      kick ends it again, with EINTR
 *   3. by read(): the wrapper cuts it with ETIMEDOUT
 *
 * On a busy machine the deadline may pass before the first read: then it is like the
 * second.  COOPDL_ERRNO=etimedout, so that one call tells who ended it; COOPDL_READ=error
 * and no signal, so that nothing else does.
 *
 * This command is linked to the library, so that it is there in any case.  Which of the
 * two it is, is told by its name: the loader calls it what LD_PRELOAD calls it, which is
 * the file behind all symbolic links, and the linker's name for it is one.
 *
 * The child says what it saw in one line, at the end.  A child that hangs is killed.
 */
#include "probe.h"

#include "ask.h"
#include "coopdl.h"
#include "environment.h"
#include "hangup.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* As long as a process takes to start here, several times over. */
#define BUDGET (60 * COOPDL_MILLISECOND)

static const char name[] = "coopdl: probe", answer_begins[] = "\nprobe: ";

bool is_probe(const char *argument)
{
    return argument && strcmp(argument, name) == 0;
}

_Noreturn static void become_probe(void *library)
{
    char *arguments[] = {(char *)(uintptr_t)name, NULL};
    static const char *const unset[] = {"COOPDL_BUDGET", "COOPDL_COMMAND", "COOPDL_LOG",
                                        "COOPDL_EXCLUDE_THREADS", "COOPDL_HANGUP"};
    for (size_t i = 0; i < sizeof(unset) / sizeof(*unset); i++)
        unsetenv(unset[i]);
    hand_down(coopdl_after(BUDGET), library);
    setenv("COOPDL_ERRNO", "etimedout", 1);
    setenv("COOPDL_READ", "error", 1);
    execv("/proc/self/exe", arguments);
    dprintf(STDERR_FILENO, "/proc/self/exe: %s\n", strerror(errno));
    _exit(EXIT_FAILURE);
}

void probe_deadline(const char *library, struct probe *probe)
{
    static struct answer answer;
    *probe = (struct probe){.reported = false};
    ask(&answer, NULL, become_probe, (void *)(uintptr_t)library);
    char *said = strstr(answer.text, answer_begins);
    int preloaded = 0;
    if (said && sscanf(said + strlen(answer_begins), "%d %d %" SCNd64 " %d %d %d %31s", &preloaded,
                       &probe->kicked, &probe->late, &probe->trapped, &probe->cut, &probe->signal,
                       probe->version) == 7) {
        probe->reported = true;
        probe->preloaded = preloaded;
    } else if (answer.silent) {
        snprintf(probe->why, sizeof(probe->why), "its call did not end at the deadline");
    } else if (WIFSIGNALED(answer.status)) {
        snprintf(probe->why, sizeof(probe->why), "signal %d ended it", WTERMSIG(answer.status));
    } else {
        snprintf(probe->why, sizeof(probe->why), "%s", first_line(&answer));
    }
    if (said) {
        *said = '\0';
        if (!probe->preloaded) /* the loader has said why */
            snprintf(probe->why, sizeof(probe->why), "%s", first_line(&answer));
    }
}

static bool is_preloaded(void)
{
    char *list = getenv("LD_PRELOAD"), *rest;
    Dl_info info;
    if (!list || dladdr(coopdl_version(), &info) == 0)
        return false;
    for (list = strtok_r(list, " :", &rest); list; list = strtok_r(NULL, " :", &rest))
        if (strcmp(list, info.dli_fname) == 0)
            return true;
    return false;
}

/* The signal that has got a handler, which nothing else here has. */
static int kick_signal(void)
{
    for (int number = 1; number <= SIGRTMAX; number++) {
        /* The kernel's: its first word is the handler.  The wrapper would show the program's own.
         */
        uintptr_t action[8] = {0};
        bool is_libcs = number >= 32 && number < SIGRTMIN;
        if (number != SIGSYS && !is_libcs &&
            syscall(SYS_rt_sigaction, number, NULL, action, sizeof(uint64_t)) == 0 &&
            action[0] > (uintptr_t)SIG_IGN)
            return number;
    }
    return 0;
}

static int read_by_stdio(FILE *file)
{
    errno = 0;
    clearerr(file);
    return getc(file) == EOF ? errno : 0;
}

int run_probe(void)
{
    int ends[2];
    char byte;
    const char *deadline = getenv("COOPDL_DEADLINE");
    FILE *file = pipe(ends) == 0 ? fdopen(ends[0], "r") : NULL;
    if (!file || !deadline)
        return EXIT_FAILURE;
    int kicked = read_by_stdio(file);
    int64_t late = coopdl_now() - strtoll(deadline, NULL, 10);
    int trapped = read_by_stdio(file);
    int cut = read(ends[0], &byte, 1) < 0 ? errno : 0;
    printf("%s%d %d %" PRId64 " %d %d %d %s\n", answer_begins, is_preloaded(), kicked, late,
           trapped, cut, kick_signal(), coopdl_version());
    return EXIT_SUCCESS;
}

/* Each in a way that changes nothing, and what it is needed for.  Whether it is refused. */
static bool is_refused(long result)
{
    return result < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS);
}

static bool no_action(void)
{
    uintptr_t action[8];
    return is_refused(syscall(SYS_rt_sigaction, SIGUSR1, NULL, action, sizeof(uint64_t)));
}

static bool no_mask(void)
{
    return is_refused(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, sizeof(uint64_t)));
}

static bool no_signal_to_self(void)
{
    siginfo_t none = {.si_code = SI_QUEUE};
    return is_refused(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), 0, &none)) &&
           is_refused(syscall(SYS_tgkill, getpid(), getpid(), 0));
}

static bool no_timer(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    int id;
    return is_refused(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
}

static bool no_futex(void)
{
    uint32_t word = 0;
    return is_refused(syscall(SYS_futex, &word, 1 /* FUTEX_WAKE */, 0, NULL, NULL, 0));
}

static bool no_trap(void)
{
    /* To turn it off where it is off.  What is refused without a filter is an older kernel's. */
    return prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0, 0, 0, 0) != 0;
}

static bool no_hangup(void)
{
    int process = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return process < 0 || is_refused(syscall(SYS_pidfd_getfd, process, STDOUT_FILENO, 0));
}

static bool no_usage(void)
{
    struct rusage usage;
    return is_refused(getrusage(RUSAGE_SELF, &usage));
}

static const struct {
    const char *call;
    bool (*is_refused)(void);
} needed[] = {
    {"rt_sigaction", no_action},   {"rt_sigprocmask", no_mask},
    {"tgkill", no_signal_to_self}, {"timer_create", no_timer},
    {"futex", no_futex},           {"prctl(PR_SET_SYSCALL_USER_DISPATCH)", no_trap},
    {"pidfd_getfd", no_hangup},    {"getrusage", no_usage},
};

enum { NEEDED = sizeof(needed) / sizeof(*needed) };

/* Says before each what it is about to ask for: the filter may end it there. */
static void try_all(void *nothing)
{
    (void)nothing;
    for (size_t i = 0; i < NEEDED; i++) {
        dprintf(STDOUT_FILENO, "%zu", i);
        dprintf(STDOUT_FILENO, "%c", needed[i].is_refused() ? '-' : '+');
    }
}

void probe_refusals(struct refusals *refusals)
{
    static struct answer answer;
    *refusals = (struct refusals){.kills = false};
    ask(&answer, NULL, try_all, NULL);
    size_t length = strlen(answer.text);
    refusals->kills = length != 2 * (size_t)NEEDED;
    for (size_t i = 0; i < NEEDED; i++) {
        int verdict = 2 * i < length ? answer.text[2 * i + 1] : '+';
        if (verdict == '+')
            continue;
        refusals->trap |= needed[i].is_refused == no_trap;
        size_t used = strlen(refusals->calls);
        snprintf(refusals->calls + used, sizeof(refusals->calls) - used, "%s%s", used ? ", " : "",
                 needed[i].call);
    }
}
