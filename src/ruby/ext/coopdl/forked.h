/* SPDX-License-Identifier: Apache-2.0 */
/* forked.h -- the deadlines that a forked child has inherited. */
#ifndef COOPDL_RUBY_FORKED_H
#define COOPDL_RUBY_FORKED_H

#include <ruby.h>

void coopdl_forked_init(VALUE module);

#endif
