/* SPDX-License-Identifier: Apache-2.0 */
/* target.h -- what a call waits for, in words.  Async-signal-safe. */
#ifndef COOPDL_CORE_TARGET_H
#define COOPDL_CORE_TARGET_H

#include "core/thread.h"

/* Describes the target of the call at this place: fills in `target`, `descriptor` and `silent` of
 * the cut. */
void coopdl_target(const struct coopdl_place *place, struct coopdl_cut *cut);

#endif
