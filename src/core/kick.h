/* SPDX-License-Identifier: Apache-2.0 */
/* kick.h -- the signal that gets a thread out of a blocking system call. */
#ifndef COOPDL_CORE_KICK_H
#define COOPDL_CORE_KICK_H

#include "core/sys.h"
#include "core/thread.h"

#include <signal.h>

/* The signal's number, 0 until the handler is installed. */
extern _Atomic int coopdl_kick_signal;

/* Installs the handler, once. */
void coopdl_kick_install(void);

/* What thread->kick says. */
enum { KICK_NONE, KICK_TAKEN, KICK_SENT };

/* Takes the thread's kick; false if one is under way. */
bool coopdl_kick_take(struct coopdl_thread *thread);

/* Ends a kick that was taken: by the signal, or without one. */
void coopdl_kick_send(struct coopdl_thread *thread);
void coopdl_kick_drop(struct coopdl_thread *thread);

/* The calling thread has changed its word, which was fired: waits until no kick is under way. */
void coopdl_kick_settle(struct coopdl_thread *thread);

/* Takes what must get through to this thread out of a mask as the kernel has it. */
static inline void coopdl_kick_unmask(const struct coopdl_thread *thread, uint64_t *mask)
{
    if (thread && thread->trapped)
        *mask &= ~COOPDL_SIGSET_BIT(SIGSYS);
    int number = atomic_load_explicit(&coopdl_kick_signal, memory_order_relaxed);
    if (number)
        *mask &= ~COOPDL_SIGSET_BIT(number);
}

/* The trap (src/trap/), null where there is none.  On: by a thread that is cutting, in the kick's
 * handler, where `context` is what that has interrupted, or as it fires itself (null).  Off: when
 * nothing of it is to be cut any more; only if thread->trapped. */
extern void (*coopdl_trap_on)(struct coopdl_thread *thread, void *context);
extern void (*coopdl_trap_off)(struct coopdl_thread *thread);

/* The program's own action for the kick's signal, kept here while the kernel has ours. */
extern struct sigaction coopdl_kick_chained;

#endif
