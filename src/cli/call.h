/* SPDX-License-Identifier: Apache-2.0 */
/* call.h -- the system call that a thread of a looked-at process is in, and what it is on. */
#ifndef COOPDL_CLI_CALL_H
#define COOPDL_CLI_CALL_H

#include "../core/line.h"
#include "subject.h"

/* `text` is what the kernel has in the thread's file `syscall`. */
void add_call(struct coopdl_line *line, const struct subject *of, char *text);

#endif
