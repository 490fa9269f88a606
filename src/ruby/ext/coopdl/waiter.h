/* SPDX-License-Identifier: Apache-2.0 */
/* waiter.h -- the Ruby thread that waits for expiries and sends exceptions. */
#ifndef COOPDL_RUBY_WAITER_H
#define COOPDL_RUBY_WAITER_H

#include "scope.h"

/* Sees to it that expiries are waited for: at the first scope, and again in a forked child. */
void coopdl_waiter_start(void);

/* What was not raised in the calling thread's scopes is raised now. */
void coopdl_waiter_resume(void);

/* The scope has been cancelled by a thread that is not its own. */
void coopdl_waiter_cancelled(struct scope *scope);

void coopdl_waiter_init(VALUE module);

#endif
