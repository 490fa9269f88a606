/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd.c -- many threads, and one of many frames, that wait for what never comes.
 *
 *     crowd THREADS DEPTH
 *     crowd signals
 *
 * The first thread waits in epoll_wait, which fails with EINTR also where its thread was only
 * stopped and has gone on.  Prints how many us after the time in COOPDL_STACKS it was woken;
 * exits with status 3.
 *
 * With `signals` it sends itself one after the other, until a while after that time.  Exits with
 * status 4 where one did not arrive, else with 3.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *wait_in_thread(void *unused)
{
    while (poll(NULL, 0, -1) < 1)
        ;
    return unused;
}

static volatile int frames;

__attribute__((noinline)) static void wait_at_depth(int depth)
{
    struct epoll_event event;
    if (depth > 1)
        wait_at_depth(depth - 1);
    else
        epoll_wait(epoll_create1(0), &event, 1, -1);
    frames++; /* so that the call above is no jump */
}

static volatile sig_atomic_t arrived;

static void count(int number)
{
    (void)number;
    arrived++;
}

static int signal_self(long long until)
{
    sig_atomic_t sent = 0;
    signal(SIGUSR1, count);
    while (now() < until && sent == arrived) {
        raise(SIGUSR1);
        sent++;
    }
    return sent == arrived ? 3 : 4;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    const char *at = getenv("COOPDL_STACKS");
    int threads = argc == 3 ? atoi(argv[1]) : 0, depth = argc == 3 ? atoi(argv[2]) : 1;
    if (argc == 2 && at && strcmp(argv[1], "signals") == 0)
        return signal_self(atoll(at) + 300000000);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread, NULL, wait_in_thread, NULL) != 0)
            return 5;
    puts("waits");
    fflush(stdout);
    wait_at_depth(depth);
    printf("woken %lld\n", (now() - (at ? atoll(at) : 0)) / 1000);
    fflush(stdout);
    _exit(3);
}
