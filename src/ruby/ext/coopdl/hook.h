/* SPDX-License-Identifier: Apache-2.0 */
/* hook.h -- what the library's thread is told of an expired scope, and how it wakes the waiter. */
#ifndef COOPDL_RUBY_HOOK_H
#define COOPDL_RUBY_HOOK_H

#include "scope.h"

/* Has the library call the hook from here on.  -1 if it cannot, and errno says why. */
int coopdl_hook_set(void);

/* Wakes the waiter, from any thread, without the GVL too; and waits for that, without the GVL.  The
 * wait may end for nothing: the caller looks. */
void coopdl_hook_wake(void);
void coopdl_hook_wait(void);

/* The scope nearest inside this one that may be in its clean-up, which is this one's too, up to the
 * grace's end of either; or null. */
struct scope *coopdl_hook_cleaning_inside(const struct scope *scope, int64_t now);

/* At the start, and again in a forked child. */
void coopdl_hook_init(void);

#endif
