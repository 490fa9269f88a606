/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late_thread.c -- a thread that is started after the deadline and waits in an
 * fgets that no wrapper sees, as a resolver's or an allocator's may be.
 *
 *     late_thread [INTERRUPTIONS]
 */
#include "late.h"

#include <pthread.h>

static void *read_on(void *times)
{
    char line[8];
    FILE *stream = fdopen(silent_pipe(), "r");

    if (!stream)
        err(1, "cannot read the pipe");
    do {
        clearerr(stream);
        if (fgets(line, sizeof(line), stream))
            errx(1, "a line from a silent pipe");
    } while (restarts("fgets", times));
    return NULL;
}

int main(int argc, char **argv)
{
    const char *deadline = getenv("COOPDL_DEADLINE");
    struct timespec now;
    pthread_t thread;

    if (!deadline || argc > 2)
        errx(125, "usage: late_thread [INTERRUPTIONS], with a deadline");
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec * 1000000000LL + now.tv_nsec < strtoll(deadline, NULL, 10) + 1000000);
    if (pthread_create(&thread, NULL, read_on, argv[1]) || pthread_join(thread, NULL))
        errx(1, "cannot run a thread");
    say_how_late();
}
