/* SPDX-License-Identifier: Apache-2.0 */
/* joins.h -- threads that are joined by an expired one. */
#ifndef COOPDL_RUBY_JOINS_H
#define COOPDL_RUBY_JOINS_H

#include "scope.h"

/* Raises in the threads that the scope's waits for in Thread#join or #value, or has their calls
 * cut.  Whether there are any.  From the waiter. */
bool coopdl_joins_pass_on(const struct scope *scope);

/* Notes joins in Ruby's methods from here on. */
void coopdl_joins_init(void);

#endif
