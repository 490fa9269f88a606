/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recv_loop.c -- a client that takes EINTR for nothing, as most of them do.
 *
 *     recv_loop PORT
 *
 * It connects to PORT of 127.0.0.1, says "connected", and reads until the end,
 * without any limit of its own; recv is called again for ever on EINTR.  Any
 * other error ends it, in words and with status 1.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static ssize_t recv_again(int connection, void *buffer, size_t size)
{
    ssize_t got;

    do
        got = recv(connection, buffer, size, 0);
    while (got < 0 && errno == EINTR);
    return got;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char buffer[4096];
    ssize_t got;

    if (argc != 2)
        errx(125, "usage: recv_loop PORT");
    address.sin_port = htons((in_port_t)atoi(argv[1]));
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "cannot connect");
    puts("connected");
    fflush(stdout);

    while ((got = recv_again(connection, buffer, sizeof buffer)) > 0)
        ;
    if (got < 0)
        err(1, "recv");
    return 0;
}
