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

ssize_t coopdl_timed_pread(int fd, void *buffer, size_t size, off_t offset)
{
    struct coopdl_thread *thread = coopdl_self;
    /* Pipes and sockets have no offset: the kernel says so without waiting. */
    if (unlikely(coopdl_cutting(thread)) && size && coopdl_would_wait(fd, POLLIN) &&
        coopdl_sys(SYS_lseek, fd, 0, SEEK_CUR) >= 0)
        return coopdl_cut(thread, "pread");
    return coopdl_kicked(coopdl_real.pread(fd, buffer, size, offset), "pread");
}

/* Whether a MSG_DONTWAIT that the caller did not ask for is why the call came back empty. */
static bool would_have_waited(int fd, ssize_t got, int flags)
{
    return got < 0 && errno == EAGAIN && !(flags & MSG_DONTWAIT) && coopdl_is_blocking(fd);
}

/* `receive` is the real call with `how` for its flags. */
#define RECEIVE(thread, fd, flags, receive, call)                                                  \
    {                                                                                              \
        bool cutting = coopdl_cutting(thread);                                                     \
        int how = unlikely(cutting) ? (flags) | MSG_DONTWAIT : (flags);                            \
        ssize_t got = (receive);                                                                   \
        if (unlikely(cutting) && would_have_waited(fd, got, flags))                                \
            return coopdl_cut(thread, call);                                                       \
        return coopdl_kicked(got, call);                                                           \
    }

ssize_t coopdl_timed_recv(int fd, void *buffer, size_t size, int flags)
{
    struct coopdl_thread *thread = coopdl_self;
    RECEIVE(thread, fd, flags, coopdl_real.recv(fd, buffer, size, how), "recv");
}

ssize_t coopdl_timed_recvfrom(int fd, void *buffer, size_t size, int flags, SOCKADDR_ARG address,
                              socklen_t *length)
{
    struct coopdl_thread *thread = coopdl_self;
    RECEIVE(thread, fd, flags, coopdl_real.recvfrom(fd, buffer, size, how, address, length),
            "recvfrom");
}

ssize_t coopdl_timed_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct coopdl_thread *thread = coopdl_self;
    RECEIVE(thread, fd, flags, coopdl_real.recvmsg(fd, message, how), "recvmsg");
}

static ssize_t recvmmsg_any(struct coopdl_thread *thread, int fd, struct mmsghdr *messages,
                            unsigned int n, int flags, struct timespec *timeout)
{
    RECEIVE(thread, fd, flags, coopdl_real.recvmmsg(fd, messages, n, how, timeout), "recvmmsg");
}

int coopdl_timed_recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags,
                          struct timespec *timeout)
{
    struct coopdl_thread *thread = coopdl_self;
    return (int)recvmmsg_any(thread, fd, messages, n, flags, timeout);
}
