/* SPDX-License-Identifier: Apache-2.0 */
/* lend.h -- a deadline that has passed, for a thread that an expired one joins. */
#ifndef COOPDL_RUBY_LEND_H
#define COOPDL_RUBY_LEND_H

#include <ruby.h>

/* The thread's calls are cut from now on, and then no longer for that reason.  With the GVL. */
void coopdl_lend_now(VALUE thread);
void coopdl_lend_back(VALUE thread);

void coopdl_lend_init(void);

#endif
