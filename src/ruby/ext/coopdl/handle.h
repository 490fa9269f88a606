/* SPDX-License-Identifier: Apache-2.0 */
/* handle.h -- Coopdl::Scope: what Ruby code has of a scope. */
#ifndef COOPDL_RUBY_HANDLE_H
#define COOPDL_RUBY_HANDLE_H

#include "scope.h"

/* That of the scope; made at the first call. */
VALUE coopdl_handle(struct scope *scope);

/* The scope is being left: its handle no longer leads to it. */
void coopdl_handle_end(struct scope *scope, bool expired);

void coopdl_handle_init(VALUE module);

#endif
