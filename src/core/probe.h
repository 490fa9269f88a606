/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h -- static probes (USDT), for bpftrace, perf, SystemTap and gdb.
 *
 * Each is one nop, and a note in the file that says where it is and where its arguments are; who
 * watches replaces the nop.  The provider is `coopdl`.  Times are in ns: a deadline in that of
 * CLOCK_MONOTONIC, INT64_MAX for none.
 *
 *   scope_entered(scope, deadline, flags)  a scope is entered; flags: 0 if it is no shield
 *   scope_left(scope, deadline)  it is left; not an inner one that goes with it
 *   expired(thread, deadline)    that thread (tid) has expired: by the scheduler, by the budget's
 *       timer, or by itself
 *   kicked(thread, cause)        it is about to be sent the kick; coopdl_kick_cause
 *   cut(call, deadline, cuts)    a call of this thread is cut: its name, and how many in the same
 *       scope were before
 *   hung_up(descriptor)          a connection of this process has been hung up
 *
 * What must hold: an argument is at hand where the probe is: it is computed for nobody else.
 */
#ifndef COOPDL_CORE_PROBE_H
#define COOPDL_CORE_PROBE_H

#ifdef HAVE_SDT
#include <sys/sdt.h>
#define PROBE1(name, a) STAP_PROBE1(coopdl, name, a)
#define PROBE2(name, a, b) STAP_PROBE2(coopdl, name, a, b)
#define PROBE3(name, a, b, c) STAP_PROBE3(coopdl, name, a, b, c)
#else
#define PROBE1(name, a) ((void)0)
#define PROBE2(name, a, b) ((void)0)
#define PROBE3(name, a, b, c) ((void)0)
#endif

#endif
