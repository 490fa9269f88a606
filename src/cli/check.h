/* SPDX-License-Identifier: Apache-2.0 */
/* check.h -- coopdl --check: whether a deadline will be kept here, and by a program. */
#ifndef COOPDL_CLI_CHECK_H
#define COOPDL_CLI_CHECK_H

/* Prints a line for each thing that a deadline needs.  `arguments` are those behind --check, the
 * program or none.  Returns the exit status: 0 if a deadline will be kept cooperatively, else 1. */
int check(int count, char **arguments);

#endif
