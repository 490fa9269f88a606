/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptor.c -- what a descriptor of a looked-at process stands for: a file's name, or
 * the address of a socket's peer, and for how long a TCP connection has been silent.
 *
 * A socket is asked by a duplicate of its descriptor (pidfd_getfd), which needs what a
 * debugger needs: the same user, and no rule of the system against it.
 *
 * What must hold: the socket is asked, never changed.
 */
#include "descriptor.h"

#include "coopdl.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void add_address(struct coopdl_line *line, const struct sockaddr_storage *address,
                        socklen_t size)
{
    char text[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *four = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    const struct sockaddr_un *local = (const struct sockaddr_un *)address;
    if (address->ss_family == AF_UNIX) {
        size_t length = size - offsetof(struct sockaddr_un, sun_path);
        for (size_t i = 0; i < length && (local->sun_path[i] || i == 0); i++)
            coopdl_add_char(line, (char)(local->sun_path[i] ? local->sun_path[i] : '@'));
        return;
    }
    bool is_six = address->ss_family == AF_INET6;
    inet_ntop(address->ss_family, is_six ? (const void *)&six->sin6_addr : &four->sin_addr, text,
              sizeof(text));
    coopdl_add(line, is_six ? "[" : "");
    coopdl_add(line, text);
    coopdl_add(line, is_six ? "]:" : ":");
    in_port_t port = 0;
    memcpy(&port, is_six ? &six->sin6_port : &four->sin_port, sizeof(port));
    coopdl_add_number(line, ntohs(port));
}

static int option(int fd, int which)
{
    int value = -1;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, which, &value, &size) == 0 ? value : -1;
}

static void add_silence(struct coopdl_line *line, int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        info.tcpi_state != TCP_ESTABLISHED)
        return;
    uint32_t sent = info.tcpi_last_data_sent, received = info.tcpi_last_data_recv;
    coopdl_add(line, ", silent for ");
    coopdl_add_duration(line, (sent < received ? sent : received) * COOPDL_MILLISECOND);
}

/* Whether it is a connection to an address of a network. */
static bool add_socket(struct coopdl_line *line, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    int domain = option(fd, SO_DOMAIN), type = option(fd, SO_TYPE);
    bool network = domain == AF_INET || domain == AF_INET6;
    bool listens = option(fd, SO_ACCEPTCONN) == 1;
    coopdl_add(line, domain == AF_UNIX     ? "unix "
                     : !network            ? "socket "
                     : type == SOCK_STREAM ? "tcp "
                     : type == SOCK_DGRAM  ? "udp "
                                           : "ip ");
    if (!network && domain != AF_UNIX)
        return false;
    coopdl_add(line, listens ? "listener " : "");
    struct sockaddr *any = (struct sockaddr *)&address;
    if ((listens ? getsockname(fd, any, &size) : getpeername(fd, any, &size)) != 0)
        coopdl_add(line, "not connected");
    else if (size <= sizeof(sa_family_t))
        coopdl_add(line, "without a name");
    else
        add_address(line, &address, size);
    if (!listens)
        add_silence(line, fd);
    return network && !listens;
}

bool add_descriptor(struct coopdl_line *line, const struct subject *of, int number)
{
    char path[64], name[128];
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)of->pid, number);
    ssize_t length = readlink(path, name, sizeof(name) - 1);
    name[length > 0 ? length : 0] = '\0';
    if (strncmp(name, "socket:", 7) == 0) {
        int fd = duplicate_descriptor(of, number);
        bool network = fd >= 0 && add_socket(line, fd);
        if (fd >= 0)
            close(fd);
        else
            coopdl_add(line, "socket");
        return network;
    }
    for (char *c = name; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
    coopdl_add(line, strncmp(name, "pipe:", 5) == 0 ? "pipe" : name);
    return false;
}
