/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c -- the process's own deadline, and the ladder after its end.
 *
 * Each thread that has a record has the budget as its outermost scope, so its
 * end fires and cuts like any other.  What is special:
 * - threads that no wrapper has seen yet (they sit in a call inside libc) are
 *   found in /proc/self/task and kicked; the handler gives them a record;
 * - COOPDL_EXCLUDE_THREADS names threads that stay outside;
 * - some programs take no error for an answer.  So the ladder goes on: after
 *   the grace SIGTERM to the process, and after COOPDL_KILL_AFTER SIGKILL.
 *
 * What must hold: all but the constructor is async-signal-safe, and each step
 * is taken once, whoever comes first.
 */
#include "core/budget.h"

#include "core/clock.h"
#include "core/fork.h"
#include "core/kick.h"
#include "core/log.h"
#include "core/policy.h"
#include "core/scheduler.h"
#include "core/scope.h"
#include "core/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

/* How many steps have been taken. */
enum { RUNNING, OVER, TERMINATED, KILLED };
static _Atomic int step;

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

static void kick_stranger(int32_t tid)
{
    if (tid && tid != coopdl_scheduler_tid() && !coopdl_has_record(tid) && !excluded(tid))
        coopdl_sys(SYS_tgkill, coopdl_pid, tid, atomic_load(&coopdl_kick_signal));
}

static void kick_strangers(void)
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
            kick_stranger(tid);
            at += entry->d_reclen;
        }
    if (fd >= 0)
        coopdl_sys(SYS_close, fd);
}

static void signal_process(int number, const char *name)
{
    coopdl_log_step(name);
    coopdl_sys(SYS_kill, coopdl_pid, number);
}

/* When the step after `taken` is due. */
static int64_t due(int taken)
{
    int64_t term = coopdl_policy.grace == COOPDL_NEVER
                       ? COOPDL_NEVER
                       : coopdl_later(coopdl_policy.deadline, coopdl_policy.grace);
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
    if (next == OVER)
        kick_strangers();
    else if (next == TERMINATED && coopdl_policy.grace != COOPDL_NEVER)
        signal_process(SIGTERM, "SIGTERM");
    else
        signal_process(SIGKILL, "SIGKILL");
}

int64_t coopdl_budget_tick(int64_t now)
{
    int taken = atomic_load(&step);
    /* Threads that were started since: they have inherited nothing. */
    if (taken >= OVER && coopdl_policy.deadline != COOPDL_NEVER)
        kick_strangers();
    while (due(taken) <= now)
        if (atomic_compare_exchange_strong(&step, &taken, taken + 1))
            take(++taken);
    return coopdl_word(due(taken));
}

void coopdl_budget_forked(void)
{
    atomic_store(&step, RUNNING);
}

void coopdl_outlive(void)
{
    coopdl_policy.deadline = COOPDL_NEVER; /* with it the ladder has no next step */
    coopdl_budgeted = false;
    if (coopdl_self)
        coopdl_unfound(coopdl_self);
}

/* After the wrappers' own constructor, before those of the program. */
__attribute__((constructor(102))) static void start(void)
{
    coopdl_policy_read();
    coopdl_fork_start();
    if (coopdl_policy.deadline == COOPDL_NEVER)
        return;
    coopdl_budgeted = true;
    if (!coopdl_claim())
        coopdl_refuse("COOPDL_BUDGET", "", "cannot be kept: out of memory");
    if (!coopdl_timer_start() && coopdl_scheduler_start())
        coopdl_refuse("COOPDL_BUDGET", "",
                      "cannot be kept: neither a timer nor a thread to be had");
}
