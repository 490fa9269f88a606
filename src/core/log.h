/* SPDX-License-Identifier: Apache-2.0 */
/* log.h -- COOPDL_LOG: a line for each first cut of a scope, and for what is worth knowing.
 * Async-signal-safe. */
#ifndef COOPDL_CORE_LOG_H
#define COOPDL_CORE_LOG_H

#include <stddef.h>
#include <stdint.h>

struct coopdl_cut;

/* The first call that a deadline has ended: "cut", or kicked for a runtime's exception, "kick". */
void coopdl_log_cut(const char *event, const struct coopdl_cut *cut);

/* A connection was shut down. */
void coopdl_log_hung_up(int fd);

/* The process is sent this signal, and why. */
void coopdl_log_step(const char *why, int signal);

/* Why expired threads are not trapped. */
void coopdl_log_untrapped(const char *why);

/* Appends to a file, by one write. */
void coopdl_log_to(const char *path, const char *text, size_t size);

#endif
