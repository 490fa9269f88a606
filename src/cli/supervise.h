/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.h -- starts the program, waits for it, and signals it if it must. */
#ifndef COOPDL_CLI_SUPERVISE_H
#define COOPDL_CLI_SUPERVISE_H

#include "plan.h"

/* Returns the status to exit with, or ends this process by the signal that ended the program. */
int supervise(char **command, const struct plan *plan);

#endif
