/* SPDX-License-Identifier: Apache-2.0 */
/* processes.h -- children whose wait was ended, and what a new session drops. */
#ifndef COOPDL_RUBY_PROCESSES_H
#define COOPDL_RUBY_PROCESSES_H

#include <ruby.h>

/* Puts our methods before Ruby's. */
void coopdl_processes_init(VALUE module);

#endif
