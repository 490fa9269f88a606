/* SPDX-License-Identifier: Apache-2.0 */
/* interrupted.h -- which call of libc's a handler has interrupted. */
#ifndef COOPDL_PRELOAD_INTERRUPTED_H
#define COOPDL_PRELOAD_INTERRUPTED_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GLIBC__)
#include <ucontext.h>

/* Only for a constructor after coopdl_resolve: looks at the code of libc's read. */
void coopdl_look_at_read(void);

/* The stack from the frame of libc's read on, if that was interrupted just behind its system call,
 * and NULL otherwise.  Async-signal-safe. */
const uintptr_t *coopdl_in_read(const greg_t *r);
#endif
#endif
