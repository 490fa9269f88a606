/* SPDX-License-Identifier: Apache-2.0 */
/* stacks.h -- where Ruby's own stacks are written at the deadline. */
#ifndef COOPDL_RUBY_STACKS_H
#define COOPDL_RUBY_STACKS_H

#include <ruby.h>

void coopdl_stacks_init(VALUE module);

#endif
