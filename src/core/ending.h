/* SPDX-License-Identifier: Apache-2.0 */
/* ending.h -- the end of a budget: which processes are signalled at once, and what may not be
 * started. */
#ifndef COOPDL_CORE_ENDING_H
#define COOPDL_CORE_ENDING_H

#include "core/thread.h"

/* All of these are async-signal-safe. */

/* Whether this process has handled the signal, or was started by one that has.  It has its clean-up
 * to do, and its budget is longer by the time for that. */
extern bool coopdl_cleaning __attribute__((visibility("hidden")));

/* The budget has ended: signals this process if it is an interpreter of commands. */
void coopdl_end_interpreter(void);

/* What becomes of a wait for a child when the budget has ended.  It is cut; or it goes on for a
 * moment; or the signal's handler has run, and the wait fails with EINTR or is made again. */
enum coopdl_waiter { WAITER_CUT, WAITER_GOES_ON, WAITER_INTERRUPTED, WAITER_RESTARTS };

/* The calling thread, which has expired, waits for a child.  `restarts`: the caller restarts after
 * an EINTR by itself, so that it needs none. */
enum coopdl_waiter coopdl_end_waiter(struct coopdl_thread *thread, bool restarts);

/* The calling thread, which has expired, waits in stdio's read: the same. */
enum coopdl_waiter coopdl_end_reader(struct coopdl_thread *thread, int fd);

/* A thread that is being cut finds the end of file at `fd`: whether the writer may have been ended
 * by the same budget. */
bool coopdl_end_of_writer(struct coopdl_thread *thread, int fd);

/* Whether `fd` has such an end and no data before it.  The second function takes the events that
 * poll has reported for `fd`. */
bool coopdl_left_by_writer(struct coopdl_thread *thread, int fd);
bool coopdl_is_end_of_writer(struct coopdl_thread *thread, int fd, int events);

/* The calling thread has reaped a child.  If the budget has ended meanwhile, the process is
 * signalled. */
void coopdl_waited(struct coopdl_thread *thread);

/* Whether the calling thread may not start a program any more.  If so, it pauses. */
bool coopdl_start_refused(void);

/* The calling thread has started a process, or has failed to start one because the budget has
 * ended.  If it has ended, the process is signalled. */
void coopdl_end_starter(void);

/* The end of a budget that this process has inherited and left behind, since it now has a later one
 * or none: its children must not inherit it either.  Negative if there is none. */
extern int64_t coopdl_outgrown __attribute__((visibility("hidden")));

/* The process has left the session that it was started in. */
void coopdl_session_left(void);

/* Whether the caller is a vfork child that has left its session: such a child writes to nothing of
 * the process. */
bool coopdl_session_left_by_child(void);

/* In a forked child. */
void coopdl_ending_forked(void);

#endif
