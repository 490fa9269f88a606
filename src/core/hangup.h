/* SPDX-License-Identifier: Apache-2.0 */
/* hangup.h -- shuts down connections of code that ignores errors. */
#ifndef COOPDL_CORE_HANGUP_H
#define COOPDL_CORE_HANGUP_H

#include "core/thread.h"

/* How often a budget's connections are hung up again, in ns. */
#define COOPDL_HANGUP_INTERVAL (250 * COOPDL_MILLISECOND)

/* All of these are async-signal-safe and leave errno alone. */

/* The st_mode of a descriptor; 0 for an error. */
int coopdl_mode_of(int fd);

/* Calls `what` with each descriptor that an epoll descriptor waits for; whether any call was true.
 */
bool coopdl_each_of_epoll(int fd, bool (*what)(int, void *), void *argument);

/* The process is about to connect this socket, or has accepted it.  False if the process has never
 * had a deadline: then nothing is noted, and coopdl_socket_made_before is to be called. */
bool coopdl_socket_made(int fd, bool accepted);

/* For a process that has never had a deadline: it has connected the socket, or begun to, or
 * accepted it. */
struct sockaddr;
void coopdl_socket_made_before(int fd, bool accepted, const struct sockaddr *peer, size_t length);

/* The process has its first deadline. */
void coopdl_hangup_start(void);

/* Whether this is a local connection that the process has not made itself, and that is never hung
 * up. */
bool coopdl_is_others_connection(int fd);

/* A call that waited for this descriptor has been cut.  Whether the descriptor is a socket of the
 * process's own making. */
bool coopdl_socket_cut(int fd);

/* The same for all descriptors that this epoll descriptor waits for. */
bool coopdl_sockets_of_epoll_cut(int fd);

/* A call that waited for such a socket has been cut.  Whether the owner of the expiry has ignored
 * so many cuts that the sockets of this call are to be hung up. */
bool coopdl_hangup_due(struct coopdl_thread *thread);

/* Hangs up a socket, or all sockets that an epoll descriptor waits for, if they are of the
 * process's own making. */
void coopdl_hang_up(int fd);
void coopdl_hang_up_epoll(int fd);

/* A read has found the end of file: whether a hang-up has made that end, and no read has failed at
 * it yet.  The read must fail with ECONNRESET then, since the data was not complete; with
 * `consumed` this read is the one that fails. */
bool coopdl_end_is_ours(int fd, bool consumed);

/* Hangs up the process's own sockets; the first time only those that a call was cut on. */
void coopdl_hang_up_all(bool first);

/* Whether a budget's hang-up has begun: from then on nothing is connected any more. */
bool coopdl_hanging_up(void);

/* In a forked child: all sockets are its parent's. */
void coopdl_hangup_forked(void);

#endif
