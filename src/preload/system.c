/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.c -- system.
 *
 * While any thread is inside it, SIGINT and SIGQUIT are ignored.  The first thread notes their
 * actions, and the last one restores them.  SIGCHLD is blocked in the caller.  A thread that is
 * cancelled ends its shell and restores all of this, as a thread whose wait is cut does.
 */
#include "core/ending.h"
#include "preload/cut.h"
#include "preload/preload.h"
#include "preload/shell.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int inside;
static struct sigaction interrupt, quit;

struct run {
    pid_t pid; /* 0: there is no shell to be ended */
    sigset_t mask;
};

/* Fills `reset` with the signals that the shell must not ignore. */
static void prepare(struct run *run, sigset_t *reset)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t child;
    pthread_mutex_lock(&lock);
    if (inside++ == 0) {
        coopdl_real.sigaction(SIGINT, &ignore, &interrupt);
        coopdl_real.sigaction(SIGQUIT, &ignore, &quit);
    }
    sigemptyset(reset);
    if (interrupt.sa_handler != SIG_IGN)
        sigaddset(reset, SIGINT);
    if (quit.sa_handler != SIG_IGN)
        sigaddset(reset, SIGQUIT);
    pthread_mutex_unlock(&lock);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    coopdl_real.pthread_sigmask(SIG_BLOCK, &child, &run->mask);
}

static void restore(void *argument)
{
    const struct run *run = argument;
    if (run->pid)
        coopdl_shell_end(run->pid);
    pthread_mutex_lock(&lock);
    if (--inside == 0) {
        coopdl_real.sigaction(SIGINT, &interrupt, NULL);
        coopdl_real.sigaction(SIGQUIT, &quit, NULL);
    }
    pthread_mutex_unlock(&lock);
    coopdl_real.pthread_sigmask(SIG_SETMASK, &run->mask, NULL);
}

static int start(struct run *run, const sigset_t *reset, const char *command)
{
    posix_spawnattr_t attributes;
    pid_t pid;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &run->mask);
    posix_spawnattr_setsigdefault(&attributes, reset);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int error = coopdl_shell_start(&pid, command, NULL, &attributes);
    posix_spawnattr_destroy(&attributes);
    if (!error)
        run->pid = pid;
    return error;
}

int coopdl_child_system(const char *command)
{
    if (!coopdl_shell_is_ours())
        return coopdl_real.system(command);
    if (!command)
        return access("/bin/sh", X_OK) == 0;
    struct coopdl_thread *thread = coopdl_active();
    if (thread && coopdl_cutting(thread)) {
        coopdl_end_starter();
        return coopdl_cut(thread, "system");
    }

    struct run run = {0};
    sigset_t reset;
    int error, status = 127 << 8; /* of a shell that cannot be started */
    prepare(&run, &reset);
    pthread_cleanup_push(restore, &run);
    error = start(&run, &reset, command);
    if (!error)
        status = coopdl_shell_wait(run.pid, "system");
    run.pid = 0;
    pthread_cleanup_pop(1);
    if (error)
        errno = error;
    return status;
}
