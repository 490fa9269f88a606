/* SPDX-License-Identifier: Apache-2.0 */
/* monitor.h -- which monitors a thread has entered and not left. */
#ifndef COOPDL_RUBY_MONITOR_H
#define COOPDL_RUBY_MONITOR_H

#include <ruby.h>

/* Calls that function, and sends the thread nothing meanwhile, as inside a monitor. */
VALUE coopdl_monitor_undisturbed(VALUE (*call)(VALUE), VALUE argument);

/* Has Ruby's methods count them, from here on. */
void coopdl_monitor_init(void);

#endif
