/* SPDX-License-Identifier: Apache-2.0 */
/* scope.h -- a thread's stack of scopes, for the rest of the core. */
#ifndef COOPDL_CORE_SCOPE_H
#define COOPDL_CORE_SCOPE_H

#include "core/thread.h"

/* The outermost entry that has expired by `now`, inside the innermost shield: the one that owns the
 * expiry.  Null if none has expired.  Called by the thread itself, or by the holder of a fired
 * thread's kick. */
struct coopdl_entry *coopdl_owner(struct coopdl_thread *thread, int64_t now);

/* The earliest deadline of that thread after `now`.  Called as coopdl_owner is. */
int64_t coopdl_next_deadline(struct coopdl_thread *thread, int64_t now);

/* The word that follows from the thread's entries and its loan.  Called as coopdl_owner is. */
int64_t coopdl_ruling(struct coopdl_thread *thread);

/* The word may be that of a scope that has not expired, while another scope is delivered.  Then
 * this notes when the hook is to be asked about the delivered scope again.  Returns by when the
 * watcher must visit the thread. */
int64_t coopdl_ask_again(struct coopdl_thread *thread, int64_t word);

/* Stores the word that follows from the entries as the calling thread's.  Returns the old word. */
int64_t coopdl_publish(struct coopdl_thread *thread);

/* No other thread reads the calling thread's entries from here until coopdl_publish. */
void coopdl_conceal(struct coopdl_thread *thread);

/* Puts an entry on top of the calling thread's stack, which has room for it.  True if the caller
 * must publish, whatever the deadline. */
bool coopdl_add_entry(struct coopdl_thread *thread, coopdl_scope *scope, int64_t deadline,
                      uint32_t flags);

/* Puts the budget at the bottom of the calling thread's stack, which is empty. */
void coopdl_found(struct coopdl_thread *thread, int64_t deadline);

/* Changes the deadline of the budget at the bottom of the calling thread's stack. */
void coopdl_refound(struct coopdl_thread *thread, int64_t deadline);

/* The entries that the calling thread has inherited by fork never expire any more. */
void coopdl_disown(struct coopdl_thread *thread);

/* Removes the budget from the calling thread's stack. */
void coopdl_unfound(struct coopdl_thread *thread);

/* The calling thread fires itself: its cap has run out, and the watcher has not visited it yet. */
void coopdl_fire_self(struct coopdl_thread *thread);

/* The calling thread ends: it leaves all its scopes. */
void coopdl_abandon(struct coopdl_thread *thread);

#endif
