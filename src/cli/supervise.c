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
 * A stopped process (a background job that has read from its terminal) does not see
 * its deadline, and continued it would go on.  So it is signalled and continued at
 * the deadline, as by timeout(1); only where no signal may be sent is it continued
 * alone.
 *
 * COMMAND may run without the library all the same: the loader has ignored it, or
 * `env -i` has dropped it on the way.  That is looked at shortly after the start, and
 * said; at the deadline it is looked at again, and who has none is signalled.
 *
 * What must hold:
 * - Where a filter of system calls refuses what we wait or signal by, nothing is
 *   started.
 * - The signals in question are blocked from before the fork and taken with
 *   sigtimedwait: none is lost between two looks, none arrives elsewhere.
 * - The child gets the mask and the dispositions that we got.
 * - Whatever ends us is handed on, or is the deadline (an alarm); what cannot be
 *   seen, SIGKILL, ends the child as well.
 * - The child is not signalled by its id after it has been reaped: that may be
 *   another's.  The group's is our own.
 * - An early or failed return of sigtimedwait does no harm, whatever the
 *   reason; only the child's state and the clock decide.
 */
#include "supervise.h"

#include "coopdl.h"
#include "environment.h"
#include "failure.h"
#include "hangup.h"
#include "reach.h"
#include "report.h"
#include "signals.h"
#include "witness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What is due next. */
enum step { LOOK, DEADLINE, CHECK, CHECK_AGAIN, SIGNAL, KILL, NOTHING };

/* How long after the deadline it is looked at who runs without the library: one that is just being
 * started has it by then, or has been ended by it. */
#define SETTLED (20 * COOPDL_MILLISECOND)

/* How long after its start COMMAND is looked at: the loader has done its work by then. */
#define STARTED (100 * COOPDL_MILLISECOND)

