/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late.c -- how late a blocking call ends after a deadline, and beside it after
 * setitimer's signal:
 *
 *     late recv|poll|nanosleep|fgets|sem_wait ROUNDS
 *
 * A line for each round: ns after the deadline of a scope, and ns after the time
 * that setitimer was set to.
 */
#include "program.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { DELAY = 2000000 };

static int pair[2];
static FILE *stream;
static sem_t semaphore;

static bool by_recv(void)
{
    char byte;
    return recv(pair[0], &byte, 1, 0) < 0;
}

static bool by_poll(void)
{
    struct pollfd pollfd = {.fd = pair[0], .events = POLLIN};
    return poll(&pollfd, 1, -1) < 0;
}

static bool by_nanosleep(void)
{
    struct timespec hour = {.tv_sec = 3600};
    return nanosleep(&hour, NULL) < 0;
}

static bool by_fgets(void)
{
    char line[16];
    clearerr(stream);
    return !fgets(line, sizeof(line), stream);
}

static bool by_sem_wait(void)
{
    return sem_wait(&semaphore) < 0;
}

static const struct {
    const char *name;
    bool (*fails)(void);
} calls[] = {{"recv", by_recv},
             {"poll", by_poll},
             {"nanosleep", by_nanosleep},
             {"fgets", by_fgets},
             {"sem_wait", by_sem_wait}};

static void on_alarm(int number)
{
    (void)number;
}

/* How much later than `deadline` it is that the call has failed, by either. */
static int64_t late(bool (*fails)(void), int64_t deadline, bool scoped)
{
    coopdl_scope scope;
    struct itimerval alarm = {.it_value.tv_usec = DELAY / 1000};
    if (scoped ? enter(&scope, deadline) : setitimer(ITIMER_REAL, &alarm, NULL))
        exit(1);
    if (!fails())
        exit(1);
    int64_t result = now() - deadline;
    if (scoped)
        leave(&scope);
    return result;
}

int main(int count, char **arguments)
{
    size_t call = 0, known = sizeof(calls) / sizeof(*calls);
    while (count == 3 && call < known && strcmp(calls[call].name, arguments[1]) != 0)
        call++;
    if (count != 3 || call == known) {
        fprintf(stderr, "usage: late recv|poll|nanosleep|fgets|sem_wait ROUNDS\n");
        return 125;
    }
    find_library();
    struct sigaction action = {.sa_handler = on_alarm};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || !(stream = fdopen(dup(pair[0]), "r")) ||
        sem_init(&semaphore, 0, 0) != 0 || sigaction(SIGALRM, &action, NULL) != 0)
        return 1;
    for (long round = strtol(arguments[2], NULL, 10); round > 0; round--) {
        int64_t scope = late(calls[call].fails, now() + DELAY, true);
        printf("%lld %lld\n", (long long)scope,
               (long long)late(calls[call].fails, now() + DELAY, false));
    }
    return 0;
}
