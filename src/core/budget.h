/* SPDX-License-Identifier: Apache-2.0 */
/* budget.h -- the process's own deadline. */
#ifndef COOPDL_CORE_BUDGET_H
#define COOPDL_CORE_BUDGET_H

#include "core/thread.h"

/* The calling thread's record is new: the budget is its outermost scope. */
void coopdl_budget_join(struct coopdl_thread *thread);

/* Whether the budget has ended. */
bool coopdl_budget_over(void);

/* Does what is due at the budget's end and after it; returns when the next step is. */
int64_t coopdl_budget_tick(int64_t now);

/* In a forked child: its ladder is its own. */
void coopdl_budget_forked(void);

#endif
