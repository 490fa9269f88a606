/* SPDX-License-Identifier: Apache-2.0 */
/* imports.h -- what a program's file says of it: the functions that it imports, and Go. */
#ifndef COOPDL_CLI_IMPORTS_H
#define COOPDL_CLI_IMPORTS_H

#include <stdbool.h>

/* Calls `found` for the name of each symbol that the file has from elsewhere.  What cannot be read
 * has none. */
void each_import(const char *path, void (*found)(const char *name, void *argument), void *argument);

/* Whether Go's linker has made it: its runtime makes its own system calls, with a libc or without.
 */
bool is_go(const char *path);

#endif
