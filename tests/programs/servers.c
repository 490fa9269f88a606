/* SPDX-License-Identifier: Apache-2.0 */
/*
 * servers.c -- two servers that never come to an end, for clients that must.
 *
 *     blackhole  accepts every connection, keeps it and never answers
 *     drip       answers with the head of an HTTP response without a length,
 *                then sends one byte of its body every 100 ms for ever
 *
 * Both listen on ports of 127.0.0.1 that the kernel picks; one line for each,
 * "NAME PORT", goes to stdout once they accept connections.
 *
 * The program must never outlive the test that started it: it ends when its
 * stdin does, when its parent dies, and after ten minutes whatever happens.
 */
#include <arpa/inet.h>
#include <err.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LIFE_SECONDS (10 * 60)
#define DRIP_NANOSECONDS 100000000L
#define CLIENTS 64

static const char head[] = "HTTP/1.1 200 OK\r\n"
                           "Content-Type: text/plain\r\n"
                           "Connection: close\r\n"
                           "\r\n";

static int listen_as(const char *name)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
        listen(listener, CLIENTS) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        err(1, "cannot listen as %s", name);
    printf("%s %d\n", name, ntohs(address.sin_port));
    return listener;
}

static int tick_every(long nanoseconds)
{
    struct itimerspec interval = {{0, nanoseconds}, {0, nanoseconds}};
    int ticks = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

    if (ticks < 0 || timerfd_settime(ticks, 0, &interval, NULL) < 0)
        err(1, "cannot make a timer");
    return ticks;
}

static int accept_one(int listener)
{
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (client < 0)
        err(1, "cannot accept a connection");
    return client;
}

/* A client that has gone, or that has read nothing for so long that it is full, is dropped. */
static void drip(int *clients)
{
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i] >= 0 && send(clients[i], ".", 1, MSG_NOSIGNAL) < 0) {
            close(clients[i]);
            clients[i] = -1;
        }
}

static void welcome(int client, int *clients)
{
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i] < 0) {
            clients[i] = client;
            (void)!send(client, head, strlen(head), MSG_NOSIGNAL);
            return;
        }
    errx(1, "more than %d clients of drip", CLIENTS);
}

static void take_input(void)
{
    char byte;

    if (read(STDIN_FILENO, &byte, 1) <= 0)
        exit(0);
}

static void serve(int blackhole, int dripper, int ticks)
{
    struct pollfd events[] = {{STDIN_FILENO, POLLIN, 0},
                              {blackhole, POLLIN, 0},
                              {dripper, POLLIN, 0},
                              {ticks, POLLIN, 0}};
    int clients[CLIENTS];

    memset(clients, -1, sizeof clients);
    while (poll(events, 4, -1) > 0) {
        unsigned long long count;

        if (events[0].revents)
            take_input();
        if (events[1].revents)
            accept_one(blackhole);
        if (events[2].revents)
            welcome(accept_one(dripper), clients);
        if (events[3].revents && read(ticks, &count, sizeof count) > 0)
            drip(clients);
    }
    err(1, "cannot wait for clients");
}

int main(void)
{
    pid_t parent = getppid();
    int blackhole, dripper;

    alarm(LIFE_SECONDS);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        return 0;

    blackhole = listen_as("blackhole");
    dripper = listen_as("drip");
    fflush(stdout);
    serve(blackhole, dripper, tick_every(DRIP_NANOSECONDS));
}
