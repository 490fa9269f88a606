/* SPDX-License-Identifier: Apache-2.0 */
/* scope.h -- what the rest of the core needs to know of a thread's stack of scopes. */
#ifndef COOPDL_CORE_SCOPE_H
#define COOPDL_CORE_SCOPE_H

#include "core/thread.h"

/* The outermost entry that has expired by `now`, inside the innermost shield: the one that owns
 * the expiry.  Null if none has.  By the thread itself, or by whoever holds the kick of a fired
 * thread. */
struct coopdl_entry *coopdl_owner(struct coopdl_thread *thread, int64_t now);

/* The earliest deadline of that thread that lies after `now`; as above. */
int64_t coopdl_next_deadline(struct coopdl_thread *thread, int64_t now);

/* Puts the budget at the bottom of the calling thread's entries, which are empty. */
void coopdl_found(struct coopdl_thread *thread, int64_t deadline);

/* The budget is over for good: as if there had been none. */
void coopdl_unfound(struct coopdl_thread *thread);

/* The calling thread fires itself: a cap of its own ran out and nobody has been here yet. */
void coopdl_fire_self(struct coopdl_thread *thread);

/* The calling thread ends: whatever it was inside is left. */
void coopdl_abandon(struct coopdl_thread *thread);

#endif
