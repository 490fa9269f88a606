/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stuck.c -- connects to a port of this machine and waits for what never comes.
 *
 *     stuck PORT
 *
 * Prints "end" and exits with status 3 when the peer goes away, with 4 after an error.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    char byte;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port =
                                      htons((unsigned short)(argc == 2 ? atoi(argv[1]) : 0)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        return 5;
    puts("connected");
    fflush(stdout);
    if (recv(fd, &byte, 1, 0) != 0)
        return 4;
    puts("end");
    return 3;
}
