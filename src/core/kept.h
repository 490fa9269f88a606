/* SPDX-License-Identifier: Apache-2.0 */
/* kept.h -- the program's own signals that have the kick's number, while it believes that it blocks
 * them. */
#ifndef COOPDL_CORE_KEPT_H
#define COOPDL_CORE_KEPT_H

#include <signal.h>
#include <stdbool.h>

/* Whether the calling thread believes that it blocks the kick's signal. */
extern __thread bool coopdl_kick_believed __attribute__((tls_model("initial-exec")));

/* In the kick's handler: what has come is pending from now on. */
void coopdl_keep(const siginfo_t *info);

/* Whether one is pending for the calling thread. */
bool coopdl_kept(void);

/* The one that came first, no longer pending; false if there is none. */
bool coopdl_take_kept(siginfo_t *info);

/* The thread no longer blocks it: all that is pending is handled before this returns. */
void coopdl_deliver_kept(void);

/* Whether this signal was sent by coopdl_deliver_kept, or to a thread that waits for one. */
bool coopdl_is_delivery(const siginfo_t *info);

/* Around a wait for the kick's signal: what other threads keep meanwhile is sent to this one. */
void coopdl_kept_awaited(bool awaited);

/* In a forked child: pending signals are not inherited. */
void coopdl_kept_forked(void);

#endif
