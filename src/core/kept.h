/* SPDX-License-Identifier: Apache-2.0 */
/* kept.h -- the program's own signals that have the kick's number, while it believes that it blocks
 * them. */
#ifndef COOPDL_CORE_KEPT_H
#define COOPDL_CORE_KEPT_H

#include <signal.h>
#include <stdbool.h>

/* Whether the calling thread believes that it blocks the kick's signal. */
extern __thread bool coopdl_kick_believed __attribute__((tls_model("initial-exec")));

/* In the kick's handler: keeps this signal, which is pending from now on. */
void coopdl_keep(const siginfo_t *info);

/* Whether one is pending for the calling thread. */
bool coopdl_kept(void);

/* Takes the signal that came first; false if there is none. */
bool coopdl_take_kept(siginfo_t *info);

/* The thread no longer blocks it: all that is pending is handled before this returns. */
void coopdl_deliver_kept(void);

/* Whether this signal was sent by coopdl_deliver_kept, or to a thread that waits for one. */
bool coopdl_is_delivery(const siginfo_t *info);

/* Around a wait for the kick's signal: signals that other threads keep meanwhile are sent to this
 * thread. */
void coopdl_kept_awaited(bool awaited);

/* In a forked child: pending signals are not inherited. */
void coopdl_kept_forked(void);

#endif
