/* SPDX-License-Identifier: Apache-2.0 */
/* report.h -- coopdl --report: where the time went. */
#ifndef COOPDL_CLI_REPORT_H
#define COOPDL_CLI_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What became of COMMAND. */
struct outcome {
    char **command;
    int64_t length;  /* of the deadline, in ns; COOPDL_NEVER: not known */
    int64_t elapsed; /* from its start to its end */
    int status;      /* as wait gives it */
    bool late;
    bool killed; /* what has not ended yet is about to, with us */
};

/* Makes ready for a report: `where` is "stderr" or "1", "json", or the path of a file.  Exits with
 * one line where that cannot be written. */
void report_open(const char *where);

/* Tells the library in COMMAND, where this is called, to measure, if a report is wanted. */
void report_introduce(pid_t own);

/* A process has ended, and was waited for. */
void report_ended(pid_t pid);

/* All have: writes the report, if one is wanted. */
void report_write(const struct outcome *outcome);

#endif
