/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.h -- which call a deadline has ended first: noted when that happens, told when asked. */
#ifndef COOPDL_CORE_EVIDENCE_H
#define COOPDL_CORE_EVIDENCE_H

#include "core/thread.h"

/* All of these are async-signal-safe, by the thread itself, and forget its place. */

/* In the kick's handler: what it has interrupted. */
void coopdl_note_interrupted(struct coopdl_thread *thread, const void *context);

/* The thread's place is on the descriptor of the call that the kick has interrupted, if that is its
 * `object`; on nothing where it is not known. */
void coopdl_interrupted(struct coopdl_thread *thread, enum coopdl_object object);

/* A call at the thread's place is cut: the `owner` has counted it.  `owed`: a wrapper is around it,
 * which will tell the same again, and the line about it waits for that. */
void coopdl_note_cut(struct coopdl_thread *thread, struct coopdl_entry *owner, const char *call,
                     int64_t now, bool owed);

/* The same cut, told by the wrapper: it knows the call's name, and its caller. */
void coopdl_note_told(struct coopdl_thread *thread, struct coopdl_entry *owner, const char *call);

/* A call at the thread's place was kicked for a runtime's exception, and is not cut. */
void coopdl_note_kicked(struct coopdl_thread *thread, const char *call);

/* Is told the first cut of a call that is inside no measured one: null where nothing is measured. */
extern void (*coopdl_cut_unmeasured)(const struct coopdl_cut *cut);

/* In a forked child. */
void coopdl_evidence_forked(void);

#endif
