/* SPDX-License-Identifier: Apache-2.0 */
/* waiter.h -- the Ruby thread that waits for expiries and sends exceptions. */
#ifndef COOPDL_RUBY_WAITER_H
#define COOPDL_RUBY_WAITER_H

#include "scope.h"

/* Starts the waiter if there is none: at the first scope, and again in a forked child. */
void coopdl_waiter_start(void);

/* Raises the exceptions of the calling thread's scopes that were deferred. */
void coopdl_waiter_resume(void);

/* The scope has been cancelled, perhaps by another thread. */
void coopdl_waiter_cancelled(struct scope *scope);

void coopdl_waiter_init(VALUE module);

#endif
