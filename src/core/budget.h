/* SPDX-License-Identifier: Apache-2.0 */
/* budget.h -- the deadline of the process. */
#ifndef COOPDL_CORE_BUDGET_H
#define COOPDL_CORE_BUDGET_H

#include "core/thread.h"

/* The calling thread's record is new: makes the budget its outermost scope. */
void coopdl_budget_join(struct coopdl_thread *thread);

/* Whether the budget has ended. */
bool coopdl_budget_over(void);

/* Further work at the budget's end.  Handed in by start.c; null: none.  Async-signal-safe. */
extern void (*coopdl_budget_ended)(void);

/* Takes the steps that are due at the budget's end and after it; returns when the next one is due.
 */
int64_t coopdl_budget_tick(int64_t now);

/* Makes the budget longer by `ns`.  Its ladder begins anew, without a grace. */
void coopdl_budget_lengthen(int64_t ns);

/* Sends the process a signal of the ladder. */
void coopdl_budget_signal(int number, const char *why);

/* In a forked child, which has a ladder of its own. */
void coopdl_budget_forked(void);

#endif
