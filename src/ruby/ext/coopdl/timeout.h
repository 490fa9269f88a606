/* SPDX-License-Identifier: Apache-2.0 */
/* timeout.h -- Coopdl.timeout. */
#ifndef COOPDL_RUBY_TIMEOUT_H
#define COOPDL_RUBY_TIMEOUT_H

#include <ruby.h>

void coopdl_timeout_init(VALUE module);

#endif
