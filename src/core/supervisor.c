/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.c -- whether the command coopdl that has started this process still lives.
 *
 * coopdl sends the signals of the ladder itself, to COMMAND and to its own process group.  A
 * process that has left the group, or is still there when coopdl has ended, must take the steps
 * of the ladder itself.
 *
 * What must hold: another process that has got coopdl's id is not taken for coopdl.  So this
 * file looks for coopdl among its ancestors: coopdl is the reaper of all that it has started,
 * and so an ancestor as long as it lives.  When coopdl ends, its children get another reaper,
 * which lived at the same time and so has another id.
 *
 * Interleaving: an ancestor ends between two steps of the search, and the next one cannot be
 * found.  Then coopdl counts as alive as long as any process has its id.  The same holds where
 * /proc does not show the processes of others.
 */
#include "core/supervisor.h"

#include "core/policy.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* 0 where it has none in this namespace, -1 if that cannot be known. */
static long parent_of(long pid)
{
    char path[] = "/proc/0000000000/stat", text[512];
    char *digit = path + sizeof(path) - sizeof("/stat"), *start = path + sizeof("/proc/") - 1;
    for (; digit > start; pid /= 10)
        *--digit = (char)('0' + pid % 10);
    while (*start == '0')
        start++;
    memmove(digit, start, strlen(start) + 1);
    long fd = coopdl_sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    long length = coopdl_sys(SYS_read, fd, text, sizeof(text) - 1);
    coopdl_sys(SYS_close, fd);
    text[length > 0 ? length : 0] = '\0';
    /* Behind the name, which may have blanks and parentheses in it: the state, and the parent. */
    const char *at = strrchr(text, ')');
    if (!at || strlen(at) < sizeof(") S "))
        return -1;
    long parent = 0;
    for (at += sizeof(") S ") - 1; *at >= '0' && *at <= '9'; at++)
        parent = parent * 10 + (*at - '0');
    return parent;
}

bool coopdl_supervised(void)
{
    long supervisor = coopdl_policy.supervisor;
    if (!supervisor)
        return false;
    long pid = coopdl_sys(SYS_getppid);
    while (pid > 1 && pid != supervisor)
        pid = parent_of(pid);
    return pid == supervisor || (pid < 0 && coopdl_sys(SYS_kill, supervisor, 0) != -ESRCH);
}

bool coopdl_supervisor_signals(void)
{
    return coopdl_policy.command ||
           (coopdl_policy.group && coopdl_sys(SYS_getpgid, 0) == coopdl_policy.group);
}
