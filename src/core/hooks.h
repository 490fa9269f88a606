/* SPDX-License-Identifier: Apache-2.0 */
/* hooks.h -- the functions of a runtime that the library calls. */
#ifndef COOPDL_CORE_HOOKS_H
#define COOPDL_CORE_HOOKS_H

#include "core/thread.h"

#include <stdbool.h>

/* The hooks that coopdl_set_hooks was given; null: none. */
extern const struct coopdl_hooks *_Atomic coopdl_hooks;

/* Whether a runtime wants to be asked before anything is cut. */
bool coopdl_hooked(void);

/* The runtime's hook inside the kicked thread. */
void coopdl_hook_kicked(void);

/* Asks the runtime about a thread, in the scheduler's thread, which holds the thread's kick. */
enum coopdl_verdict coopdl_hook_expired(const struct coopdl_hooks *hooks,
                                        struct coopdl_thread *thread, coopdl_scope *scope);

/* Whether the calling thread runs the hook for that thread, and so holds its kick. */
bool coopdl_is_asking_about(const struct coopdl_thread *thread);

#endif
