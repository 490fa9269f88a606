/* SPDX-License-Identifier: Apache-2.0 */
/* lateness.h -- how late a program is that is run again and again. */
#ifndef LATENESS_H
#define LATENESS_H

#include "../programs/run.h"

/*
 * Runs the command (run.h) so many times, one after the other, with that budget.
 * Each run must end by itself, with status 0 and with its lateness in ns on
 * stdout, never early, at most `worst` late, and leave no process behind.
 * Asserts that the median is at most `median`, and prints both.
 * Returns the best.  A command that
 * exits with 75 is run again, one that
 * exits with 77 skips the calling test, with what it has printed for a reason.
 */
int64_t lateness_expect(const char *const *command, const char *budget, int runs, int64_t median,
                        int64_t worst);

#endif
