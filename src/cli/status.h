/* SPDX-License-Identifier: Apache-2.0 */
/* status.h -- coopdl --status: what deadline a process has, and what its threads wait in. */
#ifndef COOPDL_CLI_STATUS_H
#define COOPDL_CLI_STATUS_H

/* Prints a line for the process and one for each thread.  `arguments` are those behind --status:
 * the process's id.  Returns the exit status; exits with one line where there is no such process.
 */
int status(int count, char **arguments);

#endif
