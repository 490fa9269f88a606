/* SPDX-License-Identifier: Apache-2.0 */
/* process.c -- which process this is. */
#include "core/process.h"

#include "core/sys.h"

int32_t coopdl_pid;
int64_t coopdl_born;

void coopdl_process_begins(void)
{
    coopdl_pid = (int32_t)coopdl_sys(SYS_getpid);
}
