/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libc_poll.c -- poll on a silent pipe, taken from a handle on libc, past every
 * preloaded library, as foreign function interfaces do.
 *
 *     libc_poll [INTERRUPTIONS]
 */
#include "late.h"

#include <dlfcn.h>
#include <poll.h>

int main(int argc, char **argv)
{
    struct pollfd input = {.fd = silent_pipe(), .events = POLLIN};
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    int (*libc_poll)(struct pollfd *, nfds_t, int);

    if (!libc || argc > 2)
        errx(125, "usage: libc_poll [INTERRUPTIONS]");
    *(void **)&libc_poll = dlsym(libc, "poll");
    do {
        if (libc_poll(&input, 1, -1) >= 0)
            errx(1, "an event on a silent pipe");
    } while (restarts("poll", argv[1]));
    say_how_late();
}
