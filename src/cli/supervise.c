/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise.c -- one child, one loop: signals that arrive are passed on, steps
 * of the ladder (ladder.c) that are due are taken, until the child has ended.
 *
 * A child that has ended late may leave others in our group: its own children,
 * for which it could not wait any more (git's helpers).  They have the rest of
 * the grace to end as well, and are signalled then.  They become our children
 * and not init's: that is how they are told from those that a shell has put into
 * our group (`coopdl 5s COMMAND | cat`), which may be waiting for us.
 *
 * What must hold:
 * - Where a filter of system calls refuses what we wait or signal by, nothing is
 *   started.
 * - The signals in question are taken with sigtimedwait: none is lost between two
 *   looks.
 * - Whatever ends us is handed on, or is the deadline (an alarm).
 * - An early or failed return of sigtimedwait does no harm, whatever the
 *   reason; only the child's state and the clock decide.
 */
#include "supervise.h"

#include "coopdl.h"
#include "failure.h"
#include "ladder.h"
#include "launch.h"
#include "report.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The timer of an outer budget, which the library has set in us, is nobody's signal. */
static int is_sent(int number, const siginfo_t *info)
{
    return number > 0 && info->si_code == SI_TIMER ? -1 : number;
}

/* The signal that came, or -1 once the time has come, or for no reason at all. */
static int await_signal(const sigset_t *signals, int64_t until)
{
    siginfo_t info;
    if (until == COOPDL_NEVER)
        return is_sent(sigwaitinfo(signals, &info), &info);
    int64_t left = until - coopdl_now();
    if (left < 0)
        left = 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / COOPDL_SECOND),
                               .tv_nsec = (long)(left % COOPDL_SECOND)};
    return is_sent(sigtimedwait(signals, &info, &timeout), &info);
}

/* Orphans too: who leaves them unreaped would have them pile up. */
static void reap(struct watch *watch)
{
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
        if (WIFSTOPPED(status)) /* what the taking of stacks has left, where that was given up */
            continue;
        report_ended(ended);
        if (ended == watch->child) {
            watch->child = 0;
            watch->status = status;
            watch->late = coopdl_now() >= watch->deadline;
        }
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
        if (number == SIGALRM) {
            alarmed(watch);
        } else if (number > 0 && number != SIGCHLD) {
            hand_on(watch, number);
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
    if (watch->late && watch->step <= DEADLINE)
        say_deadline(watch);
    if (watch->late)
        say_stuck(watch);
    if (number && WCOREDUMP(status))
        say("command '%s' dumped core", watch->name);
    write_report(watch, status);
    /* We would have sent it to ourselves as well, had COMMAND not got it from the library. */
    if (watch->late && number == SIGKILL && plan->signal == SIGKILL && !plan->foreground)
        end_by(number);
    if (watch->late)
        return plan->preserve_status || number == SIGKILL ? own : STATUS_LATE;
    if (number)
        end_by(number);
    return own;
}

static bool is_refused(int result)
{
    return result < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS);
}

/* Which system call a filter refuses that we cannot do without; null if there is none. */
static const char *refused_call(void)
{
    struct timespec now = {0};
    siginfo_t info;
    sigset_t none;
    sigemptyset(&none);
    if (is_refused(kill(getpid(), 0)))
        return "kill";
    if (is_refused(sigprocmask(SIG_BLOCK, &none, NULL)))
        return "rt_sigprocmask";
    if (is_refused(sigtimedwait(&none, &info, &now)))
        return "rt_sigtimedwait";
    return NULL;
}

int supervise(char **command, const struct plan *plan)
{
    /* An outer budget is in our plan already.  It must neither cut our waiting nor signal us: the
     * program would lose whoever ends it. */
    coopdl_outlive();

    struct watch watch = {.plan = plan,
                          .name = command[0],
                          .command = command,
                          .step = DEADLINE,
                          .due = plan->deadline,
                          .started = coopdl_now(),
                          .deadline = plan->deadline};
    const char *refused = refused_call();

    /* It fails where we lead a group already; else we would signal somebody else's. */
    if (!plan->foreground && setpgid(0, 0) != 0 && getpgrp() != getpid())
        refused = "setpgid";
    if (refused)
        fail("cannot keep a deadline: a filter of system calls refuses %s", refused);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    launch(command, &watch);
    begin_ladder(&watch);
    await_end(&watch);
    return conclude(&watch);
}
