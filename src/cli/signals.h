/* SPDX-License-Identifier: Apache-2.0 */
/* signals.h -- signals by name. */
#ifndef COOPDL_CLI_SIGNALS_H
#define COOPDL_CLI_SIGNALS_H

/* The number of a signal given as TERM, SIGTERM, 15, RTMIN+n or RTMAX-n, in any case; 0 for
 * none (0, EXIT), -1 if there is none such. */
int signal_number(const char *text);

/* Its name without SIG, in memory that the next call overwrites. */
const char *signal_name(int number);

#endif
