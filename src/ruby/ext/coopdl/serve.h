/* SPDX-License-Identifier: Apache-2.0 */
/* serve.h -- what the waiter does about one expired scope. */
#ifndef COOPDL_RUBY_SERVE_H
#define COOPDL_RUBY_SERVE_H

#include "scope.h"

/* The scope, which may have ended meanwhile, gets what it is due.  With the GVL, from the waiter.
 */
void coopdl_serve(struct scope *scope);

void coopdl_serve_init(VALUE module);

#endif
