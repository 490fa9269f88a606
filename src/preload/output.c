/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.c -- write, send and the like.
 *
 * Before expiry they run as they are.  The kick ends them, with the count of the bytes that have
 * gone out, if any have.  After expiry they write what fits without waiting, and the count says
 * how much that was: so a traceback, a log line or a ROLLBACK gets out.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>

static bool is_pipe(int fd)
{
    return coopdl_sys(SYS_fcntl, fd, F_GETPIPE_SZ) >= 0;
}

/* A pipe that poll calls writable takes this much without waiting. */
static size_t fits(int fd, size_t size)
{
    return size > PIPE_BUF && is_pipe(fd) && coopdl_is_blocking(fd) ? PIPE_BUF : size;
}

ssize_t coopdl_timed_write(int fd, const void *buffer, size_t size)
{
    if (likely(!coopdl_cutting(coopdl_self)))
        return coopdl_kicked(coopdl_real.write(fd, buffer, size), ON_DESCRIPTOR, "write");
    if (size && coopdl_would_wait(fd, POLLOUT))
        return coopdl_cut_on(coopdl_self, fd, "write");
    return TRY(write, (fd, buffer, fits(fd, size)), ON_DESCRIPTOR, "write");
}

ssize_t coopdl_timed_writev(int fd, const struct iovec *iov, int n)
{
    if (likely(!coopdl_cutting(coopdl_self)))
        return coopdl_kicked(coopdl_real.writev(fd, iov, n), ON_DESCRIPTOR, "writev");
    if (coopdl_moves(iov, n) && coopdl_would_wait(fd, POLLOUT))
        return coopdl_cut_on(coopdl_self, fd, "writev");
    return TRY(writev, (fd, iov, n), ON_DESCRIPTOR, "writev");
}

/* With an offset: a descriptor that cannot seek fails without waiting. */
static bool write_at_would_wait(int fd)
{
    return unlikely(coopdl_cutting(coopdl_self)) && coopdl_would_wait(fd, POLLOUT) &&
           coopdl_sys(SYS_lseek, fd, 0, SEEK_CUR) >= 0;
}

ssize_t coopdl_timed_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    if (size && write_at_would_wait(fd))
        return coopdl_cut_at(coopdl_self, fd, "pwrite");
    return TRY(pwrite, (fd, buffer, size, offset), ON_DESCRIPTOR, "pwrite");
}

ssize_t coopdl_timed_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    if (write_at_would_wait(fd) && coopdl_moves(iov, n))
        return coopdl_cut_at(coopdl_self, fd, "pwritev");
    return TRY(pwritev, (fd, iov, n, offset), ON_DESCRIPTOR, "pwritev");
}

ssize_t coopdl_timed_pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && coopdl_moves(iov, n) && !(flags & RWF_NOWAIT) &&
        (offset == -1 ? coopdl_would_wait(fd, POLLOUT) : write_at_would_wait(fd)))
        return coopdl_cut_at(coopdl_self, fd, "pwritev2");
    return TRY(pwritev2, (fd, iov, n, offset, flags), ON_DESCRIPTOR, "pwritev2");
}

ssize_t coopdl_timed_send(int fd, const void *buffer, size_t size, int flags)
{
    TRANSFER(fd, flags, coopdl_real.send(fd, buffer, size, how), false, "send");
}

ssize_t coopdl_timed_sendto(int fd, const void *buffer, size_t size, int flags,
                            CONST_SOCKADDR_ARG address, socklen_t length)
{
    TRANSFER(fd, flags, coopdl_real.sendto(fd, buffer, size, how, address, length), false,
             "sendto");
}

ssize_t coopdl_timed_sendmsg(int fd, const struct msghdr *message, int flags)
{
    TRANSFER(fd, flags, coopdl_real.sendmsg(fd, message, how), false, "sendmsg");
}

__attribute__((always_inline)) static inline ssize_t sendmmsg_any(int fd, struct mmsghdr *messages,
                                                                  unsigned int n, int flags)
{
    TRANSFER(fd, flags, coopdl_real.sendmmsg(fd, messages, n, how), false, "sendmmsg");
}

int coopdl_timed_sendmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags)
{
    return (int)sendmmsg_any(fd, messages, n, flags);
}

