/* SPDX-License-Identifier: Apache-2.0 */
/* children.h -- what test_children.c and test_system.c share: a family of processes, and its end.
 */
#ifndef COOPDL_TESTS_CHILDREN_H
#define COOPDL_TESTS_CHILDREN_H

#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>

#define FAR (20 * COOPDL_SECOND)

/* A shell command that no inherited deadline ends. */
#define STUCK "exec env -u LD_PRELOAD sleep 60"

/* Whether the programs of this machine can have the library: not where it is one for another libc
 * or word size.  Something else is preloaded there, by a name without a path. */
static inline bool reached(void)
{
    const char *library = getenv("COOPDL_LIBRARY");
    return library && strchr(library, '/');
}

#define SKIP_IF_NOT_REACHED()                                                                      \
    do {                                                                                           \
        if (!reached())                                                                            \
            cr_skip_test("the programs of this machine cannot have the library");                  \
    } while (0)

static char output[1 << 20];

/* Reads into `output` what comes out of fd until nobody is left who could write to it. */
static inline void gather(int fd)
{
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, output + length, sizeof(output) - 1 - length)) > 0)
        length += got;
    expect(got == 0, "%s", strerror(errno));
    output[length] = '\0';
    close(fd);
}

static inline void preload_in_children(void)
{
    const char *library = getenv("COOPDL_LIBRARY");
    if (!library)
        abort();
    setenv("LD_PRELOAD", library, 1);
}

/* A pipe that children inherit; its other end is read until the last of them is gone. */
static int family[2];

static inline void begin_family(void)
{
    expect(pipe(family) == 0);
    fcntl(family[0], F_SETFD, FD_CLOEXEC);
    preload_in_children();
}

/* A command that runs `command` with what it prints going to the family's pipe. */
static inline char *in_family(const char *command)
{
    static char line[1000];
    snprintf(line, sizeof(line), "exec > /proc/self/fd/%d 2>&1; %s", family[1], command);
    return line;
}

/* Nobody is left, at the latest at that time: the pipe is at its end.  What came is in `output`. */
static inline void expect_gone(int64_t latest, const char *what)
{
    coopdl_scope shield;
    coopdl_shield(&shield);
    close(family[1]);
    gather(family[0]);
    expect(coopdl_now() < latest, "%s: someone was left", what);
    expect(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "%s: a zombie is left", what);
    coopdl_leave(&shield);
}

#endif
