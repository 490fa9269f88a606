/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input.c -- read, recv and the like.
 *
 * Before expiry they run as they are, and the kick ends them: a look before every read would
 * cost a system call, and break SO_RCVTIMEO and MSG_WAITALL.  After expiry a read looks first
 * whether there is data.  Another thread may take the data after that look: then the read waits,
 * but the thread stays fired and is kicked again.  The recv family is called with MSG_DONTWAIT
 * instead, and takes what is there.
 *
 * A read that has waited and then finds the end of file looks once more: its writer may have
 * been ended at the same moment as the kick came.
 */
#include "core/ending.h"
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/sys.h"

/* No data is there, and perhaps no writer any more (core/ending.c).  Apart, so that the path before
 * expiry is short. */
__attribute__((noinline, cold)) static bool read_is_cut(int fd)
{
    if (!coopdl_would_wait(fd, POLLIN) && !coopdl_end_is_cut(fd))
        return false;
    if (UNDER_TRAP && coopdl_budgeted)
        coopdl_end_reader(coopdl_self, fd);
    return true;
}

__attribute__((noinline, cold)) static ssize_t cut_read(int fd, const void *returns_to)
{
    coopdl_from(coopdl_self, coopdl_called_from(returns_to));
    return coopdl_cut_on_it(coopdl_self, fd, "read");
}

/* Nothing was read: an error, or the end of the file. */
__attribute__((noinline, cold)) static ssize_t read_nothing(ssize_t got, int fd, size_t size,
                                                            const void *returns_to)
{
    if (got < 0)
        return coopdl_failed("read", ON_DESCRIPTOR, coopdl_called_from(returns_to));
    return size ? END_OF_FILE(fd, true, cut_read(fd, returns_to)) : 0;
}

/* In one piece (src/meson.build): stdio.c knows it by where libc's read returns to.  The barrier
 * keeps the two calls apart: the one before expiry has its arguments in their places yet. */
ssize_t coopdl_timed_read(int fd, void *buffer, size_t size)
{
    ssize_t got;
    if (likely(!coopdl_cutting(coopdl_self))) {
        got = coopdl_real.read(fd, buffer, size);
    } else {
        if (size && read_is_cut(fd))
            return cut_read(fd, COOPDL_RETURNS_TO);
        got = coopdl_real.read(fd, buffer, size);
        __asm__ volatile("" : "+r"(got));
    }
    return likely(got > 0) ? got : read_nothing(got, fd, size, COOPDL_RETURNS_TO);
}

ssize_t coopdl_timed_readv(int fd, const struct iovec *iov, int n)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(coopdl_cutting(thread)) && coopdl_moves(iov, n) && coopdl_would_wait(fd, POLLIN))
        return coopdl_cut_on(thread, fd, "readv");
    ssize_t got = coopdl_real.readv(fd, iov, n);
    if (unlikely(got == 0) && coopdl_moves(iov, n))
        return END_OF_FILE(fd, true, coopdl_cut_on(thread, fd, "readv"));
    return coopdl_kicked(got, ON_DESCRIPTOR, "readv");
}

/* With an offset: a descriptor that cannot seek fails without waiting. */
static bool read_at_would_wait(int fd)
{
    return unlikely(coopdl_cutting(coopdl_self)) && coopdl_would_wait(fd, POLLIN) &&
           coopdl_sys(SYS_lseek, fd, 0, SEEK_CUR) >= 0;
}

ssize_t coopdl_timed_pread(int fd, void *buffer, size_t size, off_t offset)
{
    if (size && read_at_would_wait(fd))
        return coopdl_cut_at(coopdl_self, fd, "pread");
    return coopdl_kicked(coopdl_real.pread(fd, buffer, size, offset), ON_DESCRIPTOR, "pread");
}

ssize_t coopdl_timed_preadv(int fd, const struct iovec *iov, int n, off_t offset)
{
    if (read_at_would_wait(fd) && coopdl_moves(iov, n))
        return coopdl_cut_at(coopdl_self, fd, "preadv");
    return coopdl_kicked(coopdl_real.preadv(fd, iov, n, offset), ON_DESCRIPTOR, "preadv");
}

ssize_t coopdl_timed_preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && coopdl_moves(iov, n) && !(flags & RWF_NOWAIT) &&
        (offset == -1 ? coopdl_would_wait(fd, POLLIN) : read_at_would_wait(fd)))
        return coopdl_cut_at(coopdl_self, fd, "preadv2");
    ssize_t got = coopdl_real.preadv2(fd, iov, n, offset, flags);
    if (unlikely(got == 0) && offset == -1 && coopdl_moves(iov, n))
        return END_OF_FILE(fd, true, coopdl_cut_at(coopdl_self, fd, "preadv2"));
    return coopdl_kicked(got, ON_DESCRIPTOR, "preadv2");
}

int coopdl_timed_eventfd_read(int fd, eventfd_t *value)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && coopdl_would_wait(fd, POLLIN))
        return coopdl_cut_at(coopdl_self, fd, "eventfd_read");
    return (int)coopdl_kicked(coopdl_real.eventfd_read(fd, value), ON_DESCRIPTOR, "eventfd_read");
}

ssize_t coopdl_timed_getrandom(void *buffer, size_t size, unsigned int flags)
{
    bool cutting = coopdl_cutting(coopdl_self);
    ssize_t got = coopdl_real.getrandom(buffer, size, cutting ? flags | GRND_NONBLOCK : flags);
    if (cutting && got < 0 && errno == EAGAIN && !(flags & GRND_NONBLOCK))
        return coopdl_cut(coopdl_self, "getrandom");
    return coopdl_kicked(got, ON_NOTHING, "getrandom");
}

ssize_t coopdl_timed_recv(int fd, void *buffer, size_t size, int flags)
{
    TRANSFER(fd, flags, coopdl_real.recv(fd, buffer, size, how), size, "recv");
}

ssize_t coopdl_timed_recvfrom(int fd, void *buffer, size_t size, int flags, SOCKADDR_ARG address,
                              socklen_t *length)
{
    TRANSFER(fd, flags, coopdl_real.recvfrom(fd, buffer, size, how, address, length), size,
             "recvfrom");
}

ssize_t coopdl_timed_recvmsg(int fd, struct msghdr *message, int flags)
{
    TRANSFER(fd, flags, coopdl_real.recvmsg(fd, message, how),
             coopdl_moves(message->msg_iov, (int)message->msg_iovlen), "recvmsg");
}

__attribute__((always_inline)) static inline ssize_t
recvmmsg_any(int fd, struct mmsghdr *messages, unsigned int n, int flags, struct timespec *timeout)
{
    TRANSFER(fd, flags, coopdl_real.recvmmsg(fd, messages, n, how, timeout), false, "recvmmsg");
}

int coopdl_timed_recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags,
                          struct timespec *timeout)
{
    return (int)recvmmsg_any(fd, messages, n, flags, timeout);
}
