/* SPDX-License-Identifier: Apache-2.0 */
/* hangup.h -- hangs up the connections of a process that the library is not in. */
#ifndef COOPDL_CLI_HANGUP_H
#define COOPDL_CLI_HANGUP_H

#include <sys/syscall.h>
#include <sys/types.h>

/* What it takes is newer than the headers of some; the number is the same on every architecture. */
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* How many were; where it is not allowed one line says so, once.  `name` is COMMAND. */
int hang_up_connections(pid_t pid, const char *name);

#endif
