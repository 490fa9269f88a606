/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise.c -- one child, one loop: signals that arrive are passed on, steps
 * of the ladder that are due are taken, until the child has ended.
 *
 * A child that has ended late may leave others in our group: its own children,
 * for which it could not wait any more (git's helpers).  They have the rest of
 * the grace to end as well, and are signalled then.  They become our children
 * and not init's: that is how they are told from those that a shell has put into
 * our group (`coopdl 5s COMMAND | cat`), which may be waiting for us.
 *
 * What must hold:
 * - The signals in question are blocked from before the fork and taken with
 *   sigtimedwait: none is lost between two looks, none arrives elsewhere.
 * - The child gets the mask and the dispositions that we got.
 * - The child is not signalled by its id after it has been reaped: that may be
 *   another's.  The group's is our own.
 * - An early or failed return of sigtimedwait does no harm, whatever the
 *   reason; only the child's state and the clock decide.
 */
#include "supervise.h"

#include "coopdl.h"
#include "failure.h"
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What is due next. */
enum step { DEADLINE, SIGNAL, KILL, NOTHING };

struct watch {
    const struct plan *plan;
    const char *name;
    pid_t child; /* 0: it has ended */
    int status;
    bool late;
    sigset_t awaited;
    enum step step;
    int64_t due;
};

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

static void set_up_signals(struct watch *watch, struct inherited *inherited)
{
    static const int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    sigemptyset(&watch->awaited);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
        /* What we were told to ignore (nohup) stays ignored, here and in the child.  Blocked it
         * would reach sigtimedwait all the same. */
        if (!is_ignored(passed_on[i]))
            sigaddset(&watch->awaited, passed_on[i]);
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

_Noreturn static void run(char **command, const struct plan *plan,
                          const struct inherited *inherited)
{
    for (int i = 0; i < CHANGED; i++)
        sigaction(changed[i], &inherited->actions[i], NULL);
    /* What we are to send must count, even where we were told to ignore it, as INT is in a
     * script's background job. */
    if (plan->deadline != COOPDL_NEVER && is_ignored(plan->signal))
        signal(plan->signal, SIG_DFL);
    sigprocmask(SIG_SETMASK, &inherited->mask, NULL);
    execvp(command[0], command);
    int error = errno;
    fprintf(stderr, "coopdl: failed to run command '%s': %s\n", command[0], strerror(error));
    _exit(error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

/* To the child and, unless in the foreground, to our whole group, which is the child's too if it
 * has not changed it: then it is not to get the signal twice. */
static void send_signal(struct watch *watch, int number)
{
    if (watch->plan->verbose)
        fprintf(stderr, "coopdl: sending signal %s to %scommand '%s'%s\n", signal_name(number),
                watch->child ? "" : "what ", watch->name, watch->child ? "" : " has left");
    if (watch->plan->foreground) {
        kill(watch->child, number);
        return;
    }

    /* We are in the group ourselves.  Blocked and no longer awaited, our own copy goes nowhere;
     * nor does one that the program sends to its group in answer, which would go on for ever. */
    if (number != SIGCHLD)
        sigdelset(&watch->awaited, number);

    bool last = number == SIGKILL;
    if (last && watch->child) /* also ours, so nothing comes after it */
        kill(watch->child, number);
    kill(0, number);
    bool apart = watch->child && getpgid(watch->child) != getpgrp();
    if (apart)
        kill(watch->child, number);

    /* A stopped process takes the signal only when it goes on. */
    if (number != SIGCONT) {
        if (apart)
            kill(watch->child, SIGCONT);
        kill(0, SIGCONT);
    }
}

/* A signal has been sent: SIGKILL is next, if that is wanted, counted from the first one. */
static void after_signal(struct watch *watch)
{
    if (watch->step >= KILL)
        return;
    if (watch->plan->kill_after != COOPDL_NEVER) {
        watch->step = KILL;
        watch->due = coopdl_after(watch->plan->kill_after);
    } else if (watch->step == SIGNAL) {
        watch->step = NOTHING;
        watch->due = COOPDL_NEVER;
    }
}

static void say_deadline(const struct watch *watch)
{
    if (watch->plan->verbose)
        fprintf(stderr, "coopdl: deadline passed for command '%s'\n", watch->name);
}

static void take_step(struct watch *watch)
{
    switch (watch->step) {
    case DEADLINE:
        say_deadline(watch);
        watch->step = SIGNAL;
        if (__builtin_add_overflow(watch->due, watch->plan->grace, &watch->due))
            watch->due = COOPDL_NEVER;
        break;
    case SIGNAL:
        send_signal(watch, watch->plan->signal);
        after_signal(watch);
        break;
    case KILL:
        send_signal(watch, SIGKILL);
        watch->step = NOTHING;
        watch->due = COOPDL_NEVER;
        break;
    case NOTHING:
        break;
    }
}

/* The signal that came, or -1 once the time has come, or for no reason at all. */
static int await_signal(const sigset_t *signals, int64_t until)
{
    if (until == COOPDL_NEVER)
        return sigwaitinfo(signals, NULL);
    int64_t left = until - coopdl_now();
    if (left < 0)
        left = 0;
    struct timespec timeout = {.tv_sec = left / COOPDL_SECOND,
                               .tv_nsec = (long)(left % COOPDL_SECOND)};
    return sigtimedwait(signals, NULL, &timeout);
}

/* Orphans too: who leaves them unreaped would have them pile up. */
static void reap(struct watch *watch)
{
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
        if (ended == watch->child) {
            watch->child = 0;
            watch->status = status;
            watch->late = coopdl_now() >= watch->plan->deadline;
        }
    if (watch->child && ended < 0 && errno == ECHILD)
        fail("lost command '%s': %s", watch->name, strerror(errno));
}

/* Whether it has ended late and others are there that are still to be signalled. */
static bool has_left_others(const struct watch *watch)
{
    siginfo_t info;
    return watch->late && !watch->plan->foreground && watch->due != COOPDL_NEVER &&
           waitid(P_PGID, (id_t)getpgrp(), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void await_end(struct watch *watch)
{
    while (watch->child || has_left_others(watch)) {
        int number = await_signal(&watch->awaited, watch->due);
        reap(watch);
        if (!watch->child && !has_left_others(watch))
            return;
        if (number > 0 && number != SIGCHLD) {
            send_signal(watch, number);
            after_signal(watch);
        }
        if (coopdl_now() >= watch->due)
            take_step(watch);
    }
}

/* Whoever waits for us is to see what ended the program, but not a second core of ours. */
static void end_by(int number)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    signal(number, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    raise(number);
}

static int conclude(const struct watch *watch)
{
    const struct plan *plan = watch->plan;
    int status = watch->status;
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    int own = number ? 128 + number : WEXITSTATUS(status);

    /* At the deadline the program wakes up when we do, and may have ended before we look. */
    if (watch->late && watch->step == DEADLINE)
        say_deadline(watch);
    if (number && WCOREDUMP(status))
        fprintf(stderr, "coopdl: command '%s' dumped core\n", watch->name);
    if (watch->late)
        return plan->preserve_status || number == SIGKILL ? own : STATUS_LATE;
    if (number)
        end_by(number);
    return own;
}

int supervise(char **command, const struct plan *plan)
{
    /* An outer budget is in our plan already.  It must neither cut our waiting nor signal us: the
     * program would lose whoever ends it. */
    coopdl_outlive();

    struct watch watch = {.plan = plan, .name = command[0], .due = plan->deadline};
    struct inherited inherited;

    /* It fails where we lead a group already. */
    if (!plan->foreground)
        setpgid(0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    set_up_signals(&watch, &inherited);

    watch.child = fork();
    if (watch.child < 0)
        fail("cannot start command '%s': %s", command[0], strerror(errno));
    if (watch.child == 0)
        run(command, plan, &inherited);

    await_end(&watch);
    return conclude(&watch);
}
