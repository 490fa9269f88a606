/* SPDX-License-Identifier: Apache-2.0 */
/* hangup.h -- connections that are shut down, for code that takes no error for an answer. */
#ifndef COOPDL_CORE_HANGUP_H
#define COOPDL_CORE_HANGUP_H

#include "core/thread.h"

/* How often a budget's connections are hung up again, in ns. */
#define COOPDL_HANGUP_INTERVAL (250 * COOPDL_MILLISECOND)

/* All of these are async-signal-safe and leave errno alone. */

/* The type and permissions of what a descriptor stands for; 0 for an error. */
int coopdl_mode_of(int fd);

/* Calls `what` with each descriptor that an epoll descriptor waits for; whether any call was true.
 */
bool coopdl_each_of_epoll(int fd, bool (*what)(int, void *), void *argument);

/* The process is about to connect this socket, or has accepted it.  False if it has never had a
 * deadline: then nothing is done. */
bool coopdl_socket_made(int fd, bool accepted);

/* In such a process: it has connected the socket, or begun to, or accepted it. */
struct sockaddr;
void coopdl_socket_made_before(int fd, bool accepted, const struct sockaddr *peer, size_t length);

/* The process has its first deadline. */
void coopdl_hangup_start(void);

/* Whether it is a local connection that this process has not made itself, and never hangs up. */
bool coopdl_is_others_connection(int fd);

/* A call that waited for this descriptor has been cut.  Whether that is a socket of the process's
 * own making. */
bool coopdl_socket_cut(int fd);

/* The same for all that this epoll descriptor waits for. */
bool coopdl_sockets_of_epoll_cut(int fd);

/* A call that waited for such a socket has been cut: whether the owner of the expiry has ignored so
 * many cuts that the sockets of this call are to be hung up. */
bool coopdl_hangup_due(struct coopdl_thread *thread);

/* Hangs up a socket, or all that an epoll descriptor waits for, if they may be. */
void coopdl_hang_up(int fd);
void coopdl_hang_up_epoll(int fd);

/* A read has found the end of file: whether that end is of our making, and no read has failed at it
 * yet.  The read is to fail with ECONNRESET then, since the data was not complete; with `consumed`
 * it is the one that fails. */
bool coopdl_end_is_ours(int fd, bool consumed);

/* Hangs up the process's own sockets: the first time those that some call was cut on. */
void coopdl_hang_up_all(bool first);

/* Whether that has begun: nothing is connected any more. */
bool coopdl_hanging_up(void);

/* In a forked child: all sockets are its parent's. */
void coopdl_hangup_forked(void);

#endif
