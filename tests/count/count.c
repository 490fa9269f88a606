/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count.c -- one call many times, for scripts/count.sh and scripts/bench.sh to count its cost:
 *
 *     count read|recv|poll|syscall|clock|enter ROUNDS [scope|thread]
 *
 * `scope` wraps the rounds in a far scope, for which the program must run with
 * the library preloaded: it is not linked against it, so that the same program
 * runs without.  `thread` starts a thread that sleeps, as the scope does: libc
 * itself does more for a read in a process that has two.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "coopdl.h"

static void *find(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) {
        fprintf(stderr, "count: no %s: the library is not preloaded\n", name);
        exit(1);
    }
    return found;
}

static int enter_and_leave(long rounds)
{
    int (*enter)(coopdl_scope *, int64_t), (*leave)(coopdl_scope *);
    int64_t (*after)(int64_t);
    *(void **)&enter = find("coopdl_enter");
    *(void **)&leave = find("coopdl_leave");
    *(void **)&after = find("coopdl_after");
    coopdl_scope scope;
    for (long i = 0; i < rounds; i++) {
        enter(&scope, after(3600 * COOPDL_SECOND));
        leave(&scope);
    }
    return 0;
}

static int read_often(long rounds)
{
    char byte;
    int fd = open("/dev/zero", O_RDONLY);
    for (long i = 0; i < rounds; i++)
        if (read(fd, &byte, 1) != 1)
            return 1;
    return 0;
}

static int poll_often(long rounds)
{
    struct pollfd pollfd = {.fd = open("/dev/zero", O_RDONLY), .events = POLLIN};
    for (long i = 0; i < rounds; i++)
        if (poll(&pollfd, 1, 1000) != 1)
            return 1;
    return 0;
}

/* Each takes one byte of what is there. */
static int recv_often(long rounds)
{
    char byte, bytes[4096] = {0};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        return 1;
    for (long i = 0; i < rounds; i++) {
        if (i % (long)sizeof(bytes) == 0 && write(pair[1], bytes, sizeof(bytes)) < 0)
            return 1;
        if (recv(pair[0], &byte, 1, 0) != 1)
            return 1;
    }
    return 0;
}

static int syscall_often(long rounds)
{
    char byte;
    int fd = open("/dev/zero", O_RDONLY);
    for (long i = 0; i < rounds; i++)
        if (syscall(SYS_read, fd, &byte, 1) != 1)
            return 1;
    return 0;
}

static int clock_often(long rounds)
{
    struct timespec now;
    for (long i = 0; i < rounds; i++)
        if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
            return 1;
    return 0;
}

static void *idle(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

static int run(const char *what, long rounds)
{
    return strcmp(what, "read") == 0      ? read_often(rounds)
           : strcmp(what, "recv") == 0    ? recv_often(rounds)
           : strcmp(what, "poll") == 0    ? poll_often(rounds)
           : strcmp(what, "syscall") == 0 ? syscall_often(rounds)
           : strcmp(what, "clock") == 0   ? clock_often(rounds)
                                          : enter_and_leave(rounds);
}

int main(int count, char **arguments)
{
    coopdl_scope scope;
    if (count < 3) {
        fprintf(stderr, "usage: count read|recv|poll|syscall|clock|enter ROUNDS [scope|thread]\n");
        return 125;
    }
    if (count > 3 && strcmp(arguments[3], "thread") == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, idle, NULL) != 0)
            return 1;
    } else if (count > 3) {
        int (*enter)(coopdl_scope *, int64_t);
        *(void **)&enter = find("coopdl_enter");
        if (enter(&scope, INT64_MAX / 2) != 0)
            return 1;
    }
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    int result = run(arguments[1], atol(arguments[2]));
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%.2f\n",
           ((double)(ended.tv_sec - begun.tv_sec) * 1e9 + (double)(ended.tv_nsec - begun.tv_nsec)) /
               (double)atol(arguments[2]));
    return result;
}
