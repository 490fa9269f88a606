/* SPDX-License-Identifier: Apache-2.0 */
/* caller.h -- who has called a wrapper. */
#ifndef COOPDL_PRELOAD_CALLER_H
#define COOPDL_PRELOAD_CALLER_H

#include <stdbool.h>

/* Whether that return address lies in CPython itself: its program, its library or its module
 * `select`, where it is a file of its own.  False where that cannot be told.  Async-signal-safe. */
bool coopdl_is_python(const void *address);

#endif
