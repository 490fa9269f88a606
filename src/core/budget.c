/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c -- the deadline of the process, and the ladder after it.
 *
 * The budget is the outermost scope of every thread that has a record, so it fires and cuts as
 * any scope does.  It differs in three ways:
 * - Unregistered threads, which have made no wrapped call and sit inside libc, are found in
 *   /proc/self/task and kicked.  The kick's handler gives them a record.
 * - COOPDL_EXCLUDE_THREADS names threads that the budget leaves alone.
 * - Some programs ignore every error.  For them there is the ladder.  COOPDL_HANGUP after the
 *   end, and every 250 ms until the grace is over, connections are hung up (hangup.c).  After
 *   the grace the process gets SIGTERM, and after COOPDL_KILL_AFTER it gets SIGKILL.  Where the
 *   command coopdl has started the process, coopdl sends these two signals for as long as it
 *   lives (supervisor.c).
 *
 * The first process of a PID namespace cannot signal itself where the action is the default one:
 * the kernel drops that signal.  There the ladder ends the process with the exit status that a
 * shell gives for the signal.
 *
 * What must hold: all code here is async-signal-safe.  Each step of the ladder is taken once, by
 * whichever thread comes first.
 *
 * Interleaving: coopdl signals its process group at the end of the grace, and may have exited
 * before this process looks for it.  This process would then signal itself a second time.  So it
 * looks for coopdl a moment before the grace ends, and if coopdl is there, leaves the step to
 * it.
 */
#include "core/budget.h"

#include "core/alarm.h"
#include "core/clock.h"
#include "core/handler.h"
#include "core/hangup.h"
#include "core/kick.h"
#include "core/log.h"
#include "core/policy.h"
#include "core/probe.h"
#include "core/process.h"
#include "core/scope.h"
#include "core/supervisor.h"
#include "core/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

/* How many steps have been taken. */
enum { RUNNING, OVER, TERMINATED, KILLED };
static _Atomic int step;

void (*coopdl_budget_ended)(void);

bool coopdl_budget_over(void)
{
    return atomic_load(&step) >= OVER;
}

/* The thread's name is in COOPDL_EXCLUDE_THREADS. */
static bool excluded(int32_t tid)
{
    const char *names = coopdl_policy.exclude;
    if (!*names)
        return false;
    char path[] = "/proc/self/task/0000000000/comm", name[32];
    for (char *digit = path + sizeof("/proc/self/task/0000000000") - 1; tid; tid /= 10)
        *--digit = (char)('0' + tid % 10);
    char *slash = path + sizeof("/proc/self/task/") - 1, *number = slash;
    while (*number == '0')
        number++;
    memmove(slash, number, strlen(number) + 1);

    long fd = coopdl_sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    long length = coopdl_sys(SYS_read, fd, name, sizeof(name));
    coopdl_sys(SYS_close, fd);
    if (length < 1)
        return false;
    name[length - 1] = '\0'; /* its newline */
    while (*names) {
        size_t next = strcspn(names, ",");
        if (next == strlen(name) && memcmp(names, name, next) == 0)
            return true;
        names += next + (names[next] == ',');
    }
    return false;
}

void coopdl_budget_join(struct coopdl_thread *thread)
{
    if (coopdl_policy.deadline == COOPDL_NEVER || excluded(atomic_load(&thread->tid)))
        return;
    coopdl_found(thread, coopdl_policy.deadline);
    /* The budget's end may have looked at the records before this one was there. */
    if (coopdl_policy.deadline <= coopdl_clock())
        coopdl_fire_self(thread);
}

static void kick_if_unregistered(int32_t tid)
{
    if (!tid || tid == coopdl_scheduler_tid() || coopdl_has_record(tid) || excluded(tid))
        return;
    PROBE2(kicked, tid, (int)COOPDL_KICK_EXPIRY);
    coopdl_kick_tid(tid);
}

