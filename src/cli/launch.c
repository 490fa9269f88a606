/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c -- starts the program, with our own signals set up before.
 *
 * What must hold:
 * - The signals in question are blocked from before the fork: none is lost before
 *   somebody waits for them, none arrives elsewhere.
 * - The child gets the mask and the dispositions that we got.
 * - What cannot be seen, SIGKILL to us, ends the child as well.
 */
#include "launch.h"

#include "coopdl.h"
#include "environment.h"
#include "failure.h"
#include "report.h"
#include "stacks.h"
#include "witness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* What is ours to change before the fork and the child's to get back. */
static const int changed[] = {SIGCHLD, SIGTTIN, SIGTTOU};

enum { CHANGED = sizeof(changed) / sizeof(changed[0]) };

struct inherited {
    sigset_t mask;
    struct sigaction actions[CHANGED];
};

static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* What we were told to ignore (HUP, by nohup) stays ignored, here and in the child.  But a script
 * has its background jobs ignore INT and QUIT for the terminal's sake alone; timeout(1) takes
 * those. */
static bool stays_ignored(int number)
{
    return number != SIGINT && number != SIGQUIT && is_ignored(number);
}

/* Whether it ends a process that has no action of its own for it.  SIGPIPE, which we get ourselves
 * where nobody reads what we say, is blocked and not handed on. */
static bool ends(int number)
{
    switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGCONT:
    case SIGCHLD:
    case SIGURG:
    case SIGWINCH:
    case SIGPIPE:
        return false;
    default:
        return number < 32 || number >= SIGRTMIN;
    }
}

static void set_up_signals(struct watch *watch, struct inherited *inherited)
{
    sigemptyset(&watch->awaited);
    for (int number = 1; number <= SIGRTMAX; number++)
        /* Blocked, what is ignored would reach sigtimedwait all the same. */
        if (ends(number) && !stays_ignored(number))
            sigaddset(&watch->awaited, number);
    if (watch->plan->signal)
        sigaddset(&watch->awaited, watch->plan->signal);
    sigaddset(&watch->awaited, SIGCHLD);

    /* SIGPIPE too: a closed stderr must not end us with the child still running. */
    sigset_t blocked = watch->awaited;
    sigaddset(&blocked, SIGPIPE);
    sigprocmask(SIG_BLOCK, &blocked, &inherited->mask);

    /* Ignored, SIGCHLD would never come, and the child's status would be gone.  The others would
     * stop us when we write to the terminal from the background. */
    for (int i = 0; i < CHANGED; i++) {
        struct sigaction action = {.sa_handler = changed[i] == SIGCHLD ? SIG_DFL : SIG_IGN};
        sigaction(changed[i], &action, &inherited->actions[i]);
    }
}

/* Options behind DURATION are the command's name to us. */
static const char *hint(const char *command)
{
    return command[0] == '-' ? "; options go before DURATION" : "";
}

_Noreturn static void run(char **command, const struct watch *watch,
                          const struct inherited *inherited, pid_t parent)
{
    const struct plan *plan = watch->plan;
    /* Nothing else would end it, once we are gone. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        raise(SIGKILL);
    for (int i = 0; i < CHANGED; i++)
        sigaction(changed[i], &inherited->actions[i], NULL);
    if (is_ignored(SIGINT))
        signal(SIGINT, SIG_DFL);
    if (is_ignored(SIGQUIT))
        signal(SIGQUIT, SIG_DFL);
    /* What we are to send must count, even where we were told to ignore it. */
    if (plan->deadline != COOPDL_NEVER && plan->signal && is_ignored(plan->signal))
        signal(plan->signal, SIG_DFL);
    sigprocmask(SIG_SETMASK, &inherited->mask, NULL);
    if (plan->deadline != COOPDL_NEVER)
        introduce(&(struct introduction){
            .command = plan->tree ? 0 : getpid(),
            .signal = plan->grace == COOPDL_NEVER ? 0 : plan->signal,
            .grace = plan->grace,
            .kill_after = plan->grace == COOPDL_NEVER ? COOPDL_NEVER : plan->kill_after,
            .own = parent,
            .group = plan->foreground ? 0 : getpgrp(),
            .witness = watch->witness,
        });
    if (plan->stacks_at != COOPDL_NEVER)
        stacks_introduce(plan->stacks_at);
    report_introduce(parent);
    execvp(command[0], command);
    int error = errno;
    say("failed to run command '%s': %s%s", command[0], strerror(error), hint(command[0]));
    _exit(error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

void launch(char **command, struct watch *watch)
{
    struct inherited inherited;
    pid_t self = getpid();
    set_up_signals(watch, &inherited);
    watch->witness = watch->plan->library && !watch->plan->quiet ? witness_open() : -1;
    watch->child = fork();
    if (watch->child < 0)
        fail("cannot start command '%s': %s", command[0], strerror(errno));
    if (watch->child == 0)
        run(command, watch, &inherited, self);
}
