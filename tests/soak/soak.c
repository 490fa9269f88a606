/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak.c -- threads that enter random nested scopes, from 0 to 3 ms, around
 * pipes, sockets and sleeps: soak [SECONDS [THREADS]].
 *
 * Checked in each round:
 * - never early: a call fails only after the deadline that ruled it;
 * - never stray: once the outermost scope is left, no call is interrupted;
 * - never late: a call returns at most 50 ms after its deadline;
 * - never wrong: what is written is read, once, in order, expired or not.
 *
 * It prints the counts, and a line of TAP for each of the four.
 *
 * Sanitizers.  Under AddressSanitizer it runs as it is.  ThreadSanitizer's
 * interceptors sit between the program and the wrappers; they let through both
 * the calls and the kick, whose handler is installed with a system call of our
 * own, so that it is not held back until the next interceptor.  What they do
 * not allow: TSan cannot see that handler's accesses happen before those of the
 * thread that it interrupts; these are atomics only.  Both make everything
 * slower: there the bound for "late" is 500 ms.
 */
#include "coopdl.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LATEST (500 * COOPDL_MILLISECOND)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LATEST (500 * COOPDL_MILLISECOND)
#endif
#endif
#ifndef LATEST
#define LATEST (50 * COOPDL_MILLISECOND)
#endif

enum { DEEPEST = 4, LATENESSES = 6 };

struct counts {
    uint64_t rounds, calls, cuts, in_time, expired, shields, moves;
    uint64_t early, stray, late, wrong;
    uint64_t lateness[LATENESSES]; /* cut calls by how late: see bounds */
    int64_t worst;
};

static const int64_t bounds[LATENESSES] = {100 * COOPDL_MICROSECOND, COOPDL_MILLISECOND,
                                           5 * COOPDL_MILLISECOND,   10 * COOPDL_MILLISECOND,
                                           50 * COOPDL_MILLISECOND,  COOPDL_NEVER};

struct worker {
    pthread_t thread;
    uint64_t random;
    int silent[2], busy[2], socket[2], epoll; /* nobody writes to silent and socket */
    unsigned char next_in, next_out;
    struct counts counts;
};

static atomic_bool stop;

static uint64_t next_random(struct worker *worker, uint64_t below)
{
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random % below;
}

/* A call that would wait for ever, or for longer than any deadline here. */
static int wait_somehow(struct worker *worker)
{
    char byte;
    struct pollfd pollfd = {.fd = worker->silent[0], .events = POLLIN};
    struct timespec second = {.tv_sec = 1};
    struct timeval timeout = {.tv_sec = 1};
    struct epoll_event event;
    fd_set set;
    switch (next_random(worker, 9)) {
    case 0:
        return read(worker->silent[0], &byte, 1) < 0 ? errno : 0;
    case 1:
        return recv(worker->socket[0], &byte, 1, 0) < 0 ? errno : 0;
    case 2:
        return poll(&pollfd, 1, -1) < 0 ? errno : 0;
    case 3:
        return poll(&pollfd, 1, 1000) < 0 ? errno : 0;
    case 4:
        return ppoll(&pollfd, 1, &second, NULL) < 0 ? errno : 0;
    case 5:
        FD_ZERO(&set);
        FD_SET(worker->silent[0], &set);
        return select(worker->silent[0] + 1, &set, NULL, NULL, &timeout) < 0 ? errno : 0;
    case 6:
        return epoll_wait(worker->epoll, &event, 1, 1000) < 0 ? errno : 0;
    case 7:
        return nanosleep(&second, NULL) < 0 ? errno : 0;
    default:
        return clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL);
    }
}

static void check_cut(struct worker *worker, int64_t deadline, int64_t begun, int error)
{
    struct counts *counts = &worker->counts;
    int64_t late = coopdl_now() - (deadline > begun ? deadline : begun);
    counts->calls++;
    if (error != EINTR && error != ETIMEDOUT)
        counts->wrong++;
    if (late < 0)
        counts->early++;
    if (late > LATEST)
        counts->late++;
    if (late > counts->worst)
        counts->worst = late;
    for (int i = 0; i < LATENESSES; i++)
        if (late <= bounds[i]) {
            counts->lateness[i]++;
            break;
        }
    counts->cuts++;
}

/* What does not wait is never cut, and no byte is lost or repeated. */
static void exchange(struct worker *worker)
{
    unsigned char out = worker->next_out++, in;
    worker->counts.calls++;
    if (write(worker->busy[1], &out, 1) != 1 || read(worker->busy[0], &in, 1) != 1 ||
        in != worker->next_in++)
        worker->counts.wrong++;
}

/* `deadline` is what must rule here, by the test's own reckoning. */
static void act(struct worker *worker, int64_t deadline)
{
    int64_t begun = coopdl_now();
    switch (next_random(worker, 4)) {
    case 0:
        exchange(worker);
        break;
    case 1: /* no call at all: the expiry lands here, or while leaving */
        while (coopdl_now() < begun + (int64_t)next_random(worker, 1000) * 1000)
            ;
        break;
    default:
        if (deadline != COOPDL_NEVER)
            check_cut(worker, deadline, begun, wait_somehow(worker));
    }
}

