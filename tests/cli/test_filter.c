/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_filter.c -- under a filter of system calls (seccomp) that refuses one that is
 * needed: the deadline is kept by other means, or there is one line and nothing runs.
 */
#include "../unit/filter.h"
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>

TestSuite(filter, .init = set_up, .fini = tear_down, .timeout = 60);

static long refused_calls[2];
static int answer;

static void refuse(void)
{
    for (int i = 0; i < 2 && refused_calls[i] >= 0; i++)
        filter_call(refused_calls[i], FILTER_ERROR(answer));
}

static const struct row {
    const char *name; /* in the line; null: the deadline is kept */
    long calls[2];
} rows[] = {
    {"kill", {SYS_kill, -1}},
    {"rt_sigtimedwait", {SYS_rt_sigtimedwait, -1}},
    {"rt_sigprocmask", {SYS_rt_sigprocmask, -1}},
    {"rt_sigaction", {SYS_rt_sigaction, -1}},
    {"gettid", {SYS_gettid, -1}},
    {"tgkill", {SYS_tgkill, SYS_rt_tgsigqueueinfo}},
    {"cannot start command", {SYS_clone, SYS_clone3}},
    {NULL, {SYS_tgkill, -1}},
    {NULL, {SYS_rt_tgsigqueueinfo, -1}},
    {NULL, {SYS_timer_create, -1}},
    {NULL, {SYS_timer_settime, -1}},
    {NULL, {SYS_prctl, -1}},
    {NULL, {SYS_getrusage, -1}},
    {NULL, {SYS_setpgid, -1}}, /* it leads a group here */
    {NULL, {SYS_process_vm_readv, -1}},
    {NULL, {SYS_getdents64, -1}},
    {NULL, {SYS_memfd_create, -1}},
    {NULL, {SYS_prlimit64, -1}},
#ifdef SYS_statx
    {NULL, {SYS_statx, -1}},
#endif
#ifdef SYS_pidfd_getfd
    {NULL, {SYS_pidfd_open, SYS_pidfd_getfd}},
#endif
};

Test(filter, a_deadline_is_kept_or_refused)
{
    before_exec = refuse;
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
        const struct row *row = &rows[i / 2];
        refused_calls[0] = row->calls[0];
        refused_calls[1] = row->calls[1];
        answer = i % 2 ? ENOSYS : EPERM;
        const struct process *process = RUN(COOPDL, "200ms", "sleep", "60");
        if (row->name) {
            ASSERT_REFUSED(process, row->name);
            continue;
        }
        cr_expect(exit_status(process) == 124, "row %zu, call %ld: %x '%s'", i, row->calls[0],
                  (unsigned)process->status, process->err.text);
        cr_expect_geq(process->ended - process->started, 200 * MS);
        cr_expect_lt(process->ended - process->started, 4000 * MS, "row %zu: it was the ladder", i);
    }
}

/* Without a limit nothing is kept, and nothing is signalled. */
Test(filter, without_a_limit_a_command_runs)
{
    before_exec = refuse;
    refused_calls[0] = SYS_timer_create;
    refused_calls[1] = SYS_setpgid;
    answer = EPERM;
    const struct process *process = RUN(COOPDL, "0", "true");
    cr_expect_eq(exit_status(process), 0);
    cr_expect_str_empty(process->err.text);
}
