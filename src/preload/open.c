/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open.c -- open waits on a FIFO for its other end, and on a terminal for its
 * line.
 *
 * Whether the other end is there cannot be told without opening: after expiry
 * it is tried for a moment, and a cut open has opened nothing.
 */
#include "preload/cut.h"
#include "preload/preload.h"

int coopdl_timed_open(const char *path, int flags, mode_t mode)
{
    return (int)TRY(open, (path, flags, mode), "open");
}

int coopdl_timed_openat(int directory, const char *path, int flags, mode_t mode)
{
    return (int)TRY(openat, (directory, path, flags, mode), "openat");
}

int coopdl_timed_creat(const char *path, mode_t mode)
{
    return (int)TRY(creat, (path, mode), "creat");
}
