/* SPDX-License-Identifier: Apache-2.0 */
/* move.h -- another deadline for a scope of another thread. */
#ifndef COOPDL_CORE_MOVE_H
#define COOPDL_CORE_MOVE_H

#include "core/thread.h"

/* Gives a scope of another thread this deadline, as coopdl_word makes it: 0 or an errno.  That
 * thread changes none of its scopes meanwhile. */
int coopdl_move_there(const coopdl_scope *scope, int64_t deadline);

#endif