static void kick_unregistered(void)
{
    long fd =
        coopdl_sys(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char buffer[2048] __attribute__((aligned(8)));
    long size;
    while (fd >= 0 && (size = coopdl_sys(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
        for (long at = 0; at < size;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(buffer + at);
            int32_t tid = 0;
            for (const char *c = entry->d_name; *c >= '0' && *c <= '9'; c++)
                tid = tid * 10 + (*c - '0');
            kick_if_unregistered(tid);
            at += entry->d_reclen;
        }
    if (fd >= 0)
        coopdl_sys(SYS_close, fd);
}

void coopdl_budget_signal(int number, const char *why)
{
    enum { FIRST_PROCESS = 1, BY_SIGNAL = 128 };
    coopdl_log_step(why, number);
    if (coopdl_pid == FIRST_PROCESS && coopdl_action_of(number).handler == SIG_DFL)
        coopdl_sys(SYS_exit_group, BY_SIGNAL + number);
    /* Where a filter of system calls refuses kill, the signal goes to the first thread: its default
     * action ends the whole process. */
    if (coopdl_sys(SYS_kill, coopdl_pid, number) < 0 &&
        coopdl_sys(SYS_tgkill, coopdl_pid, coopdl_pid, number) < 0 &&
        coopdl_action_of(number).handler == SIG_DFL)
        coopdl_sys(SYS_exit_group, BY_SIGNAL + number);
}

/* How many times connections have been hung up, or could have been. */
static _Atomic int64_t hangups;

/* When they are the next time. */
static int64_t hangup_due(int taken)
{
    return taken != OVER || coopdl_policy.hangup == COOPDL_NEVER
               ? COOPDL_NEVER
               : coopdl_later(coopdl_policy.deadline,
                              coopdl_later(coopdl_policy.hangup,
                                           atomic_load(&hangups) * COOPDL_HANGUP_INTERVAL));
}

/* Returns when they are the next time. */
static int64_t hang_up(int taken, int64_t now)
{
    int64_t due = hangup_due(taken), before = atomic_load(&hangups);
    if (due > now)
        return due;
    int64_t missed = (now - due) / COOPDL_HANGUP_INTERVAL;
    if (atomic_compare_exchange_strong(&hangups, &before, before + 1 + missed))
        coopdl_hang_up_all(before == 0);
    return hangup_due(taken);
}

/* When the grace is over. */
static int64_t end_of_grace(void)
{
    return coopdl_policy.grace == COOPDL_NEVER
               ? COOPDL_NEVER
               : coopdl_later(coopdl_policy.deadline, coopdl_policy.grace);
}

/* When the step after `taken` is due. */
static int64_t due(int taken)
{
    int64_t term = end_of_grace();
    switch (taken) {
    case RUNNING:
        return coopdl_policy.deadline;
    case OVER: /* without a SIGTERM, SIGKILL counts from the budget's end */
        return term != COOPDL_NEVER ? term
               : coopdl_policy.kill_after == COOPDL_NEVER
                   ? COOPDL_NEVER
                   : coopdl_later(coopdl_policy.deadline, coopdl_policy.kill_after);
    case TERMINATED:
        return coopdl_policy.kill_after == COOPDL_NEVER || term == COOPDL_NEVER
                   ? COOPDL_NEVER
                   : coopdl_later(term, coopdl_policy.kill_after);
    default:
        return COOPDL_NEVER;
    }
}

static void take(int next)
{
    static const char why[] = "budget ended and its grace is over";
    if (next == OVER) {
        if (coopdl_budget_ended)
            coopdl_budget_ended();
        kick_unregistered();
    } else if (next == TERMINATED && coopdl_policy.grace != COOPDL_NEVER) {
        if (coopdl_policy.end_signal)
            coopdl_budget_signal(coopdl_policy.end_signal, why);
    } else {
        coopdl_budget_signal(SIGKILL, why);
    }
}

/* How long before the end of the grace coopdl is looked for, and how long after a look that has
 * found it. */
#define LOOK_BEFORE (100 * COOPDL_MILLISECOND)
#define LOOK_AGAIN (250 * COOPDL_MILLISECOND)

static atomic_bool looked;
static _Atomic int64_t put_off;

/* When coopdl is looked for before the step after `taken`. */
static int64_t look_due(int taken)
{
    int64_t end = end_of_grace();
    return taken == OVER && end != COOPDL_NEVER && coopdl_policy.supervisor && !atomic_load(&looked)
               ? end - LOOK_BEFORE
               : COOPDL_NEVER;
}

static void look(int taken, int64_t now)
{
    if (look_due(taken) <= now && !atomic_exchange(&looked, true) && coopdl_supervisor_signals() &&
        coopdl_supervised())
        atomic_compare_exchange_strong(&step, &taken, TERMINATED);
}

/* Whether the step after `taken` is still coopdl's. */
static bool is_coopdls(int taken, int64_t now)
{
    if (taken == RUNNING || !coopdl_supervised())
        return false;
    atomic_store(&put_off, coopdl_later(now, LOOK_AGAIN));
    return true;
}

static int64_t due_here(int taken)
{
    int64_t when = due(taken), later = atomic_load(&put_off);
    return taken == RUNNING || when > later ? when : later;
}

void coopdl_budget_lengthen(int64_t ns)
{
    coopdl_policy.deadline = coopdl_later(coopdl_policy.deadline, ns);
    if (coopdl_policy.grace != COOPDL_NEVER)
        coopdl_policy.grace = 0;
    coopdl_budget_forked();
}

int64_t coopdl_budget_tick(int64_t now)
{
    int taken = atomic_load(&step);
    /* Threads that were started since: they have inherited nothing. */
    if (taken >= OVER && coopdl_policy.deadline != COOPDL_NEVER)
        kick_unregistered();
    look(taken, now);
    taken = atomic_load(&step);
    while (due_here(taken) <= now && !is_coopdls(taken, now))
        if (atomic_compare_exchange_strong(&step, &taken, taken + 1)) {
            take(taken + 1);
            taken = atomic_load(&step); /* it begins anew where the budget was lengthened */
        }
    int64_t next = hang_up(taken, now), others[] = {due_here(taken), look_due(taken)};
    for (int i = 0; i < 2; i++)
        if (others[i] < next)
            next = others[i];
    return coopdl_word(next);
}

void coopdl_budget_forked(void)
{
    atomic_store(&step, RUNNING);
    atomic_store(&hangups, 0);
    atomic_store(&looked, false);
    atomic_store(&put_off, 0);
}

void coopdl_outlive(void)
{
    coopdl_policy.deadline = COOPDL_NEVER; /* with it the ladder has no next step */
    coopdl_budgeted = false;
    if (coopdl_self)
        coopdl_unfound(coopdl_self);
}
