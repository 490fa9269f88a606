/* SPDX-License-Identifier: Apache-2.0 */
/* ending.h -- who is signalled at once when the budget ends, and what is not started then. */
#ifndef COOPDL_CORE_ENDING_H
#define COOPDL_CORE_ENDING_H

#include "core/thread.h"

/* All of these are async-signal-safe. */

/* Whether this process has handled the signal, or was started by one that has: it has its clean-up
 * to do, and the budget is longer by the time for that. */
extern bool coopdl_cleaning __attribute__((visibility("hidden")));

/* The budget has ended: signals this process if it is an interpreter of commands. */
void coopdl_end_interpreter(void);

/* What becomes of a wait for a child that the budget has ended: it is cut; or it goes on for a
 * moment; or the signal's handler has run, and the wait fails with EINTR or is made again. */
enum coopdl_waiter { WAITER_CUT, WAITER_GOES_ON, WAITER_INTERRUPTED, WAITER_RESTARTS };

/* The calling thread, which has expired, waits for a child.  `restarts`: its caller goes on after
 * an EINTR by itself, so that none is needed. */
enum coopdl_waiter coopdl_end_waiter(struct coopdl_thread *thread, bool restarts);

/* The calling thread, which has expired, waits in stdio's read: the same. */
enum coopdl_waiter coopdl_end_reader(struct coopdl_thread *thread, int fd);

/* A thread that is being cut finds the end of file at `fd`: whether that may come from the end of
 * its writer by the same budget. */
bool coopdl_end_of_writer(struct coopdl_thread *thread, int fd);

/* Whether such an end is all that is to be read at `fd`; the same where poll has said these events
 * of it. */
bool coopdl_left_by_writer(struct coopdl_thread *thread, int fd);
bool coopdl_is_end_of_writer(struct coopdl_thread *thread, int fd, int events);

/* The calling thread has found a child that has ended: the end of the budget may have come
 * meanwhile, and the process is signalled then. */
void coopdl_waited(struct coopdl_thread *thread);

/* Whether the calling thread may start no program any more.  Pauses if so. */
bool coopdl_start_refused(void);

/* The calling thread has started a process, or has been refused to: if the budget has ended, the
 * process is signalled. */
void coopdl_end_starter(void);

/* The budget that this process had inherited and has no more, since it has a later one or none:
 * what it starts is not to inherit it either.  Negative if there is none. */
extern int64_t coopdl_outgrown __attribute__((visibility("hidden")));

/* The process has left the session that it was born in. */
void coopdl_session_left(void);

/* Whether the caller is a vfork child that has: there nothing of the process may be written to. */
bool coopdl_session_left_by_child(void);

/* In a forked child. */
void coopdl_ending_forked(void);

#endif
