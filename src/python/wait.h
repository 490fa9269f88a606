/* SPDX-License-Identifier: Apache-2.0 */
/* wait.h -- a wait of one thread for another ends at the deadline. */
#ifndef COOPDL_PYTHON_WAIT_H
#define COOPDL_PYTHON_WAIT_H

#include "module.h"

/* Puts the functions of this file behind the methods that wait.  What cannot be replaced waits as
 * it did, and the log says so. */
void coopdl_py_replace_waits(struct module_state *state);

#endif
