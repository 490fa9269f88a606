/* SPDX-License-Identifier: Apache-2.0 */
/* caller.h -- which code has called a wrapper. */
#ifndef COOPDL_PRELOAD_CALLER_H
#define COOPDL_PRELOAD_CALLER_H

#include <stdbool.h>

/* Whether this return address lies in CPython itself: its program, its library or its module
 * `select`, where that is a file of its own.  False where it cannot be found out.
 * Async-signal-safe. */
bool coopdl_is_python(const void *address);

#endif
