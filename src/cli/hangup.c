/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hangup.c -- hangs up the connections of a process that the library is not in.
 *
 * From outside, by duplicates of its descriptors (pidfd_getfd, Linux 5.6): a program
 * that waits for a peer then ends by the error that it has for a peer that goes away.
 *
 * What must hold: as in the library (core/hangup.c), as far as it can be known from
 * outside.  Only connected stream sockets: TCP ones, and UNIX ones without a name
 * whose peer has one, which the process has connected.  None that the parent has as
 * well, which may have come from there.  Nothing of a process that has children, nor
 * of a child of one without the library: a shell would go on with its next command.
 *
 * Interleavings.  The descriptor may be another one by now: all questions are asked
 * of the duplicate.  The process may be gone: a pidfd stands for it alone, and who
 * asks for one has not reaped it.
 */
#include "hangup.h"

#include "failure.h"
#include "reach.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* The number of a socket, by the name of its link in /proc; 0 for anything else. */
static unsigned long socket_of(int directory, const char *entry)
{
    char text[64];
    unsigned long inode = 0;
    ssize_t length = readlinkat(directory, entry, text, sizeof(text) - 1);
    text[length > 0 ? length : 0] = '\0';
    return sscanf(text, "socket:[%lu]", &inode) == 1 ? inode : 0;
}

static DIR *descriptors_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    return opendir(path);
}

static bool has_socket(pid_t pid, unsigned long inode)
{
    DIR *descriptors = descriptors_of(pid);
    const struct dirent *entry;
    bool found = false;
    while (descriptors && !found && (entry = readdir(descriptors)))
        found = socket_of(dirfd(descriptors), entry->d_name) == inode;
    if (descriptors)
        closedir(descriptors);
    return found;
}

static bool has_name(const struct sockaddr_un *address, socklen_t size)
{
    return address->sun_family == AF_UNIX && size > sizeof(address->sun_family);
}

/* Asked of a duplicate. */
static bool is_own_connection(int fd)
{
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t size = sizeof(int), own_size = sizeof(own), peer_size = sizeof(peer);
    int type, listening;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening ||
        getsockname(fd, (struct sockaddr *)&own, &own_size) != 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0)
        return false;
    if (own.ss_family == AF_UNIX)
        return !has_name((struct sockaddr_un *)&own, own_size) &&
               has_name((struct sockaddr_un *)&peer, peer_size);
    return own.ss_family == AF_INET || own.ss_family == AF_INET6;
}

static void say_not_allowed(const char *name, const char *call)
{
    static bool said;
    if (!said)
        say("warning: cannot hang up the connections of command '%s' (%s: %s): it gets "
            "the signal",
            name, call, strerror(errno));
    said = true;
}

static bool has_children(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "re");
    bool any = file && fgetc(file) != EOF;
    if (file)
        fclose(file);
    return any;
}

int hang_up_connections(pid_t pid, const char *name)
{
    if (has_children(pid))
        return 0;
    int count = 0;
    pid_t parent = parent_of(pid);
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    DIR *descriptors = process < 0 ? NULL : descriptors_of(pid);
    const struct dirent *entry;
    if (process < 0 && errno != ESRCH)
        say_not_allowed(name, "pidfd_open");
    while (descriptors && (entry = readdir(descriptors))) {
        unsigned long inode = socket_of(dirfd(descriptors), entry->d_name);
        if (!inode || has_socket(parent, inode) || has_socket(getpid(), inode))
            continue;
        int fd = (int)syscall(SYS_pidfd_getfd, process, atoi(entry->d_name), 0);
        if (fd < 0 && errno != EBADF && errno != ESRCH)
            say_not_allowed(name, "pidfd_getfd");
        if (fd < 0)
            continue;
        count += is_own_connection(fd) && shutdown(fd, SHUT_RDWR) == 0;
        close(fd);
    }
    if (descriptors)
        closedir(descriptors);
    if (process >= 0)
        close(process);
    return count;
}
