/* SPDX-License-Identifier: Apache-2.0 */
/* kick.h -- the signal that gets a thread out of a blocking system call. */
#ifndef COOPDL_CORE_KICK_H
#define COOPDL_CORE_KICK_H

#include "core/sys.h"
#include "core/thread.h"

#include <signal.h>

/* The signal's number, 0 until the handler is installed. */
extern _Atomic int coopdl_kick_signal;

/* Installs the handler, once: when this returns the handler is installed, by this thread or by
 * another.  Called with the program's signals blocked.  The second function installs it again where
 * the program's action has changed. */
void coopdl_kick_install(void);
void coopdl_kick_reinstall(void);

/* In a forked child. */
void coopdl_kick_forked(void);

/* Which system call a filter refuses that no kick can do without; null if there is none: then
 * the handler is installed, and a kick can be sent. */
const char *coopdl_kick_refused(void);

/* The action as libc would give it back, had the program's own been installed. */
void coopdl_kick_chain(const struct sigaction *action);

/* The handler, which arrival.c hands in. */
extern void (*const coopdl_on_kick)(int number, siginfo_t *info, void *context);

/* Whether a signal of the kick's number is a kick for certain, or may be one. */
bool coopdl_is_certain_kick(const siginfo_t *info);
bool coopdl_may_be_kick(const siginfo_t *info);
bool coopdl_is_kick(const siginfo_t *info);

/* Whether a signal that was taken from the queue was the timer's, which has been served then.
 * Handed in where a timer is started (timer.c); null if there never was one. */
extern bool (*_Atomic coopdl_kick_timer)(const siginfo_t *info);

/* Sends a kick to a thread that may have no record. */
long coopdl_kick_tid(int32_t tid);

/* The values of thread->kick. */
enum { KICK_NONE, KICK_TAKEN, KICK_SENT };

/* How long a kick that was sent may take to arrive, in ns. */
#define COOPDL_KICK_TIMEOUT 100000000

/* Takes the thread's kick; false if one is under way. */
bool coopdl_kick_take(struct coopdl_thread *thread);

/* Ends a kick that was taken: sends the signal, or does without. */
void coopdl_kick_send(struct coopdl_thread *thread);
void coopdl_kick_drop(struct coopdl_thread *thread);

/* The calling thread takes its own kick off the queue, or sees it dropped. */
void coopdl_kick_collect(struct coopdl_thread *thread);

/* The calling thread has changed its word, which was fired: waits until no kick is under way for
 * it. */
void coopdl_kick_settle(struct coopdl_thread *thread);

/* SIG_BLOCK, SIG_UNBLOCK: for a moment, by a thread that takes the signal off the queue itself, or
 * makes a child that is to have it blocked. */
void coopdl_kick_block(int how);

/* Takes the signals that must reach this thread out of a mask in the kernel's form. */
static inline void coopdl_kick_unmask(const struct coopdl_thread *thread, uint64_t *mask)
{
    if (thread && thread->trapped)
        *mask &= ~COOPDL_SIGSET_BIT(SIGSYS);
    int number = atomic_load_explicit(&coopdl_kick_signal, memory_order_relaxed);
    if (number)
        *mask &= ~COOPDL_SIGSET_BIT(number);
}

/* The trap (src/trap/); null where there is none.  On: called by a thread that is cutting.
 * `context` is the interrupted context in the kick's handler, and null where the thread fires
 * itself.  Off: called when no call of the thread is to be cut any more, and only if
 * thread->trapped. */
extern void (*coopdl_trap_on)(struct coopdl_thread *thread, void *context);
extern void (*coopdl_trap_off)(struct coopdl_thread *thread);

/* The program's own action for the kick's signal, kept here while the kernel has ours. */
extern struct sigaction coopdl_kick_chained;

#endif
