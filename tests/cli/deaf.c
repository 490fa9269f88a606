/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deaf.c -- a program that no deadline ends: it waits for a mutex, and says
 * which signals it gets.
 *
 *     deaf              after 30 s it ends with status 99
 *     deaf MILLISECONDS ends then with status 0; at once if that is no number (as
 *                       an interpreter it gets the script's name there)
 *
 * Prints "ready DEADLINE PRELOAD" (what it finds in COOPDL_DEADLINE and
 * LD_PRELOAD, or "-") and for each signal "NAME TIME", in nanoseconds of
 * CLOCK_MONOTONIC.  USR1 ends it with status 7.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGHUP, "HUP "},   {SIGINT, "INT "},   {SIGQUIT, "QUIT "},
    {SIGTERM, "TERM "}, {SIGCONT, "CONT "}, {SIGUSR1, "USR1 "},
};

enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

static int at_the_end;

/* One line, in one write: only what is async-signal-safe. */
static void report(const char *name, int64_t time)
{
    char line[40], *end = line + sizeof(line), *at = end;
    *--at = '\n';
    do
        *--at = (char)('0' + time % 10);
    while ((time /= 10) > 0);
    size_t length = strlen(name);
    at -= length;
    memcpy(at, name, length);
    if (write(STDOUT_FILENO, at, (size_t)(end - at)) < 0)
        _exit(98);
}

static void handle(int number)
{
    struct timespec now;
    const char *name = "realtime ";
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int i = 0; i < SIGNALS; i++)
        if (signals[i].number == number)
            name = signals[i].name;
    report(name, now.tv_sec * (int64_t)1000000000 + now.tv_nsec);
    if (number == SIGUSR1)
        _exit(7);
}

static void leave(int number)
{
    (void)number;
    _exit(at_the_end);
}

int main(int count, char **arguments)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i].number, &action, NULL);
    sigaction(SIGRTMIN + 1, &action, NULL);
    action.sa_handler = leave;
    sigaction(SIGALRM, &action, NULL);

    long milliseconds = count > 1 ? atol(arguments[1]) : 30000;
    at_the_end = count > 1 ? 0 : 99;
    struct itimerval timer = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000 + 1}};
    setitimer(ITIMER_REAL, &timer, NULL);

    const char *deadline = getenv("COOPDL_DEADLINE"), *preload = getenv("LD_PRELOAD");
    printf("ready %s %s\n", deadline ? deadline : "-", preload ? preload : "-");
    fflush(stdout);

    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    for (;;)
        pthread_mutex_lock(&mutex);
}
