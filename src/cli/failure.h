/* SPDX-License-Identifier: Apache-2.0 */
/* failure.h -- how the command says something, and that it cannot do what was asked. */
#ifndef COOPDL_CLI_FAILURE_H
#define COOPDL_CLI_FAILURE_H

/* The exit statuses of timeout(1). */
enum { STATUS_LATE = 124, STATUS_FAILED = 125, STATUS_NOT_RUN = 126, STATUS_NOT_FOUND = 127 };

/* Prints the name that this command was started by, the message and a newline on stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, and exits with STATUS_FAILED. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
