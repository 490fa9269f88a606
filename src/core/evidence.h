/* SPDX-License-Identifier: Apache-2.0 */
/* evidence.h -- which call a deadline has ended first. */
#ifndef COOPDL_CORE_EVIDENCE_H
#define COOPDL_CORE_EVIDENCE_H

#include "core/thread.h"

/* All of these are async-signal-safe, are called by the thread itself, and clear its place. */

/* In the kick's handler: notes the interrupted context. */
void coopdl_note_interrupted(struct coopdl_thread *thread, const void *context);

/* Sets the thread's place to the descriptor of the call that the kick has interrupted, if the first
 * argument of that call is its `object`; to nothing where it is not known. */
void coopdl_interrupted(struct coopdl_thread *thread, enum coopdl_object object);

/* A call at the thread's place is cut, and `owner` has counted the cut.  `owed`: a wrapper around
 * the call will report the same cut, and the log line waits for that. */
void coopdl_note_cut(struct coopdl_thread *thread, struct coopdl_entry *owner, const char *call,
                     int64_t now, bool owed);

/* The same cut, reported by the wrapper, which knows the call's name and its caller. */
void coopdl_note_same_cut(struct coopdl_thread *thread, struct coopdl_entry *owner,
                          const char *call);

/* A call at the thread's place was kicked for a runtime's exception, and is not cut. */
void coopdl_note_kicked(struct coopdl_thread *thread, const char *call);

/* Is told the first cut of a call that is inside no measured one: null where nothing is measured.
 */
extern void (*coopdl_cut_unmeasured)(const struct coopdl_cut *cut);

/* In a forked child. */
void coopdl_evidence_forked(void);

#endif
