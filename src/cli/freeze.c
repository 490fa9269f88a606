/* SPDX-License-Identifier: Apache-2.0 */
/*
 * freeze.c -- stops the threads of processes by ptrace, and lets them go.
 *
 * What must hold:
 * - A process is as it was before: a signal that it was about to get is delivered when
 *   it is let go, and one that was stopped stays so.
 * - The exit of a process is looked at, and left to be waited for by its parent, which
 *   may be we (WNOWAIT).
 * - No wait is without an end: a thread in the kernel that nothing interrupts does not
 *   stop.  It cannot be let go either before it has; the kernel does that when the
 *   thread of ours that has asked ends.
 *
 * Interleavings: a thread that is not stopped yet may start another one while its process
 * is listed.  So the list is read again until there is none that is new.
 */
#include "freeze.h"

#include "coopdl.h"
#include "subject.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

/* Of what has ended ptrace says that it is not permitted. */
static bool has_ended(pid_t pid, pid_t thread)
{
    const struct subject of = {.pid = pid, .fd = -1};
    char text[512];
    read_proc(&of, thread, "stat", text, sizeof(text));
    const char *state = stat_field(text, 3);
    return !state || *state == 'Z' || *state == 'X';
}

static bool is_listed(const struct frozen *process, pid_t thread)
{
    for (int i = 0; i < process->count; i++)
        if (process->threads[i].id == thread)
            return true;
    return false;
}

/* PTRACE_SEIZE, and not PTRACE_ATTACH: that would send the process a SIGSTOP, which it and its
 * parent could see. */
static void stop(struct frozen *process, pid_t thread)
{
    if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) != 0 ||
        ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) != 0) {
        int error = errno;
        if (error != ESRCH && !has_ended(process->pid, thread))
            process->error = error;
        return;
    }
    process->threads[process->count++] = (struct frozen_thread){.id = thread};
}

/* Whether there was one that is new. */
static bool stop_listed(struct frozen *process)
{
    char path[64];
    bool any = false;
    const struct dirent *entry;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)process->pid);
    DIR *threads = opendir(path);
    process->left = 0;
    while (threads && (entry = readdir(threads))) {
        pid_t thread = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (!thread || is_listed(process, thread))
            continue;
        if (process->count == MOST_THREADS) {
            process->left++;
        } else if (!process->error) {
            int before = process->count;
            stop(process, thread);
            any |= process->count > before;
        }
    }
    if (threads)
        closedir(threads);
    return any;
}

void freeze(struct frozen *process, pid_t pid)
{
    *process = (struct frozen){.pid = pid};
    for (int i = 0; i < MOST_THREADS && stop_listed(process); i++)
        ;
}

/* Whether there is nothing more to wait for. */
static bool look(struct frozen_thread *thread)
{
    siginfo_t info = {0};
    int64_t status;
    if (waitid(P_PID, (id_t)thread->id, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) !=
        0)
        return true;
    if (!info.si_pid)
        return false;
    if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
        return true; /* it has ended */
    if (waitid(P_PID, (id_t)thread->id, &info, WSTOPPED | WNOHANG | __WALL) != 0 || !info.si_pid)
        return true;
    status = info.si_status;
    thread->stopped = true;
    /* A stop of ptrace's own has an event above the signal. */
    thread->signal = status >> 8 ? 0 : (int)status;
    return true;
}

void await_frozen(struct frozen *process, int64_t until)
{
    for (int i = 0; i < process->count; i++)
        while (!look(&process->threads[i]) && coopdl_now() < until)
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

void thaw(struct frozen *process)
{
    for (int i = 0; i < process->count; i++)
        if (process->threads[i].stopped)
            ptrace(PTRACE_DETACH, process->threads[i].id, NULL,
                   (void *)(intptr_t)process->threads[i].signal);
}
