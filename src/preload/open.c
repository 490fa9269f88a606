/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open.c -- open, which waits on a FIFO for its other end and on a terminal for its line.
 *
 * Whether the other end is there cannot be seen without opening.  So after expiry open is tried
 * for a moment.  An open that is cut has opened nothing.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#define OPENED(name, arguments, path)                                                              \
    (int)coopdl_kicked_on(TRIED(name, arguments), coopdl_on(coopdl_self, ON_PATH, (long)(path)),   \
                          #name)

int coopdl_timed_open(const char *path, int flags, mode_t mode)
{
    return OPENED(open, (path, flags, mode), path);
}

int coopdl_timed_openat(int directory, const char *path, int flags, mode_t mode)
{
    return OPENED(openat, (directory, path, flags, mode), path);
}

int coopdl_timed_openat2(int directory, const char *path, const struct open_how *how, size_t size)
{
    return OPENED(openat2, (directory, path, how, size), path);
}

int coopdl_timed_creat(const char *path, mode_t mode)
{
    return OPENED(creat, (path, mode), path);
}
