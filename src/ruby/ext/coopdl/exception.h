/* SPDX-License-Identifier: Apache-2.0 */
/* exception.h -- the exceptions of a scope: made, sent, raised, collected. */
#ifndef COOPDL_RUBY_EXCEPTION_H
#define COOPDL_RUBY_EXCEPTION_H

#include "scope.h"

/* The class that is raised inside where none was given. */
VALUE coopdl_exception_internal(void);

/* A new exception for the scope: of its class, or the internal one. */
VALUE coopdl_exception_new(const struct scope *scope, VALUE klass);

/* What ends the process instead: at its budget's end, or at that of a scope that it has inherited.
 */
VALUE coopdl_exception_exit(struct scope *scope);

/* Raises it here and now. */
NORETURN(void coopdl_exception_raise(struct scope *scope));

/* The serial number of the scope that the exception was made for; 0 if for none. */
uint64_t coopdl_exception_owner(VALUE exception);

/* Sends the scope's thread a new one, from the waiter. */
void coopdl_exception_send(struct scope *scope);

/* Waits until what is being sent to the calling thread is in its queue, and raises it. */
void coopdl_exception_settle(void);

/* Nothing is being sent: the waiter has ended, or this is a forked child. */
void coopdl_exception_reset(void);

/* Whether there is one for the scope in this thread's queue, or soon will be. */
bool coopdl_exception_on_its_way(const struct scope *scope);

/* Raises what is in this thread's queue, even if the program has masked it. */
void coopdl_exception_take(const struct scope *scope);

/* Takes what was sent for a scope that has been left out of this thread's queue. */
void coopdl_exception_collect(struct scope *scope);

void coopdl_exception_init(VALUE module);

#endif
