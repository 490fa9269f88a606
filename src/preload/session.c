/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c -- setsid and the functions that call it: a process that leaves its parent's session
 * leaves the deadline that it has inherited (core/ending.c).
 *
 * A program that is started in the background for good, such as a database server or a terminal
 * multiplexer, does not end with the command that has started it.
 */
#include "core/ending.h"
#include "preload/preload.h"

pid_t coopdl_child_setsid(void)
{
    pid_t session = coopdl_real.setsid();
    if (session >= 0)
        coopdl_session_left();
    return session;
}

int coopdl_child_login_tty(int terminal)
{
    int result = coopdl_real.login_tty(terminal);
    if (result == 0)
        coopdl_session_left();
    return result;
}

int coopdl_child_forkpty(int *terminal, char *name, const struct termios *settings,
                         const struct winsize *size)
{
    int child = coopdl_real.forkpty(terminal, name, settings, size);
    if (child == 0)
        coopdl_session_left();
    return child;
}

int coopdl_child_daemon(int here, int open)
{
    int result = coopdl_real.daemon(here, open);
    if (result == 0)
        coopdl_session_left();
    return result;
}
