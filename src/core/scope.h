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

/* The word that the thread's entries and what is lent to it come to; as above. */
int64_t coopdl_ruling(struct coopdl_thread *thread);

/* Where that is the word of a scope that has not expired, and another one is delivered: notes when
 * the hook is to be asked about the latter again.  Returns by when whoever watches must look at the
 * thread.
 */
int64_t coopdl_ask_again(struct coopdl_thread *thread, int64_t word);

/* Stores it as the calling thread's.  Returns the word as it was. */
int64_t coopdl_publish(struct coopdl_thread *thread);

/* Nobody looks at the calling thread's entries after this, until coopdl_publish. */
void coopdl_conceal(struct coopdl_thread *thread);

/* Puts an entry on top of the calling thread's, where there is room for it.  True if the caller
 * must publish, whatever the deadline. */
bool coopdl_add_entry(struct coopdl_thread *thread, coopdl_scope *scope, int64_t deadline,
                      uint32_t flags);

/* Puts the budget at the bottom of the calling thread's entries, which are empty. */
void coopdl_found(struct coopdl_thread *thread, int64_t deadline);

/* The budget at the bottom of the calling thread's entries ends at another time. */
void coopdl_refound(struct coopdl_thread *thread, int64_t deadline);

/* What the calling thread has inherited by fork never ends any more. */
void coopdl_disown(struct coopdl_thread *thread);

/* The budget is over for good: as if there had been none. */
void coopdl_unfound(struct coopdl_thread *thread);

/* The calling thread fires itself: a cap of its own ran out and nobody has been here yet. */
void coopdl_fire_self(struct coopdl_thread *thread);

/* The calling thread ends: whatever it was inside is left. */
void coopdl_abandon(struct coopdl_thread *thread);

#endif
