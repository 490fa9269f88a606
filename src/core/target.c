/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.c -- describes what a call waits for: a connection by its peer, a file by its path, a
 * child by its command.
 *
 * The kernel is asked at the first cut of a deadline, since the program's clean-up closes the
 * descriptor.  Of several descriptors the first connection to another machine is described, or
 * else the first that is no eventfd: by that the threads of a process wake one another.
 *
 * What must hold: all code here is async-signal-safe, and waits for nothing.  Memory of the
 * program is read only where the kernel has read it before, in the call that has been ended.
 */
#include "core/target.h"

#include "core/hangup.h"
#include "core/line.h"
#include "core/sys.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* How many descriptors are looked at. */
enum { MOST = 64 };

static void add_port(struct coopdl_line *line, in_port_t port)
{
    coopdl_add_char(line, ':');
    coopdl_add_number(line, (port & 0xff) << 8 | port >> 8);
}

static void add_ipv4(struct coopdl_line *line, const unsigned char *byte)
{
    for (int i = 0; i < 4; i++) {
        if (i)
            coopdl_add_char(line, '.');
        coopdl_add_number(line, byte[i]);
    }
}

static unsigned int group_of(const unsigned char *byte, size_t i)
{
    return (unsigned int)byte[2 * i] << 8 | byte[2 * i + 1];
}

/* The longest row of groups that are 0, of two at least, is left out. */
static void add_ipv6(struct coopdl_line *line, const unsigned char *byte)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    int begin = -1, length = 1;
    if (memcmp(byte, mapped, sizeof(mapped)) == 0) {
        add_ipv4(line, byte + sizeof(mapped));
        return;
    }
    for (int i = 0, row = 0; i < 8; i++) {
        row = group_of(byte, (size_t)i) ? 0 : row + 1;
        if (row > length) {
            length = row;
            begin = i - row + 1;
        }
    }
    coopdl_add_char(line, '[');
    for (int i = 0; i < 8; i++) {
        if (i == begin) {
            coopdl_add(line, "::");
            i += length - 1;
            continue;
        }
        if (i && i != begin + length)
            coopdl_add_char(line, ':');
        coopdl_add_based(line, group_of(byte, (size_t)i), 16);
    }
    coopdl_add_char(line, ']');
}

/* An address of so many bytes; false if it says nothing. */
static bool add_address(struct coopdl_line *line, const void *address, size_t size)
{
    const struct sockaddr *any = address;
    const struct sockaddr_in *ipv4 = address;
    const struct sockaddr_in6 *ipv6 = address;
    const char *path = ((const struct sockaddr_un *)address)->sun_path;
    if (size <= sizeof(sa_family_t))
        return false;
    size_t length = size - offsetof(struct sockaddr_un, sun_path);
    switch (any->sa_family) {
    case AF_INET:
        add_ipv4(line, (const unsigned char *)&ipv4->sin_addr);
        add_port(line, ipv4->sin_port);
        return true;
    case AF_INET6:
        add_ipv6(line, (const unsigned char *)&ipv6->sin6_addr);
        add_port(line, ipv6->sin6_port);
        return true;
    case AF_UNIX: /* one that begins with a null is of the kernel's own name space */
        for (size_t i = 0; i < length && (path[i] || i == 0); i++)
            coopdl_add_char(line, (char)(path[i] ? path[i] : '@'));
        return true;
    default:
        return false;
    }
}

static int option(int fd, int which)
{
    int value = -1;
    socklen_t size = sizeof(value);
    return coopdl_sys(SYS_getsockopt, fd, SOL_SOCKET, which, &value, &size) == 0 ? value : -1;
}

static int64_t silence_of(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    if (coopdl_sys(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        info.tcpi_state != TCP_ESTABLISHED)
        return -1;
    uint32_t sent = info.tcpi_last_data_sent, received = info.tcpi_last_data_recv;
    return (sent < received ? sent : received) * COOPDL_MILLISECOND;
}

static const char *protocol(int fd)
{
    int domain = option(fd, SO_DOMAIN), type = option(fd, SO_TYPE);
    if (domain == AF_UNIX)
        return "unix";
    if (domain != AF_INET && domain != AF_INET6)
        return "socket";
    return type == SOCK_STREAM ? "tcp" : type == SOCK_DGRAM ? "udp" : "ip";
}

/* `wanted` is the address that it is being connected to, if that is known. */
static void add_socket(struct coopdl_line *line, struct coopdl_cut *cut, int fd, const void *wanted,
                       size_t wanted_size)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    coopdl_add(line, protocol(fd));
    coopdl_add_char(line, ' ');
    if (option(fd, SO_ACCEPTCONN) == 1) {
        coopdl_add(line, "listener ");
        if (coopdl_sys(SYS_getsockname, fd, &address, &size) == 0)
            add_address(line, &address, size);
    } else if (coopdl_sys(SYS_getpeername, fd, &address, &size) == 0) {
        if (!add_address(line, &address, size))
            coopdl_add(line, "without a name");
        cut->silent = silence_of(fd);
    } else if (!wanted || !add_address(line, wanted, wanted_size)) {
        coopdl_add(line, "not connected");
    }
}

