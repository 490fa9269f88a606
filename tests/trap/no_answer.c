/* SPDX-License-Identifier: Apache-2.0 */
/*
 * no_answer.c -- runs a command in a world whose only name server never
 * answers.
 *
 *     no_answer COMMAND [ARGUMENT]...
 *
 * A network namespace has no way to the outside; in a mount namespace the
 * resolver's files are others.  The server is a socket from which nobody reads,
 * and which the command inherits: a closed port would be an answer.  All of it
 * goes when the command ends.
 *
 * Exits with 77, and says why, where the system does not let it have this.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

static void need(int result, const char *what)
{
    if (result < 0)
        err(77, "%s", what);
}

/* Only root may have the others without a namespace of users. */
static void leave_the_world(void)
{
    need(unshare(CLONE_NEWNS | CLONE_NEWNET | (geteuid() ? CLONE_NEWUSER : 0)),
         "namespaces are not to be had");
    need(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "mounts cannot be made private");
}

static void replace(const char *path, const char *text)
{
    char other[] = "/tmp/no_answer.XXXXXX";
    int fd = mkstemp(other), result, error;

    need(fd, other);
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        err(1, "%s", other);
    close(fd);
    result = mount(other, path, NULL, MS_BIND, NULL);
    error = errno;
    unlink(other);
    errno = error;
    need(result, path);
}

/* The name service's cache, where there is one, would ask in the world outside. */
static void hide_cache(void)
{
    if (access("/var/run/nscd", F_OK) == 0)
        need(mount("none", "/var/run/nscd", "tmpfs", 0, NULL), "/var/run/nscd");
}

static void listen_and_be_silent(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int server = socket(AF_INET, SOCK_DGRAM, 0);

    need(server, "there are no sockets");
    need(ioctl(server, SIOCSIFFLAGS, &loopback), "the loopback cannot be brought up");
    need(bind(server, (struct sockaddr *)&address, sizeof address), "port 53 of 127.0.0.1");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        errx(125, "usage: no_answer COMMAND [ARGUMENT]...");
    leave_the_world();
    replace("/etc/resolv.conf", "nameserver 127.0.0.1\nsearch .\n");
    replace("/etc/nsswitch.conf", "hosts: dns\n");
    hide_cache();
    listen_and_be_silent();
    execv(argv[1], argv + 1);
    if (errno == ETIMEDOUT) /* on a busy machine the budget's end was before that */
        return 75;
    err(1, "%s", argv[1]);
}
