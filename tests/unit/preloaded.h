/* SPDX-License-Identifier: Apache-2.0 */
/* preloaded.h -- a program that is started anew with the library preloaded, and what came of it. */
#ifndef COOPDL_TESTS_PRELOADED_H
#define COOPDL_TESTS_PRELOADED_H

#include "support.h"

#include <fcntl.h>
#include <stdio.h>

struct outcome {
    int status;
    int64_t begun, took;
    char output[8192]; /* stdout and stderr */
};

/* Runs a shell command under sh -c, with `settings` ("NAME=value NAME=value") for it alone. */
static inline struct outcome run(const char *settings, const char *command)
{
    struct outcome outcome = {0};
    char line[4096];
    int ends[2];
    cr_assert(pipe2(ends, O_CLOEXEC) == 0);
    snprintf(line, sizeof(line), "exec env %s LD_PRELOAD='%s' %s", settings,
             getenv("COOPDL_LIBRARY"), command);
    outcome.begun = coopdl_now();
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(126);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], outcome.output + length, sizeof(outcome.output) - 1 - length)) > 0)
        length += got;
    outcome.status = status_of(child);
    outcome.took = coopdl_now() - outcome.begun;
    close(ends[0]);
    return outcome;
}

static inline int lines(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

#endif