struct watch {
    const struct plan *plan;
    const char *name;
    char **command;
    pid_t child; /* 0: it has ended */
    int status;
    int64_t started;
    int witness;      /* where it is told what was stuck; -1: nowhere */
    int64_t deadline; /* the plan's, or an earlier one: an alarm that came */
    bool late;
    bool warned; /* that it runs without the library */
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
    report_introduce(parent);
    execvp(command[0], command);
    int error = errno;
    say("failed to run command '%s': %s%s", command[0], strerror(error), hint(command[0]));
    _exit(error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

static void write_report(const struct watch *watch, int status)
{
    report_write(&(struct outcome){
        .command = watch->command,
        .length = watch->plan->length,
        .elapsed = coopdl_now() - watch->started,
        .status = status,
        .late = watch->late,
        .killed = watch->child != 0,
    });
}

/* To the child and, unless in the foreground, to our whole group, which is the child's too if it
 * has not changed it: then it is not to get the signal twice. */
static void send_signal(struct watch *watch, int number)
{
    if (watch->plan->verbose)
        say("sending signal %s to %scommand '%s'%s", signal_name(number),
            watch->child ? "" : "what ", watch->name, watch->child ? "" : " has left");
    if (watch->plan->foreground) {
        kill(watch->child, number);
        return;
    }

    /* We are in the group ourselves.  Blocked and no longer awaited, our own copy goes nowhere;
     * nor does one that the program sends to its group in answer, which would go on for ever. */
    if (number && number != SIGCHLD)
        sigdelset(&watch->awaited, number);

    bool last = number == SIGKILL;
    if (last && watch->child) /* also ours, so nothing comes after it */
        kill(watch->child, number);
    if (last) {
        watch->late |= coopdl_now() >= watch->deadline;
        write_report(watch, watch->child ? number : watch->status);
    }
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

/* A signal has been sent, at `sent`: SIGKILL is next, if that is wanted, counted from the first
 * one. */
static void after_signal(struct watch *watch, int64_t sent)
{
    if (watch->step >= KILL)
        return;
    if (watch->plan->kill_after != COOPDL_NEVER) {
        watch->step = KILL;
        if (__builtin_add_overflow(sent, watch->plan->kill_after, &watch->due))
            watch->due = COOPDL_NEVER;
    } else if (watch->step == SIGNAL) {
        watch->step = NOTHING;
        watch->due = COOPDL_NEVER;
    }
}

/* Where the signal is all that happens then, its line says so. */
static void say_deadline(const struct watch *watch)
{
    if (watch->plan->verbose && (watch->plan->library || watch->plan->hangup))
        say("deadline passed for command '%s'", watch->name);
}

static void signal_because(const struct watch *watch, pid_t pid, const char *why)
{
    if (watch->plan->verbose)
        say("sending signal %s to process %d, which %s", signal_name(watch->plan->signal), (int)pid,
            why);
    kill(pid, watch->plan->signal);
    kill(pid, SIGCONT);
}

/* What was stuck: as far as it is known by now. */
static void say_stuck(const struct watch *watch)
{
    if (watch->witness >= 0)
        witness_say(watch->plan->length);
}

static void inspect_one(pid_t pid, void *argument)
{
    const struct watch *watch = argument;
    if (!is_unreached(pid, watch->plan->library))
        witness_inspect(pid, watch->plan->length);
}

/* The grace is over: who has not ended, and told nothing, is in what nothing interrupts. */
static void say_obstacles(struct watch *watch)
{
    if (watch->witness < 0 || watch->plan->grace <= SETTLED)
        return;
    if (watch->child)
        inspect_one(watch->child, watch);
    if (!watch->plan->foreground)
        each_other(watch->child, inspect_one, watch);
}

static void signal_one(pid_t pid, void *argument)
{
    signal_because(argument, pid, "runs without the library");
}

static void signal_stopped(pid_t pid, void *argument)
{
    signal_because(argument, pid, "is stopped");
}

static void continue_one(pid_t pid, void *argument)
{
    (void)argument;
    kill(pid, SIGCONT);
}

/* In the foreground COMMAND alone is ours. */
static void wake_stopped(struct watch *watch)
{
    const struct plan *plan = watch->plan;
    void (*wake)(pid_t, void *) = plan->grace == COOPDL_NEVER ? continue_one : signal_stopped;
    if (!plan->foreground)
        each_stopped(watch->child, plan->library, wake, watch);
    else if (watch->child && is_stopped(watch->child))
        wake(watch->child, watch);
}

/* The next step is the signal, so long after the deadline. */
static void go_on_to_signal(struct watch *watch, int64_t after)
{
    watch->step = SIGNAL;
    if (__builtin_add_overflow(watch->deadline, after, &watch->due))
        watch->due = COOPDL_NEVER;
}

/* COMMAND runs without the library: it may end by itself where it has lost its connections. */
static void end_unreached(struct watch *watch)
{
    bool hung_up = watch->plan->hangup && watch->child && !is_stopped(watch->child) &&
                   hang_up_connections(watch->child, watch->name) > 0;
    go_on_to_signal(watch, hung_up ? watch->plan->hangup : 0);
}

static void hang_up_one(pid_t pid, void *argument)
{
    struct watch *watch = argument;
    if (watch->plan->hangup && !is_stopped(pid) &&
        !is_unreached(parent_of(pid), watch->plan->library) &&
        hang_up_connections(pid, watch->name) > 0) {
        watch->step = CHECK_AGAIN;
        watch->due = watch->deadline + watch->plan->hangup;
    } else {
        signal_one(pid, argument);
    }
}

static void warn_of_unreached(struct watch *watch)
{
    if (watch->warned)
        return;
    watch->warned = true;
    if (watch->plan->grace == COOPDL_NEVER)
        say("warning: command '%s' runs without the library, and --grace=off "
            "forbids the signal: nothing ends it",
            watch->name);
    else
        say("warning: command '%s' runs without the library: at the deadline it gets SIG%s",
            watch->name, signal_name(watch->plan->signal));
}

static void look(struct watch *watch)
{
    watch->step = DEADLINE;
    watch->due = watch->plan->deadline;
    if (watch->child && is_unreached(watch->child, watch->plan->library))
        warn_of_unreached(watch);
}

/* Who dropped the preload on the way does not end by itself: there is nothing to wait for but for
 * the end of its connections. */
static void check(struct watch *watch)
{
    int64_t grace = watch->plan->grace;
    bool first = watch->step == CHECK;
    go_on_to_signal(watch, grace);
    bool unreached = watch->child && is_unreached(watch->child, watch->plan->library);
    if (grace == COOPDL_NEVER) {
        if (unreached)
            warn_of_unreached(watch);
        return;
    }
    if (unreached)
        end_unreached(watch);
    else if (!watch->plan->foreground)
        each_unreached(watch->child, watch->plan->library, first ? hang_up_one : signal_one, watch);
}

/* `due` may come to lie in the past: then the next step is taken at once. */
static void take_step(struct watch *watch)
{
    if (watch->step > DEADLINE)
        say_stuck(watch);
    switch (watch->step) {
    case LOOK:
        look(watch);
        break;
    case DEADLINE:
        say_deadline(watch);
        if (watch->plan->library)
            wake_stopped(watch);
        if (watch->plan->library && watch->plan->grace > SETTLED) {
            watch->step = CHECK;
            watch->due = watch->deadline + SETTLED;
            break;
        }
        if (watch->plan->library)
            go_on_to_signal(watch, watch->plan->grace);
        else
            end_unreached(watch);
        break;
    case CHECK:
    case CHECK_AGAIN:
        check(watch);
        break;
    case SIGNAL:
        say_obstacles(watch);
        send_signal(watch, watch->plan->signal);
        /* Where none was wanted, there was nothing to put off. */
        after_signal(watch, watch->plan->signal ? coopdl_now() : watch->deadline);
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

/* An alarm is the deadline, as timeout(1) has it.  COMMAND does not know of this one. */
static void alarmed(struct watch *watch)
{
    if (watch->step <= CHECK_AGAIN) {
        watch->deadline = coopdl_now();
        say_deadline(watch);
        watch->step = SIGNAL;
    }
    send_signal(watch, watch->plan->signal);
    after_signal(watch, coopdl_now());
}

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
    struct timespec timeout = {.tv_sec = left / COOPDL_SECOND,
                               .tv_nsec = (long)(left % COOPDL_SECOND)};
    return is_sent(sigtimedwait(signals, &info, &timeout), &info);
}

/* Orphans too: who leaves them unreaped would have them pile up. */
static void reap(struct watch *watch)
{
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
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
            send_signal(watch, number);
            after_signal(watch, coopdl_now());
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
    struct inherited inherited;
    const char *refused = refused_call();

    /* It fails where we lead a group already; else we would signal somebody else's. */
    if (!plan->foreground && setpgid(0, 0) != 0 && getpgrp() != getpid())
        refused = "setpgid";
    if (refused)
        fail("cannot keep a deadline: a filter of system calls refuses %s", refused);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    set_up_signals(&watch, &inherited);

    pid_t self = getpid();
    watch.witness = plan->library && !plan->quiet ? witness_open() : -1;
    watch.child = fork();
    if (watch.child < 0)
        fail("cannot start command '%s': %s", command[0], strerror(errno));
    if (watch.child == 0)
        run(command, &watch, &inherited, self);
    if (plan->library && plan->deadline != COOPDL_NEVER &&
        plan->deadline - coopdl_now() > STARTED) {
        watch.step = LOOK;
        watch.due = coopdl_now() + STARTED;
    }

    await_end(&watch);
    return conclude(&watch);
}
