/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input.c -- read and recv and their relatives.
 *
 * Before expiry they run as they are and the kick ends them: a look before
 * every read would cost a system call and break SO_RCVTIMEO and MSG_WAITALL.
 * After expiry a read looks first.  That another thread may take the data in
 * between does no harm: the thread stays fired and is kicked again.  The recv
 * family is performed with MSG_DONTWAIT instead, which takes what is there.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/sys.h"

ssize_t coopdl_timed_read(int fd, void *buffer, size_t size)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(coopdl_cutting(thread)) && size && coopdl_would_wait(fd, POLLIN))
        return coopdl_cut(thread, "read");
    return coopdl_kicked(coopdl_real.read(fd, buffer, size), "read");
}

ssize_t coopdl_timed_readv(int fd, const struct iovec *iov, int n)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(coopdl_cutting(thread)) && n > 0 && coopdl_would_wait(fd, POLLIN))
        return coopdl_cut(thread, "readv");
    return coopdl_kicked(coopdl_real.readv(fd, iov, n), "readv");
}

/* At an offset: what has none says so without waiting. */
static bool read_at_would_wait(int fd)
{
    return unlikely(coopdl_cutting(coopdl_self)) && coopdl_would_wait(fd, POLLIN) &&
           coopdl_sys(SYS_lseek, fd, 0, SEEK_CUR) >= 0;
}

ssize_t coopdl_timed_pread(int fd, void *buffer, size_t size, off_t offset)
{
    if (size && read_at_would_wait(fd))
        return coopdl_cut(coopdl_self, "pread");
    return coopdl_kicked(coopdl_real.pread(fd, buffer, size, offset), "pread");
}

ssize_t coopdl_timed_preadv(int fd, const struct iovec *iov, int n, off_t offset)
{
    if (n > 0 && read_at_would_wait(fd))
        return coopdl_cut(coopdl_self, "preadv");
    return coopdl_kicked(coopdl_real.preadv(fd, iov, n, offset), "preadv");
}

ssize_t coopdl_timed_preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && n > 0 && !(flags & RWF_NOWAIT) &&
        (offset == -1 ? coopdl_would_wait(fd, POLLIN) : read_at_would_wait(fd)))
        return coopdl_cut(coopdl_self, "preadv2");
    return coopdl_kicked(coopdl_real.preadv2(fd, iov, n, offset, flags), "preadv2");
}

int coopdl_timed_eventfd_read(int fd, eventfd_t *value)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && coopdl_would_wait(fd, POLLIN))
        return coopdl_cut(coopdl_self, "eventfd_read");
    return (int)coopdl_kicked(coopdl_real.eventfd_read(fd, value), "eventfd_read");
}

ssize_t coopdl_timed_getrandom(void *buffer, size_t size, unsigned int flags)
{
    bool cutting = coopdl_cutting(coopdl_self);
    ssize_t got = coopdl_real.getrandom(buffer, size, cutting ? flags | GRND_NONBLOCK : flags);
    if (cutting && got < 0 && errno == EAGAIN && !(flags & GRND_NONBLOCK))
        return coopdl_cut(coopdl_self, "getrandom");
    return coopdl_kicked(got, "getrandom");
}

ssize_t coopdl_timed_recv(int fd, void *buffer, size_t size, int flags)
{
    TRANSFER(fd, flags, coopdl_real.recv(fd, buffer, size, how), "recv");
}

ssize_t coopdl_timed_recvfrom(int fd, void *buffer, size_t size, int flags, SOCKADDR_ARG address,
                              socklen_t *length)
{
    TRANSFER(fd, flags, coopdl_real.recvfrom(fd, buffer, size, how, address, length), "recvfrom");
}

ssize_t coopdl_timed_recvmsg(int fd, struct msghdr *message, int flags)
{
    TRANSFER(fd, flags, coopdl_real.recvmsg(fd, message, how), "recvmsg");
}

static ssize_t recvmmsg_any(int fd, struct mmsghdr *messages, unsigned int n, int flags,
                            struct timespec *timeout)
{
    TRANSFER(fd, flags, coopdl_real.recvmmsg(fd, messages, n, how, timeout), "recvmmsg");
}

int coopdl_timed_recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags,
                          struct timespec *timeout)
{
    return (int)recvmmsg_any(fd, messages, n, flags, timeout);
}