/* What the kernel looks at before it waits: where to begin, and whether the input is open. */
static bool sendfile_would_wait(int out, int in, off_t *offset)
{
    return (!offset || coopdl_readable(offset, sizeof(*offset))) &&
           coopdl_sys(SYS_fcntl, in, F_GETFD) >= 0 && coopdl_would_wait(out, POLLOUT);
}

ssize_t coopdl_timed_sendfile(int out, int in, off_t *offset, size_t size)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && size && sendfile_would_wait(out, in, offset))
        return coopdl_cut_uncancelled(coopdl_self, out, "sendfile");
    ssize_t sent = unlikely(coopdl_cutting(coopdl_self))
                       ? ATTEMPT(coopdl_raw.sendfile(out, in, offset, size))
                       : coopdl_real.sendfile(out, in, offset, size);
    return sent < 0 && errno == EINTR && coopdl_cutting(coopdl_self)
               ? coopdl_cut_uncancelled(coopdl_self, out, "sendfile")
               : sent;
}

/* The pipe calls have a flag of their own for not waiting.  If the caller has set it, or the pipe
 * is in non-blocking mode, the call fails with EAGAIN. */
__attribute__((always_inline)) static inline ssize_t
pipe_result(ssize_t moved, unsigned int flags, int one, int other, const char *call)
{
    if (moved < 0 && errno == EAGAIN && !(flags & SPLICE_F_NONBLOCK) && coopdl_is_blocking(one) &&
        coopdl_is_blocking(other))
        return coopdl_cut_at(coopdl_self, one, call);
    return coopdl_kicked(moved, ON_DESCRIPTOR, call);
}

ssize_t coopdl_timed_splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size,
                            unsigned int flags)
{
    if (likely(!coopdl_cutting(coopdl_self))) {
        ssize_t moved = coopdl_real.splice(in, in_offset, out, out_offset, size, flags);
        if (unlikely(moved == 0) && size && !in_offset)
            return END_OF_FILE(in, true, coopdl_cut_at(coopdl_self, in, "splice"));
        return coopdl_kicked(moved, ON_DESCRIPTOR, "splice");
    }
    /* The flag is for the pipe; the other end may be a socket or a terminal, which have no offset.
     */
    if (size && !in_offset && !out_offset &&
        ((!is_pipe(in) && coopdl_would_wait(in, POLLIN)) ||
         (!is_pipe(out) && coopdl_would_wait(out, POLLOUT))))
        return coopdl_cut_at(coopdl_self, in, "splice");
    TEST_CANCEL();
    ssize_t moved =
        ATTEMPT(coopdl_raw.splice(in, in_offset, out, out_offset, size, flags | SPLICE_F_NONBLOCK));
    if (moved == 0 && size && !in_offset)
        return END_OF_FILE(in, true, coopdl_cut_at(coopdl_self, in, "splice"));
    return pipe_result(moved, flags, in, out, "splice");
}

ssize_t coopdl_timed_tee(int in, int out, size_t size, unsigned int flags)
{
    unsigned int how = unlikely(coopdl_cutting(coopdl_self)) ? flags | SPLICE_F_NONBLOCK : flags;
    ssize_t moved = coopdl_real.tee(in, out, size, how);
    if (unlikely(moved == 0) && size)
        return END_OF_FILE(in, false, coopdl_cut_at(coopdl_self, in, "tee"));
    return pipe_result(moved, flags, in, out, "tee");
}

ssize_t coopdl_timed_vmsplice(int fd, const struct iovec *iov, size_t n, unsigned int flags)
{
    unsigned int how = unlikely(coopdl_cutting(coopdl_self)) ? flags | SPLICE_F_NONBLOCK : flags;
    return pipe_result(coopdl_real.vmsplice(fd, iov, n, how), flags, fd, fd, "vmsplice");
}

int coopdl_timed_eventfd_write(int fd, eventfd_t value)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && coopdl_would_wait(fd, POLLOUT))
        return coopdl_cut_at(coopdl_self, fd, "eventfd_write");
    return (int)TRY(eventfd_write, (fd, value), ON_DESCRIPTOR, "eventfd_write");
}
