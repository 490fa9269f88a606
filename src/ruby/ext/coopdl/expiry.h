/* SPDX-License-Identifier: Apache-2.0 */
/* expiry.h -- how a deadline that has passed becomes an exception in its thread. */
#ifndef COOPDL_RUBY_EXPIRY_H
#define COOPDL_RUBY_EXPIRY_H

#include "scope.h"

/* Sees to it that expiries are waited for: at the first scope, and again in a forked child. */
void coopdl_expiry_start(void);

/* A new exception for the scope: of its class, or the internal one. */
VALUE coopdl_expiry_exception(struct scope *scope, VALUE klass);

/* Notes that the scope's exception has been raised here and now. */
void coopdl_expiry_deliver(struct scope *scope, VALUE exception);

/* Whether there is one for the scope in this thread's queue, or soon will be. */
bool coopdl_expiry_on_its_way(const struct scope *scope);

/* Raises what is in this thread's queue, even if the program has masked it. */
void coopdl_expiry_take(const struct scope *scope);

/* Takes what was sent for a scope that has been left out of this thread's queue. */
void coopdl_expiry_collect(struct scope *scope);

/* The serial number of the scope that the exception was made for; 0 if for none. */
uint64_t coopdl_expiry_owner(VALUE exception);

void coopdl_expiry_init(VALUE module);

#endif
