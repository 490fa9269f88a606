/* SPDX-License-Identifier: Apache-2.0 */
/* log.h -- COOPDL_LOG: a line for each first cut of a scope, and for what is worth knowing.
 * Async-signal-safe. */
#ifndef COOPDL_CORE_LOG_H
#define COOPDL_CORE_LOG_H

#include <stdint.h>

/* The first cut of a scope, or of the budget (`budget`), `late` ns after its deadline. */
void coopdl_log_cut(const char *call, int budget, int64_t late);

/* A step of the budget's ladder: the name of the signal that is sent. */
void coopdl_log_step(const char *signal);

/* Why expired threads are not trapped. */
void coopdl_log_untrapped(const char *why);

#endif
