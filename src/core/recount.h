/* SPDX-License-Identifier: Apache-2.0 */
/* recount.h -- the word of another thread, after something that it comes from has changed. */
#ifndef COOPDL_CORE_RECOUNT_H
#define COOPDL_CORE_RECOUNT_H

#include "core/thread.h"

/* Takes the kick of another thread, and waits for it if necessary; the caller drops it (kick.h).
 * All of the caller's signals are blocked. */
void coopdl_kick_await(struct coopdl_thread *thread);

/* Holding the kick: stores the word that follows from that thread's entries and its loan.  False if
 * the thread has changed its word meanwhile, or is about to. */
bool coopdl_recount(struct coopdl_thread *thread);

#endif
