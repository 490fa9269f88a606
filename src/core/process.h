/* SPDX-License-Identifier: Apache-2.0 */
/* process.h -- which process this is. */
#ifndef COOPDL_CORE_PROCESS_H
#define COOPDL_CORE_PROCESS_H

#include <stdint.h>

/* The process that this memory belongs to; getpid() differs from it in a vfork child. */
extern int32_t coopdl_pid;

/* When it began, as far as this library knows: when it was loaded with a budget, or forked; else 0.
 */
extern int64_t coopdl_born;

/* Notes the process: once when the library is loaded, and in every forked child. */
void coopdl_process_begins(void);

#endif
