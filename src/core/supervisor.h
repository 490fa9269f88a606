/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor.h -- whether the command coopdl that has started this process is still there. */
#ifndef COOPDL_CORE_SUPERVISOR_H
#define COOPDL_CORE_SUPERVISOR_H

#include <stdbool.h>

/* False where there was none.  Async-signal-safe. */
bool coopdl_supervised(void);

/* Whether coopdl signals this process at the end of the grace, if it lives then. */
bool coopdl_supervisor_signals(void);

#endif
