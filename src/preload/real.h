/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real.h -- libc's own functions behind the wrapped names.
 *
 * Two sizes.  Where time_t and off_t have 32 bits, libc has a second set of names for programs
 * that were built with 64 bits, such as __nanosleep64 and pread64.  The headers put them in the
 * place of the plain names.  There the files that make calls are compiled a second time, wide
 * (COOPDL_WIDE, sys.h), and the second compilation adds the WIDE rows of the table.  Each name
 * calls libc's own function of the same name, and no time or offset is ever converted.  As in
 * libc's headers, a name that is one in C may be two names in the library.
 */
#ifndef COOPDL_PRELOAD_REAL_H
#define COOPDL_PRELOAD_REAL_H

#include "core/sys.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* glibc declares these parameters as a transparent union. */
#ifdef __GLIBC__
#define SOCKADDR_ARG __SOCKADDR_ARG
#define CONST_SOCKADDR_ARG __CONST_SOCKADDR_ARG
#define SOCKADDR(address) ((address).__sockaddr__)
#else
#define SOCKADDR_ARG struct sockaddr *
#define CONST_SOCKADDR_ARG const struct sockaddr *
#define SOCKADDR(address) (address)
#endif

/* musl's headers make other names of these for the preprocessor; here they are names of symbols. */
#undef aio_suspend64
#undef creat64
#undef fcntl64
#undef lockf64
#undef open64
#undef openat64
#undef pread64
#undef preadv64
#undef pwrite64
#undef pwritev64
#undef sendfile64

struct open_how; /* declared by glibc 2.43 */

/* Linux 4.14; not every libc has a name for it. */
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8
#endif

/* Whether open takes no mode with these flags. */
#define NEEDS_NO_MODE(flags) (!((flags) & (O_CREAT | O_TMPFILE)))

#ifdef COOPDL_WIDE
#define OF_THIS_SIZE(name) __asm__("coopdl_wide_" #name)
#else
#define OF_THIS_SIZE(name)
#endif

struct coopdl_real {
#define CALL(type, name, parameters, ...) type(*name) parameters;
#define FORTIFIED(type, chk, parameters, ...) type(*chk) parameters;
#define MASK(type, name, parameters, ...) type(*name) parameters;
#define CHILD(type, name, parameters, ...) type(*name) parameters;
#define JOIN(type, name, parameters, ...) type(*name) parameters;
#include "preload/calls.def"
};

/* Never null for a CALL; the others are null until they are resolved. */
extern struct coopdl_real coopdl_real OF_THIS_SIZE(real) __attribute__((visibility("hidden")));

/* The same functions as plain system calls, where they are one.  A function that is not one system
 * call goes to libc, and must not be called under the trap. */
extern const struct coopdl_real coopdl_raw OF_THIS_SIZE(raw) __attribute__((visibility("hidden")));

/* Resolves all of them.  Done by our constructor, or by a MASK or CHILD call that comes before it.
 */
void coopdl_resolve(void) OF_THIS_SIZE(resolve);

/* Called then: puts functions that note the socket in the place of libc's connect and accept.
 * Handed in by connection.c. */
extern void (*const coopdl_note_sockets)(void) __attribute__((visibility("hidden")));

/* The result of a raw system call as libc's functions return it. */
static inline long coopdl_result(long value)
{
    if (value < 0 && value > -4096) {
        errno = (int)-value;
        return -1;
    }
    return value;
}

/* The code that syscall() and the trap (src/trap/) run after expiry is the families', built a
 * second time with COOPDL_TRAPPED.  There system calls take the place of libc's functions, which
 * would be trapped again and are cancellation points. */
#ifdef COOPDL_TRAPPED
#define coopdl_real coopdl_raw
#endif

#endif
