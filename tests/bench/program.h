/* SPDX-License-Identifier: Apache-2.0 */
/* program.h -- what the C programs of the benchmark share: the library's functions, found at run
 * time, so that the same program runs without the library too; and the clock. */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include "coopdl.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int (*enter)(coopdl_scope *, int64_t);
static int (*leave)(coopdl_scope *);
static int64_t (*after)(int64_t);

static void *find(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) {
        fprintf(stderr, "bench: no %s: the library is not preloaded\n", name);
        exit(1);
    }
    return found;
}

static inline void find_library(void)
{
    *(void **)&enter = find("coopdl_enter");
    *(void **)&leave = find("coopdl_leave");
    *(void **)&after = find("coopdl_after");
}

static inline int64_t read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * COOPDL_SECOND + time.tv_nsec;
}

static inline int64_t now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* Of this process: what the others on the machine take does not count. */
static inline int64_t processor_time(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

#endif
