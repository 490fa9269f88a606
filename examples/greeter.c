/* SPDX-License-Identifier: Apache-2.0 */
/*
 * greeter.c -- a daemon that serves one client after another: it reads a name and answers with a
 * greeting.  A client that sends nothing, or takes no answer, has half a second; then the next one
 * has its turn.
 *
 *     cc -o greeter greeter.c $(pkg-config --cflags --libs coopdl) && ./greeter
 *
 * It prints its port.  SIGTERM ends it.
 */
#include <arpa/inet.h>
#include <coopdl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* stdio, as any library might use it: fgets and dprintf know nothing of deadlines. */
static void greet(int client)
{
    char name[100];
    FILE *stream = fdopen(client, "r");
    if (!stream)
        return;
    if (fgets(name, sizeof(name), stream))
        dprintf(client, "hello, %s", name);
    fclose(stream);
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 10) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        perror("greeter");
        return -1;
    }
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(void)
{
    int client, listener = listen_somewhere();
    if (listener < 0)
        return 1;
    while ((client = accept(listener, NULL, NULL)) >= 0) {
        coopdl_scope scope;
        if (coopdl_enter(&scope, coopdl_after(500 * COOPDL_MILLISECOND)) != 0) {
            perror("coopdl_enter");
            return 1;
        }
        greet(client);
        if (coopdl_leave(&scope) == 1) {
            printf("a client was too slow\n");
            fflush(stdout);
        }
    }
    perror("accept");
    return 1;
}
