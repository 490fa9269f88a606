/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c -- accept and connect.
 *
 * Before expiry they run as they are and the kick ends them.  After expiry
 * accept looks first.  Whether a connect would wait cannot be seen without
 * trying (to a listener on this machine it often does not): it is tried for a
 * moment.  A connect that is cut is on its way, as after any EINTR.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/sys.h"

static bool accept_would_wait(int fd)
{
    int listening = 0;
    socklen_t size = sizeof(listening);
    return coopdl_sys(SYS_getsockopt, fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 &&
           listening && coopdl_would_wait(fd, POLLIN);
}

int coopdl_timed_accept(int fd, SOCKADDR_ARG address, socklen_t *length)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(coopdl_cutting(thread)) && accept_would_wait(fd))
        return coopdl_cut(thread, "accept");
    return (int)coopdl_kicked(coopdl_real.accept(fd, address, length), "accept");
}

int coopdl_timed_accept4(int fd, SOCKADDR_ARG address, socklen_t *length, int flags)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(coopdl_cutting(thread)) && !(flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) &&
        accept_would_wait(fd))
        return coopdl_cut(thread, "accept4");
    return (int)coopdl_kicked(coopdl_real.accept4(fd, address, length, flags), "accept4");
}

int coopdl_timed_connect(int fd, CONST_SOCKADDR_ARG address, socklen_t length)
{
    if (likely(!coopdl_cutting(coopdl_self)))
        return (int)coopdl_kicked(coopdl_real.connect(fd, address, length), "connect");
    TEST_CANCEL();
    int result = ATTEMPT(coopdl_raw.connect(fd, address, length));
    /* A kick came while the connection was made: if it is there, asking again says so.  Once: where
     * it is not (a local socket looks ready before it is connected), that waits for another kick.
     */
    if (result < 0 && errno == EINTR && !coopdl_would_wait(fd, POLLOUT))
        return (int)TRY(connect, (fd, address, length), "connect");
    return (int)coopdl_kicked(result, "connect");
}