static int64_t soon(struct worker *worker)
{
    return coopdl_now() + (int64_t)next_random(worker, 3000) * COOPDL_MICROSECOND;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void nest(struct worker *worker, int depth, int64_t outer)
{
    coopdl_scope scope;
    bool shield = depth > 0 && next_random(worker, 8) == 0;
    int64_t deadline = shield ? COOPDL_NEVER : soon(worker);
    int64_t ruling = shield ? COOPDL_NEVER : earlier(deadline, outer);
    if (shield) {
        coopdl_shield(&scope);
        worker->counts.shields++;
    } else {
        coopdl_enter(&scope, deadline);
    }
    act(worker, ruling);
    if (depth + 1 < DEEPEST && next_random(worker, 2))
        nest(worker, depth + 1, ruling);
    if (!shield && next_random(worker, 8) == 0) {
        deadline = soon(worker);
        ruling = earlier(deadline, outer);
        coopdl_move(&scope, deadline);
        worker->counts.moves++;
    }
    act(worker, ruling);
    int left = coopdl_leave(&scope);
    if (left < 0)
        worker->counts.wrong++;
    else if (left)
        worker->counts.expired++;
    else
        worker->counts.in_time++;
}

/* Outside all scopes: whatever is interrupted here was interrupted by a kick that came late. */
static void check_stray(struct worker *worker)
{
    struct pollfd pollfd = {.fd = worker->silent[0], .events = POLLIN};
    struct timespec moment = {.tv_nsec = 50000};
    bool disturbed = coopdl_deadline() != COOPDL_NEVER;
    if (next_random(worker, 2))
        disturbed |= nanosleep(&moment, NULL) != 0;
    else
        disturbed |= poll(&pollfd, 1, next_random(worker, 4) == 0) != 0;
    worker->counts.stray += disturbed;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load(&stop)) {
        nest(worker, 0, COOPDL_NEVER);
        check_stray(worker);
        worker->counts.rounds++;
    }
    return NULL;
}

static bool set_up(struct worker *worker, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN};
    worker->random = (uint64_t)coopdl_now() * 2654435761u + number + 1;
    worker->epoll = epoll_create1(0);
    return pipe(worker->silent) == 0 && pipe(worker->busy) == 0 &&
           socketpair(AF_UNIX, SOCK_STREAM, 0, worker->socket) == 0 && worker->epoll >= 0 &&
           epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->silent[0], &event) == 0;
}

static void add(struct counts *sum, const struct counts *one)
{
    sum->rounds += one->rounds;
    sum->calls += one->calls;
    sum->cuts += one->cuts;
    sum->in_time += one->in_time;
    sum->expired += one->expired;
    sum->shields += one->shields;
    sum->moves += one->moves;
    sum->early += one->early;
    sum->stray += one->stray;
    sum->late += one->late;
    sum->wrong += one->wrong;
    for (int i = 0; i < LATENESSES; i++)
        sum->lateness[i] += one->lateness[i];
    if (one->worst > sum->worst)
        sum->worst = one->worst;
}

static int verdict(int number, const char *what, uint64_t bad)
{
    printf("%sok %d - %s (%" PRIu64 ")\n", bad ? "not " : "", number, what, bad);
    return bad != 0;
}

int main(int count, char **arguments)
{
    int seconds = count > 1 ? atoi(arguments[1]) : 20;
    int threads = count > 2 ? atoi(arguments[2]) : 8;
    if (count > 3 || seconds < 1 || threads < 1 || threads > 1000) {
        fprintf(stderr, "usage: soak [SECONDS [THREADS]], from 1 up; at most 1000 threads\n");
        return 125;
    }
    struct worker *workers = calloc((size_t)threads, sizeof(*workers));
    for (int i = 0; i < threads; i++)
        if (!workers || !set_up(&workers[i], (unsigned)i) ||
            pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            perror("soak: cannot start");
            return 1;
        }
    sleep((unsigned)seconds);
    atomic_store(&stop, true);

    struct counts sum = {0};
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        add(&sum, &workers[i].counts);
    }
    free(workers);
    printf("1..5\n");
    printf("# %d s, %d threads, %" PRIu64 " rounds, %" PRIu64 " calls, %" PRIu64 " cut\n", seconds,
           threads, sum.rounds, sum.calls, sum.cuts);
    printf("# scopes: %" PRIu64 " in time, %" PRIu64 " expired; %" PRIu64 " shields, %" PRIu64
           " moved\n",
           sum.in_time, sum.expired, sum.shields, sum.moves);
    printf("# late: %" PRIu64 " to 0.1 ms, %" PRIu64 " to 1 ms, %" PRIu64 " to 5 ms, %" PRIu64
           " to 10 ms, %" PRIu64 " to 50 ms, %" PRIu64 " more; worst %.3f ms\n",
           sum.lateness[0], sum.lateness[1], sum.lateness[2], sum.lateness[3], sum.lateness[4],
           sum.lateness[5], (double)sum.worst / (double)COOPDL_MILLISECOND);
    int failed = verdict(1, "never early", sum.early) + verdict(2, "never stray", sum.stray) +
                 verdict(3, "never late", sum.late) + verdict(4, "never wrong", sum.wrong) +
                 verdict(5, "something was cut", sum.cuts == 0);
    return failed != 0;
}
