/* SPDX-License-Identifier: Apache-2.0 */
/* covered.h -- which of the calls that a program imports are covered. */
#ifndef COOPDL_CLI_COVERED_H
#define COOPDL_CLI_COVERED_H

#include <stddef.h>

struct calls; /* that some files import */

struct calls *calls_begin(void);
void calls_add(struct calls *calls, const char *path);

/* How many of them are wrapped; their names, as many as there is room for, separated by ", ". */
size_t calls_wrapped(struct calls *calls, char *names, size_t size);

/* Calls `found` for each reason to leave calls alone that some of them have, with their names. */
void calls_left(struct calls *calls, void (*found)(const char *reason, const char *names));

void calls_end(struct calls *calls);

#endif