/* What a link in /proc says. */
static void add_file(struct coopdl_line *line, int fd)
{
    static const char anonymous[] = "anon_inode:[";
    char path[32], name[128];
    struct coopdl_line link = {.text = path, .size = sizeof(path)};
    coopdl_add(&link, "/proc/thread-self/fd/");
    coopdl_add_number(&link, fd);
    long length = coopdl_sys(SYS_readlinkat, AT_FDCWD, path, name, sizeof(name) - 1);
    name[length > 0 ? length : 0] = '\0';
    if (strncmp(name, "pipe:", 5) == 0) {
        coopdl_add(line, "pipe");
    } else if (strncmp(name, anonymous, sizeof(anonymous) - 1) == 0) {
        name[strcspn(name, "]")] = '\0';
        coopdl_add(line, name + sizeof(anonymous) - 1);
    } else {
        coopdl_add(line, name);
    }
}

static void add_descriptor(struct coopdl_cut *cut, int fd, const void *wanted, size_t size)
{
    struct coopdl_line line = {.text = cut->target, .size = sizeof(cut->target)};
    int mode = coopdl_mode_of(fd);
    cut->target[0] = '\0';
    cut->descriptor = fd;
    cut->silent = -1;
    if (!mode) /* it is no descriptor */
        return;
    if (S_ISSOCK(mode))
        add_socket(&line, cut, fd, wanted, size);
    else
        add_file(&line, fd);
}

/* Of several. */
struct choice {
    struct coopdl_cut *cut;
    int looked_at;
    bool chosen;
    bool is_eventfd; /* what is described so far */
};

static bool consider(int fd, void *argument)
{
    struct choice *choice = argument;
    if (fd < 0 || choice->chosen || choice->looked_at++ > MOST)
        return false;
    int domain = option(fd, SO_DOMAIN);
    choice->chosen = (domain == AF_INET || domain == AF_INET6) && option(fd, SO_ACCEPTCONN) == 0;
    if (choice->chosen || choice->looked_at == 1 || choice->is_eventfd) {
        add_descriptor(choice->cut, fd, NULL, 0);
        choice->is_eventfd = strcmp(choice->cut->target, "eventfd") == 0;
    }
    return false;
}

static void of_poll(const struct pollfd *fds, unsigned long n, struct coopdl_cut *cut)
{
    struct choice choice = {.cut = cut};
    for (unsigned long i = 0; i < n && i < MOST; i++)
        consider(fds[i].fd, &choice);
}

static void of_select(const struct coopdl_place *place, struct coopdl_cut *cut)
{
    enum { BITS = 8 * sizeof(unsigned long) };
    const unsigned long *sets[] = {(const unsigned long *)place->b, (const unsigned long *)place->c,
                                   (const unsigned long *)place->d};
    struct choice choice = {.cut = cut};
    for (int fd = 0; fd < place->a; fd++)
        for (int i = 0; i < 3; i++)
            if (sets[i] && sets[i][fd / BITS] >> (fd % BITS) & 1) {
                consider(fd, &choice);
                break;
            }
}

static void of_epoll(int fd, struct coopdl_cut *cut)
{
    struct choice choice = {.cut = cut};
    coopdl_each_of_epoll(fd, consider, &choice);
    if (!choice.looked_at)
        add_descriptor(cut, fd, NULL, 0);
}

/* Its number and its command line, as far as there is room. */
static void of_child(long pid, struct coopdl_cut *cut)
{
    char path[40], command[sizeof(cut->target)];
    struct coopdl_line line = {.text = cut->target, .size = sizeof(cut->target)};
    struct coopdl_line file = {.text = path, .size = sizeof(path)};
    if (pid <= 0) {
        coopdl_add(&line, "any child");
        return;
    }
    coopdl_add(&line, "pid ");
    coopdl_add_number(&line, pid);
    coopdl_add(&file, "/proc/");
    coopdl_add_number(&file, pid);
    coopdl_add(&file, "/cmdline");
    long fd = coopdl_sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    long length = coopdl_sys(SYS_read, fd, command, sizeof(command));
    coopdl_sys(SYS_close, fd);
    for (long i = 0; i < length; i++) {
        if (i == 0 || !command[i - 1])
            coopdl_add_char(&line, ' ');
        if (command[i])
            coopdl_add_char(&line, command[i]);
    }
}

static void of_path(const char *path, struct coopdl_cut *cut)
{
    struct coopdl_line line = {.text = cut->target, .size = sizeof(cut->target)};
    for (size_t i = 0; path && path[i] && i < sizeof(cut->target); i++)
        coopdl_add_char(&line, path[i]);
}

void coopdl_target(const struct coopdl_place *place, struct coopdl_cut *cut)
{
    cut->target[0] = '\0';
    cut->descriptor = -1;
    cut->silent = -1;
    switch (place->object) {
    case ON_NOTHING:
        break;
    case ON_DESCRIPTOR:
        add_descriptor(cut, (int)place->a, NULL, 0);
        break;
    case ON_CONNECT:
        add_descriptor(cut, (int)place->a, (const void *)place->b, (size_t)place->c);
        break;
    case ON_POLL:
        of_poll((const struct pollfd *)place->a, (unsigned long)place->b, cut);
        break;
    case ON_SELECT:
        of_select(place, cut);
        break;
    case ON_EPOLL:
        of_epoll((int)place->a, cut);
        break;
    case ON_CHILD:
        of_child(place->a, cut);
        break;
    case ON_PATH:
        of_path((const char *)place->a, cut);
        break;
    }
    for (char *c = cut->target; *c; c++) /* it is to stay on one line */
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}
