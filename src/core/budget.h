/* SPDX-License-Identifier: Apache-2.0 */
/* budget.h -- the process's own deadline. */
#ifndef COOPDL_CORE_BUDGET_H
#define COOPDL_CORE_BUDGET_H

#include "core/thread.h"

/* The calling thread's record is new: the budget is its outermost scope. */
void coopdl_budget_join(struct coopdl_thread *thread);

/* Whether the budget has ended. */
bool coopdl_budget_over(void);

/* What else there is to do at its end, handed in by start.c; null: nothing.  Async-signal-safe. */
extern void (*coopdl_budget_ended)(void);

/* Does what is due at the budget's end and after it; returns when the next step is. */
int64_t coopdl_budget_tick(int64_t now);

/* The budget is longer by so many ns, and its ladder begins anew, with no grace after that. */
void coopdl_budget_lengthen(int64_t ns);

/* Sends the process a signal of the ladder. */
void coopdl_budget_signal(int number, const char *why);

/* In a forked child: its ladder is its own. */
void coopdl_budget_forked(void);

#endif
