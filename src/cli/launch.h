/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h -- starts the program: whose signals are whose before and after the fork. */
#ifndef COOPDL_CLI_LAUNCH_H
#define COOPDL_CLI_LAUNCH_H

#include "watch.h"

/* Sets our signals up, starts the program as a child, and notes both in `watch`; exits with one
 * line where that cannot be done. */
void launch(char **command, struct watch *watch);

#endif
