/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ladder.c -- the steps of the deadline: stacks, it passes, who runs without the library is
 * looked for, the signal, SIGKILL.
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
 * - The child is not signalled by its id after it has been reaped: that may be
 *   another's.  The group's is our own.
 * - A step sets the next one, whatever happens in it: the loop never takes one twice.
 */
#include "ladder.h"

#include "coopdl.h"
#include "failure.h"
#include "hangup.h"
#include "reach.h"
#include "signals.h"
#include "stacks.h"
#include "witness.h"

#include <unistd.h>

/* How long after the deadline it is looked at who runs without the library: one that is just being
 * started has it by then, or has been ended by it. */
#define SETTLED (20 * COOPDL_MILLISECOND)

/* How long after its start COMMAND is looked at: the loader has done its work by then. */
#define STARTED (100 * COOPDL_MILLISECOND)

/* The next step is the deadline, or before it the stacks. */
static void go_on_to_deadline(struct watch *watch)
{
    bool stacks = watch->plan->stacks_at != COOPDL_NEVER;
    watch->step = stacks ? STACKS : DEADLINE;
    watch->due = stacks ? watch->plan->stacks_at : watch->plan->deadline;
}

static void take_stacks(struct watch *watch)
{
    const struct plan *plan = watch->plan;
    stacks_take(watch->child, plan->tree, plan->library ? plan->deadline : COOPDL_NEVER);
    watch->step = DEADLINE;
    watch->due = plan->deadline;
}

void begin_ladder(struct watch *watch)
{
    go_on_to_deadline(watch);
    if (watch->plan->library && watch->due != COOPDL_NEVER && watch->due - coopdl_now() > STARTED) {
        watch->step = LOOK;
        watch->due = coopdl_now() + STARTED;
    }
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

static void signal_because(const struct watch *watch, pid_t pid, const char *why)
{
    if (watch->plan->verbose)
        say("sending signal %s to process %d, which %s", signal_name(watch->plan->signal), (int)pid,
            why);
    kill(pid, watch->plan->signal);
    kill(pid, SIGCONT);
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
    go_on_to_deadline(watch);
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

/* What was stuck is said once COMMAND has ended (supervise.c) or its grace is over: in the middle
 * of its clean-up the line would stand in the middle of a line of its traceback.  Where there is no
 * end of the grace, it is said at once. */
static bool is_time_to_say(const struct watch *watch)
{
    return watch->step >= SIGNAL || (watch->step > DEADLINE && watch->plan->grace == COOPDL_NEVER);
}

/* `due` may come to lie in the past: then the next step is taken at once. */
void take_step(struct watch *watch)
{
    if (is_time_to_say(watch))
        say_stuck(watch);
    switch (watch->step) {
    case LOOK:
        look(watch);
        break;
    case STACKS:
        take_stacks(watch);
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

void alarmed(struct watch *watch)
{
    if (watch->step < DEADLINE && watch->plan->stacks_at != COOPDL_NEVER)
        take_stacks(watch);
    if (watch->step <= CHECK_AGAIN) {
        watch->deadline = coopdl_now();
        say_deadline(watch);
        watch->step = SIGNAL;
    }
    send_signal(watch, watch->plan->signal);
    after_signal(watch, coopdl_now());
}

void hand_on(struct watch *watch, int number)
{
    send_signal(watch, number);
    after_signal(watch, coopdl_now());
}
