/* SPDX-License-Identifier: Apache-2.0 */
/*
 * last.c -- whether the scheduler is the last thread of a process.
 *
 * A process ends when main returns.  It also ends when its last thread has ended: after
 * pthread_exit in main, or in a forked child that ends as a thread does.  For that libc counts
 * the threads, and would count the scheduler, so that such a process would never end.  So the
 * scheduler ends once it is the last thread, and libc goes on as without it.
 *
 * The scheduler can be the last only after the first thread has ended.  A first thread that has
 * a record gives it back when it ends.  So the scheduler does not look as long as the first
 * thread has a record.  Where it has none, and a thread with a record ends, the scheduler begins
 * to look at intervals.
 *
 * In /proc/self/stat a first thread that has ended while others live is a zombie, and is
 * counted.
 */
#include "core/last.h"

#include "core/process.h"
#include "core/sys.h"
#include "core/thread.h"

#include <fcntl.h>
#include <string.h>

/* What /proc/self/stat says of the first thread, and how many threads there are; 0 where there is
 * no /proc. */
struct census {
    char first;
    long threads;
};

static struct census take_census(void)
{
    enum { STATE = 3, THREADS = 20 };
    struct census census = {0};
    char text[512];
    long fd = coopdl_sys(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return census;
    long length = coopdl_sys(SYS_read, fd, text, sizeof(text) - 1);
    coopdl_sys(SYS_close, fd);
    text[length > 0 ? length : 0] = '\0';
    /* The second field is a name in parentheses, which may have blanks and parentheses in it. */
    const char *at = strrchr(text, ')');
    for (int field = STATE; at && field <= THREADS && (at = strchr(at + 1, ' ')); field++) {
        if (field == STATE)
            census.first = at[1];
        else if (field == THREADS)
            for (const char *digit = at + 1; *digit >= '0' && *digit <= '9'; digit++)
                census.threads = census.threads * 10 + (*digit - '0');
    }
    return census;
}

bool coopdl_last_is_near(void)
{
    return !coopdl_has_record(coopdl_pid);
}

enum coopdl_last coopdl_last_look(void)
{
    struct census census = take_census();
    if (census.first == 'Z')
        return census.threads == 2 ? LAST_SELF : LAST_SOON;
    return census.first && coopdl_last_is_near() ? LAST_MAYBE : LAST_NOT;
}
