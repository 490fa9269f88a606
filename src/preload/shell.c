/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shell.c -- the shell that system and popen start, and the wait for it.
 *
 * libc's own functions start the shell and wait for it inside libc.  There the deadline can
 * neither be passed to the shell nor end the wait, which restarts on EINTR.  A wait that is cut
 * here ends as libc's does when a thread is cancelled in system: the shell is killed, since
 * nobody could wait for it again, and no zombie is left.  The programs that the shell has
 * started have the deadline themselves.
 *
 * These functions behave as libc's, and take over for good when a process gets its first
 * deadline.  A stream that is opened outside a scope may be closed inside one.  And if libc's
 * system and this one ran at the same time, each would restore SIGINT to what it has seen, and
 * leave it ignored.
 */
#include "preload/shell.h"

#include "core/clock.h"
#include "core/ending.h"
#include "core/kick.h"
#include "core/sys.h"
#include "preload/cut.h"
#include "preload/inherit.h"
#include "preload/preload.h"

bool coopdl_shell_is_ours(void)
{
    return atomic_load(&coopdl_kick_signal) != 0;
}

int coopdl_shell_start(pid_t *pid, const char *command, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes)
{
    if (unlikely(coopdl_budgeted) && coopdl_start_refused()) {
        coopdl_end_starter();
        return ETIMEDOUT;
    }
    char sh[] = "sh", option[] = "-c", end[] = "--";
    char *const argv[] = {sh, option, end, (char *)(uintptr_t)command, NULL};
    return INHERIT(environ, false,
                   coopdl_real.posix_spawn(pid, "/bin/sh", actions, attributes, argv, inherited));
}

int coopdl_shell_wait(pid_t pid, const char *call)
{
    struct coopdl_thread *thread = coopdl_active();
    bool was_fired = thread && coopdl_load(thread) & WORD_FIRED;
    for (;;) {
        int status = 0;
        bool cutting = thread && coopdl_cutting(thread);
        pid_t ended = coopdl_real.waitpid(pid, &status, cutting ? WNOHANG : 0);
        if (ended > 0 && thread)
            coopdl_waited(thread);
        if (ended > 0)
            return status;
        if (ended == 0) {
            enum coopdl_waiter waiter = coopdl_end_waiter(thread, true);
            if (waiter == WAITER_CUT)
                break;
            if (waiter == WAITER_GOES_ON)
                coopdl_sleep_for(COOPDL_MILLISECOND);
            continue;
        }
        if (errno != EINTR)
            return -1;
        /* A kick for a runtime's exception ends the wait: the exception is raised before anything
         * is cut. */
        if (thread && !was_fired && coopdl_load(thread) & WORD_FIRED && !coopdl_cutting(thread)) {
            coopdl_shell_end(pid);
            return -1;
        }
    }
    coopdl_shell_end(pid);
    coopdl_on(thread, ON_CHILD, pid);
    return coopdl_cut(thread, call);
}

void coopdl_shell_end(pid_t pid)
{
    coopdl_sys(SYS_kill, pid, SIGKILL);
    while (coopdl_sys(SYS_wait4, pid, 0, 0, 0) == -EINTR)
        ;
}
