/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preload.h -- the rules for every wrapper.
 *
 * 1.  Before expiry it makes the real call with its arguments, and its own timeout lowered to
 *    what is left until the deadline.  The result is the real call's, errno included.
 * 2.  After expiry a call that would not wait is performed.  One that would wait is cut: it has
 *    done nothing, or its result says how much it did.
 * 3.  Errors that the kernel finds without waiting are left to the kernel: a wrapper does not
 *    read through a pointer that libc would have handed to the kernel unread, until the kernel
 *    has said that it can be read.
 * 4.  It is async-signal-safe and open to cancellation: no lock, no allocation, no state that an
 *    unwinding would leave behind.
 * 5.  It changes errno only where the call fails.
 */
#ifndef COOPDL_PRELOAD_PRELOAD_H
#define COOPDL_PRELOAD_PRELOAD_H

#include "core/claim.h"
#include "preload/real.h"

/* Two symbols for the same source: see COOPDL_TRAPPED and COOPDL_WIDE in real.h. */
#if defined(COOPDL_TRAPPED) && defined(COOPDL_WIDE)
#define SYMBOL(name) __asm__("coopdl_trapped_wide_" #name)
#elif defined(COOPDL_TRAPPED)
#define SYMBOL(name) __asm__("coopdl_trapped_" #name)
#else
#define SYMBOL(name) OF_THIS_SIZE(name)
#endif

/* The implementation of a call in a thread that has a deadline, and so a record: coopdl_self. */
#define CALL(type, name, parameters, ...) type coopdl_timed_##name parameters SYMBOL(name);
#define MASK(type, name, parameters, ...) type coopdl_mask_##name parameters;
#define CHILD(type, name, parameters, ...) type coopdl_child_##name parameters;
#define JOIN(type, name, parameters, ...) type coopdl_join_##name parameters;
#include "preload/calls.def"

/* The name of a system call that is one of the table's; null for any other. */
const char *coopdl_number_name(long number);

/* The implementation after expiry, in the kernel's terms but for errno: a call that would wait is
 * cut.  It is no cancellation point. */
#ifdef COOPDL_WIDE
#define coopdl_cut_syscall coopdl_wide_cut_syscall
#endif
long coopdl_cut_syscall(long number, long a, long b, long c, long d, long e, long f);

#endif
