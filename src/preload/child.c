/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c -- waiting for children.
 *
 * Before expiry they run as they are and the kick ends them.  After expiry they
 * look with WNOHANG: a child that has ended is reaped, and one that has not is
 * left as it is.
 */
#include "preload/cut.h"
#include "preload/preload.h"

/* Of the two, not every libc makes wait4 a cancellation point. */
static pid_t wait_for(pid_t pid, int *status, int options, struct rusage *usage)
{
    return usage ? coopdl_real.wait4(pid, status, options, usage)
                 : coopdl_real.waitpid(pid, status, options);
}

pid_t coopdl_timed_wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    if (likely(!coopdl_cutting(coopdl_self)))
        return (pid_t)coopdl_kicked(wait_for(pid, status, options, usage), "wait");
    pid_t ended = PERFORM(coopdl_self, wait_for(pid, status, options | WNOHANG, usage));
    return ended || options & WNOHANG ? ended : coopdl_cut(coopdl_self, "wait");
}

pid_t coopdl_timed_waitpid(pid_t pid, int *status, int options)
{
    return coopdl_timed_wait4(pid, status, options, NULL);
}

pid_t coopdl_timed_wait(int *status)
{
    return coopdl_timed_wait4(-1, status, 0, NULL);
}

pid_t coopdl_timed_wait3(int *status, int options, struct rusage *usage)
{
    return coopdl_timed_wait4(-1, status, options, usage);
}

int coopdl_timed_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    siginfo_t own;
    if (likely(!coopdl_cutting(coopdl_self)))
        return (int)coopdl_kicked(coopdl_real.waitid(type, id, info, options), "waitid");
    if (!info)
        info = &own;
    int result = PERFORM(coopdl_self, coopdl_real.waitid(type, id, info, options | WNOHANG));
    /* The kernel has filled it in, with no process if none has ended. */
    return result || options & WNOHANG || info->si_pid ? result : coopdl_cut(coopdl_self, "waitid");
}
