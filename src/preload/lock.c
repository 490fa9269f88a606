/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c -- file locks.
 *
 * Before expiry they run as they are and the kick ends them.  After expiry the
 * lock is taken if it is free.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include <sys/file.h>

/* A try that the caller did not ask for came back without the lock. */
static bool is_taken(int result)
{
    return result < 0 && (errno == EAGAIN || errno == EACCES);
}

int coopdl_timed_flock(int fd, int operation)
{
    bool cutting = coopdl_cutting(coopdl_self);
    int result = coopdl_real.flock(fd, cutting ? operation | LOCK_NB : operation);
    if (cutting && is_taken(result) && !(operation & LOCK_NB))
        return coopdl_cut_uncancelled(coopdl_self, fd, "flock");
    return result < 0 && errno == EINTR && coopdl_cutting(coopdl_self)
               ? coopdl_cut_uncancelled(coopdl_self, fd, "flock")
               : result;
}

int coopdl_timed_lockf(int fd, int command, off_t size)
{
    bool cutting = coopdl_cutting(coopdl_self) && command == F_LOCK;
    int result = coopdl_real.lockf(fd, cutting ? F_TLOCK : command, size);
    if (cutting && is_taken(result))
        return coopdl_cut_at(coopdl_self, fd, "lockf");
    return (int)coopdl_kicked(result, ON_DESCRIPTOR, "lockf");
}

/* The command that does the same without waiting; 0 for one that does not wait.  By number, since
 * on 32 bits the first two are different, and the headers name just one. */
static int without_waiting(int command)
{
    enum { SETLK = 6, SETLKW = 7 };
    return command == SETLKW         ? SETLK
           : command == F_SETLKW64   ? F_SETLK64
           : command == F_OFD_SETLKW ? F_OFD_SETLK
                                     : 0;
}

int coopdl_timed_fcntl(int fd, int command, void *argument)
{
    int instead = without_waiting(command);
    bool cutting = coopdl_cutting(coopdl_self) && instead;
    int result = coopdl_real.fcntl(fd, cutting ? instead : command, argument);
    if (cutting && is_taken(result))
        return coopdl_cut_at(coopdl_self, fd, "fcntl");
    return instead ? (int)coopdl_kicked(result, ON_DESCRIPTOR, "fcntl") : result;
}
