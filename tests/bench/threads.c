/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads.c -- many threads whose deadlines lie close together:
 *
 *     threads scope|sleep COUNT SPREAD_MS
 *
 * The deadlines of COUNT threads are spread over SPREAD_MS.  Each thread sleeps in
 * a scope that ends then, or, as what it is compared with, by clock_nanosleep until
 * then.  Prints one line: ns late at the median, and at the worst; ns of one
 * enter(1 h) and leave of one more thread meanwhile; bytes that became resident
 * for each thread when it entered a first scope; ns of processor time that the
 * scheduler took for each expiry.
 */
#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { TIMES = 20000, TURNS = 50, STACK = 64 * 1024 };

struct sleeper {
    pthread_t thread;
    int64_t deadline, late;
};

static bool scoped;
static pthread_barrier_t ready, entered, measured, begun;

static void sleep_until(int64_t when)
{
    struct timespec until = {.tv_sec = when / COOPDL_SECOND, .tv_nsec = when % COOPDL_SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR && !scoped)
        ;
}

static void *run(void *argument)
{
    struct sleeper *sleeper = argument;
    coopdl_scope scope = {0};
    pthread_barrier_wait(&ready);
    if (scoped && enter(&scope, after(3600 * COOPDL_SECOND)) != 0)
        exit(1);
    pthread_barrier_wait(&entered);
    pthread_barrier_wait(&measured);
    pthread_barrier_wait(&begun);
    if (scoped) {
        leave(&scope);
        enter(&scope, sleeper->deadline);
    }
    sleep_until(scoped ? sleeper->deadline + 3600 * COOPDL_SECOND : sleeper->deadline);
    sleeper->late = now() - sleeper->deadline;
    if (scoped)
        leave(&scope);
    return NULL;
}

/* Bytes.  statm would be off by what each thread has not yet reported. */
static long resident(void)
{
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "Rss: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

/* ns that the thread of that name has run. */
static long long time_of(const char *wanted)
{
    struct dirent *entry;
    long long spent = 0;
    DIR *directory = opendir("/proc/self/task");
    while (directory && (entry = readdir(directory))) {
        char path[300], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        bool found = file && fscanf(file, "%31s", name) == 1 && strcmp(name, wanted) == 0;
        if (file)
            fclose(file);
        if (!found)
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", entry->d_name);
        if ((file = fopen(path, "r")) && fscanf(file, "%lld", &spent) != 1)
            spent = 0;
        if (file)
            fclose(file);
    }
    if (directory)
        closedir(directory);
    return spent;
}

static double enter_and_leave(void)
{
    coopdl_scope scope;
    int64_t started = processor_time();
    for (int i = 0; scoped && i < TIMES; i++) {
        enter(&scope, after(3600 * COOPDL_SECOND));
        leave(&scope);
    }
    return (double)(processor_time() - started) / (double)TIMES;
}

/* The processor's caches are cold at first, the more so the more threads have just run. */
static double least_cost(void)
{
    double least = enter_and_leave();
    for (int i = 1; i < TURNS; i++) {
        double cost = enter_and_leave();
        least = cost < least ? cost : least;
    }
    return least;
}

static int by_lateness(const void *a, const void *b)
{
    int64_t one = ((const struct sleeper *)a)->late, other = ((const struct sleeper *)b)->late;
    return (one > other) - (one < other);
}

static void start(struct sleeper *sleepers, long count)
{
    pthread_attr_t attributes;
    pthread_barrier_t *barriers[] = {&ready, &entered, &measured, &begun};
    for (int i = 0; i < 4; i++)
        pthread_barrier_init(barriers[i], NULL, (unsigned int)count + 1);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    for (long i = 0; i < count; i++) {
        int error = pthread_create(&sleepers[i].thread, &attributes, run, &sleepers[i]);
        if (error) {
            fprintf(stderr, "threads: only %ld can be started: %s\n", i, strerror(error));
            exit(1);
        }
    }
}

int main(int count, char **arguments)
{
    coopdl_scope outer;
    if (count != 4) {
        fprintf(stderr, "usage: threads scope|sleep COUNT SPREAD_MS\n");
        return 125;
    }
    scoped = strcmp(arguments[1], "scope") == 0;
    long threads = strtol(arguments[2], NULL, 10);
    int64_t spread = strtol(arguments[3], NULL, 10) * COOPDL_MILLISECOND;
    struct sleeper *sleepers = calloc((size_t)threads, sizeof(*sleepers));
    if (!sleepers)
        return 1;
    if (scoped) {
        find_library();
        if (enter(&outer, after(600 * COOPDL_SECOND)) != 0)
            exit(1);
    }
    start(sleepers, threads);
    pthread_barrier_wait(&ready);
    long before = resident();
    pthread_barrier_wait(&entered);
    double bytes = (double)(resident() - before) / (double)threads;
    /* Time enough for all to wait at the next barrier: else they would share the processor. */
    sleep_until(now() + 50 * COOPDL_MILLISECOND + threads * 50 * COOPDL_MICROSECOND);
    double cost = least_cost();
    /* Time enough for all to be asleep before the first is due. */
    int64_t first = now() + COOPDL_SECOND + threads * 100 * COOPDL_MICROSECOND;
    for (long i = 0; i < threads; i++)
        sleepers[i].deadline = first + spread * i / threads;
    pthread_barrier_wait(&measured);
    pthread_barrier_wait(&begun);
    sleep_until(first - 50 * COOPDL_MILLISECOND);
    long long spent = time_of("coopdl");
    for (long i = 0; i < threads; i++)
        pthread_join(sleepers[i].thread, NULL);
    spent = time_of("coopdl") - spent;
    qsort(sleepers, (size_t)threads, sizeof(*sleepers), by_lateness);
    if (sleepers[0].late < 0) {
        fprintf(stderr, "threads: one was early by %lld ns\n", (long long)-sleepers[0].late);
        exit(1);
    }
    printf("%lld %lld %.2f %.1f %.1f\n", (long long)sleepers[threads / 2].late,
           (long long)sleepers[threads - 1].late, cost, bytes, (double)spent / (double)threads);
    free(sleepers);
    return 0;
}
