/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c -- accept and connect.
 *
 * Before expiry they run as they are, and the kick ends them.  After expiry accept looks first
 * whether there is a connection.  Whether a connect would wait cannot be seen without trying: to
 * a listener on this machine it often does not.  So it is tried for a moment.  A connect that is
 * cut goes on in the background, as after any EINTR.
 *
 * A program that connects again and again is paused, whether or not its calls are cut
 * (core/pause.c): a listener that nobody serves takes connections until its queue is full.
 *
 * A socket that is connected or accepted here may be hung up later (core/hangup.c).  So it is
 * noted, whether or not there is a deadline, on the way to libc's function.  The address is read
 * once the kernel has read or written it.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/sys.h"

#if !defined(COOPDL_TRAPPED) && !defined(COOPDL_WIDE)
static struct coopdl_real libc;

static int note_connect(int fd, CONST_SOCKADDR_ARG address, socklen_t length)
{
    if (unlikely(coopdl_socket_made(fd, false)))
        return libc.connect(fd, address, length);
    int result = libc.connect(fd, address, length), error = errno;
    if (result == 0 || error == EINPROGRESS || error == EINTR)
        coopdl_socket_made_before(fd, false, SOCKADDR(address), length);
    errno = error;
    return result;
}

static void note_accepted(int accepted, const struct sockaddr *peer, const socklen_t *length)
{
    if (accepted >= 0 && !coopdl_socket_made(accepted, true) && peer)
        coopdl_socket_made_before(accepted, true, peer, *length);
}

static int note_accept(int fd, SOCKADDR_ARG address, socklen_t *length)
{
    int accepted = libc.accept(fd, address, length);
    note_accepted(accepted, SOCKADDR(address), length);
    return accepted;
}

static int note_accept4(int fd, SOCKADDR_ARG address, socklen_t *length, int flags)
{
    int accepted = libc.accept4(fd, address, length, flags);
    note_accepted(accepted, SOCKADDR(address), length);
    return accepted;
}

/* Once libc's own are known. */
static void note_sockets(void)
{
    if (coopdl_real.connect == note_connect)
        return;
    libc = coopdl_real;
    coopdl_real.connect = note_connect;
    coopdl_real.accept = note_accept;
    coopdl_real.accept4 = note_accept4;
}

void (*const coopdl_note_sockets)(void) = note_sockets;
#endif

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof(type);
    return coopdl_sys(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           type == SOCK_STREAM;
}

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
        return coopdl_cut_at(thread, fd, "accept");
    return (int)coopdl_kicked(coopdl_real.accept(fd, address, length), ON_DESCRIPTOR, "accept");
}

int coopdl_timed_accept4(int fd, SOCKADDR_ARG address, socklen_t *length, int flags)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(coopdl_cutting(thread)) && !(flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) &&
        accept_would_wait(fd))
        return coopdl_cut_at(thread, fd, "accept4");
    return (int)coopdl_kicked(coopdl_real.accept4(fd, address, length, flags), ON_DESCRIPTOR,
                              "accept4");
}

static void on_connect(int fd, CONST_SOCKADDR_ARG address, socklen_t length)
{
    coopdl_on(coopdl_self, ON_CONNECT, fd);
    coopdl_self->place.b = (long)SOCKADDR(address);
    coopdl_self->place.c = (long)length;
}

int coopdl_timed_connect(int fd, CONST_SOCKADDR_ARG address, socklen_t length)
{
    if (likely(!coopdl_cutting(coopdl_self)))
        return (int)coopdl_kicked_on(coopdl_real.connect(fd, address, length),
                                     on_connect(fd, address, length), "connect");
    TEST_CANCEL();
    bool stream = is_stream(fd);
    if (stream && (coopdl_is_blocking(fd) || coopdl_hanging_up()))
        coopdl_pause(coopdl_self, coopdl_next_pause(coopdl_self, COOPDL_NEVER, UNDER_TRAP));
    if (stream && coopdl_hanging_up()) { /* the budget's connections are, one after the other */
        errno = ETIMEDOUT;
        return -1;
    }
    coopdl_socket_made(fd, false);
    int result = ATTEMPT(coopdl_raw.connect(fd, address, length));
    /* A kick came while the connection was made: if it is made by now, a second connect says so.
     * It is tried once: a local socket looks ready before it is connected, and a second connect
     * then waits for another kick. */
    if (result < 0 && errno == EINTR && !coopdl_would_wait(fd, POLLOUT))
        result = ATTEMPT(coopdl_raw.connect(fd, address, length));
    if (result == 0 || errno != EINTR || !coopdl_cutting(coopdl_self))
        return result;
    on_connect(fd, address, length);
    errno = coopdl_cut_sleep(coopdl_self, "connect", RESULT_ESCALATES, 0);
    return -1;
}
