/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.c -- getaddrinfo for a name of which the name server says nothing.
 *
 * The resolver of libc takes EINTR for nothing, and has a time-out of its own.
 */
#include "late.h"

#include <netdb.h>

int main(void)
{
    struct addrinfo hints = {.ai_family = AF_INET}, *found;
    int error = getaddrinfo("host.stuck.test.", NULL, &hints, &found);

    if (error != EAI_AGAIN && error != EAI_SYSTEM)
        errx(1, "getaddrinfo: %s", error ? gai_strerror(error) : "a name without a server");
    say_how_late();
}
