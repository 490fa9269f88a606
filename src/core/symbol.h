/* SPDX-License-Identifier: Apache-2.0 */
/* symbol.h -- symbols by name, before main, without the dynamic loader's lock and without malloc.
 * Only for constructors. */
#ifndef COOPDL_CORE_SYMBOL_H
#define COOPDL_CORE_SYMBOL_H

#include <stdbool.h>

/* The next function of that name after this library, as dlsym(RTLD_NEXT) finds it; null if there is
 * none. */
void *coopdl_next(const char *name);

/* libc's own function, whatever library defines the same name before libc; null if it cannot be
 * found. */
void *coopdl_in_libc(const char *name);

/* Whether the first function of that name, which the program sees, is this library's. */
bool coopdl_is_first(const char *name);

#endif
