/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap.h -- the trap: after expiry, and only then, every system call of the thread is seen,
 * whatever code makes it.
 *
 * There is one file for each architecture.  Without a trap a lost kick is repeated, as it is
 * everywhere (core/tick.c).
 */
#ifndef COOPDL_TRAP_TRAP_H
#define COOPDL_TRAP_TRAP_H

#include <signal.h>

/* Where the program's own action for SIGSYS is kept while the kernel has ours; null for any other
 * signal, and until then. */
struct sigaction *coopdl_trap_chained(int number);

#endif
