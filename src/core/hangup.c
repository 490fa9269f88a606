/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hangup.c -- shuts down connections of code that ignores errors.
 *
 * All code handles a peer that goes away.  So between ETIMEDOUT and SIGTERM the library shuts
 * down the connected stream sockets that expired code waits for.  From then on the kernel itself
 * reports them: readable, hung up, connection reset and then end of file, by whatever call.
 *
 * In a scope this happens from the eighth cut on in calls on such sockets, to the sockets of the
 * call that is cut.  Under a budget it happens COOPDL_HANGUP after the end, and every 250 ms
 * from then on.  The first time it is done to the sockets that a call was cut on or that an
 * event loop waits for, and from the second time on to all.  A thread that still writes does not
 * hang, and its sockets are left alone.
 *
 * What must hold:
 * - Only sockets of the process's own making are shut down: TCP sockets that it has connected or
 *   accepted, and UNIX sockets that it has connected.  Never a listener, a datagram socket, or a
 *   socket that came with exec, from a parent, or through another socket.
 * - So each socket is noted when it is made, by its inode, which no other socket has as long as
 *   this one lives.  A socket without a note is never shut down.
 * - A process that has never had a deadline makes no system call for a note.  It notes the
 *   descriptor and its peer, if the peer's address is in the caller's memory.  At the first
 *   deadline the library looks up the inode of the socket that then has this descriptor and this
 *   peer.
 * - A descriptor that was closed, and whose number stands for something else, is left alone.
 *
 * Interleavings.
 * - Another thread closes the descriptor, and opens another socket under its number, between the
 *   check and the shutdown.  So both are done to a duplicate, which stays the same socket.
 * - Two threads read the end of a connection that was shut down without a reset.  One of them
 *   fails, as one of them would have got the error of a reset.
 * - A note is overwritten while another thread reads it.  The inode that was read is compared
 *   with that of the duplicate.
 * - The first deadline comes while another thread makes a note without an inode.  That thread
 *   looks for a deadline again after it has made the note, and whichever of the two sees both
 *   fills in the inode.
 * - fork: the child's descriptors are shared with its parent.  The notes are deleted before the
 *   child can connect anything. vfork: the notes are the parent's, and may have inodes of
 *   sockets that the child does not have.  These match nothing.
 * - Two threads shut down the same socket.  The second shutdown does nothing.
 */
#include "core/hangup.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/probe.h"
#include "core/scope.h"
#include "core/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Descriptors above are not noted, and so never hung up. */
enum { SOCKETS = 16384 };

enum { CUTS_IN_A_SCOPE = 8 };

/* By descriptor: 0, or the inode with flags. */
#define ACCEPTED (UINT64_C(1) << 63)
#define CUT (UINT64_C(1) << 62)
#define WITHOUT_INODE (UINT64_C(1) << 61) /* instead: what peer_of gives */
#define SHUT (UINT64_C(1) << 60)          /* by us, without a reset */
#define ENDED (UINT64_C(1) << 59)         /* and a read has failed at that end */
#define INODE (ENDED - 1)
static _Atomic uint64_t notes[SOCKETS];
static atomic_bool ever_shut;
static _Atomic int highest = -1;

static atomic_bool begun;
static atomic_bool ever_deadline; /* the process has, or had, one */

/* The kernel's struct, as far as it is needed: it has the same size everywhere. */
struct status {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, user, group;
    uint16_t mode, unused;
    uint64_t inode;
    uint64_t others[27];
};

/* What a descriptor stands for; false for none.  Linux before 4.11 has no statx, and older filters
 * of system calls do not know it: there, where fstat is as libc has it, that is asked. */
static bool look_at(int fd, struct status *status)
{
    enum { EMPTY_PATH = 0x1000, TYPE = 1, INO = 0x100 };
    if (coopdl_sys(SYS_statx, fd, "", EMPTY_PATH, TYPE | INO, status) == 0)
        return true;
#ifdef __LP64__
    struct stat file;
    if (coopdl_sys(SYS_fstat, fd, &file) == 0) {
        status->mode = (uint16_t)file.st_mode;
        status->inode = file.st_ino;
        return true;
    }
#endif
    return false;
}

/* The inode of a socket; 0 for anything else. */
static uint64_t socket_inode(int fd)
{
    enum { TYPE_BITS = 0170000, SOCKET = 0140000 };
    struct status status = {0};
    if (!look_at(fd, &status) || (status.mode & TYPE_BITS) != SOCKET)
        return 0;
    return status.inode & INODE;
}

static void raise_highest(int fd)
{
    int before = atomic_load(&highest);
    while (before < fd && !atomic_compare_exchange_weak(&highest, &before, fd))
        ;
}

bool coopdl_socket_made(int fd, bool accepted)
{
    if (likely(!atomic_load_explicit(&ever_deadline, memory_order_relaxed)))
        return false;
    uint64_t inode = fd >= 0 && fd < SOCKETS ? socket_inode(fd) : 0;
    if (!inode)
        return true;
    raise_highest(fd);
    /* A socket that is connected again, as is usual after EINTR, keeps its note. */
    if ((atomic_load(&notes[fd]) & (INODE | WITHOUT_INODE)) != inode)
        atomic_store(&notes[fd], inode | (accepted ? ACCEPTED : 0));
    return true;
}

/* A hash of a peer's address, in 32 bits; 0 if nothing is known.  Of an IP address only its first 8
 * bytes count: accept does not say how many there are. */
static uint32_t peer_of(const struct sockaddr *address, size_t length)
{
    const unsigned char *byte = (const unsigned char *)address;
    uint32_t peer = 2166136261; /* FNV-1a */
    size_t count;
    switch (address->sa_family) {
    case AF_INET: /* family, port, address */
        count = 8;
        break;
    case AF_INET6: /* family, port */
        count = 4;
        break;
    case AF_UNIX:
        count = strnlen((const char *)byte + sizeof(sa_family_t), length - sizeof(sa_family_t)) +
                sizeof(sa_family_t);
        break;
    default:
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        peer = (peer ^ byte[i]) * 16777619;
    return peer ? peer : 1;
}

/* Puts the inode into a note without one.  A socket with another peer is not the one that was
 * noted. */
static void complete(int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    uint64_t note = atomic_load(&notes[fd]);
    if (!(note & WITHOUT_INODE))
        return;
    uint64_t inode = socket_inode(fd), completed = 0;
    if (inode && coopdl_sys(SYS_getpeername, fd, &peer, &size) == 0 &&
        peer_of((const struct sockaddr *)&peer, size) == (uint32_t)note &&
        socket_inode(fd) == inode)
        completed = inode | (note & ACCEPTED);
    atomic_compare_exchange_strong(&notes[fd], &note, completed);
}

void coopdl_socket_made_before(int fd, bool accepted, const struct sockaddr *peer, size_t length)
{
    uint32_t known =
        fd >= 0 && fd < SOCKETS && length > sizeof(sa_family_t) ? peer_of(peer, length) : 0;
    if (!known)
        return;
    raise_highest(fd);
    atomic_store(&notes[fd], WITHOUT_INODE | (accepted ? ACCEPTED : 0) | known);
    if (atomic_load(&ever_deadline))
        complete(fd);
}

int coopdl_mode_of(int fd)
{
    struct status status = {0};
    return look_at(fd, &status) ? status.mode : 0;
}

void coopdl_hangup_start(void)
{
    if (atomic_exchange(&ever_deadline, true))
        return;
    for (int fd = atomic_load(&highest); fd >= 0; fd--)
        complete(fd);
}

/* The note of the socket behind this descriptor; null if there is none.  A duplicate has the note
 * of the descriptor that was connected. */
static _Atomic uint64_t *note_of(int fd)
{
    uint64_t inode = atomic_load(&highest) >= 0 ? socket_inode(fd) : 0;
    if (!inode)
        return NULL;
    if (fd < SOCKETS && (atomic_load(&notes[fd]) & (INODE | WITHOUT_INODE)) == inode)
        return &notes[fd];
    for (int i = atomic_load(&highest); i >= 0; i--)
        if ((atomic_load(&notes[i]) & (INODE | WITHOUT_INODE)) == inode)
            return &notes[i];
    return NULL;
}

bool coopdl_socket_cut(int fd)
{
    _Atomic uint64_t *note = note_of(fd);
    if (!note)
        return false;
    uint64_t before = atomic_load(note);
    atomic_compare_exchange_strong(note, &before, before | CUT);
    return true;
}

static bool get_option(int fd, int option, int *value)
{
    socklen_t size = sizeof(*value);
    return coopdl_sys(SYS_getsockopt, fd, SOL_SOCKET, option, value, &size) == 0;
}

/* Whether a duplicate is the socket of the note, and may be hung up. */
static bool may_hang_up(int fd, uint64_t note)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    int type, domain, listening;
    return socket_inode(fd) == (note & INODE) && get_option(fd, SO_TYPE, &type) &&
           type == SOCK_STREAM && get_option(fd, SO_ACCEPTCONN, &listening) && !listening &&
           get_option(fd, SO_DOMAIN, &domain) &&
           (domain == AF_INET || domain == AF_INET6 || (domain == AF_UNIX && !(note & ACCEPTED))) &&
           coopdl_sys(SYS_getpeername, fd, &peer, &size) == 0;
}

/* A response without a length is complete at the end of file, so a TCP connection reports
 * ECONNRESET first.  A caller that ignores that error then finds the end of file, since the socket
 * is shut down as well.  But a reset drops data that is written and not acknowledged, and data that
 * is received and not read: a connection with such data is only shut down, and the first read
 * that finds its end fails in the wrapper (coopdl_end_is_ours).  The kernel may refuse the reset
 * while a thread is inside a call on the socket. */
static bool reset(int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    int domain, unread, unsent;
    return get_option(fd, SO_DOMAIN, &domain) && domain != AF_UNIX &&
           coopdl_sys(SYS_ioctl, fd, FIONREAD, &unread) == 0 && unread == 0 &&
           coopdl_sys(SYS_ioctl, fd, TIOCOUTQ, &unsent) == 0 && unsent == 0 &&
           coopdl_sys(SYS_connect, fd, &nobody, sizeof(nobody)) == 0;
}

bool coopdl_is_others_connection(int fd)
{
    const _Atomic uint64_t *place = note_of(fd);
    int type, domain;
    return (!place || atomic_load(place) & ACCEPTED) && get_option(fd, SO_DOMAIN, &domain) &&
           domain == AF_UNIX && get_option(fd, SO_TYPE, &type) && type != SOCK_DGRAM;
}

bool coopdl_end_is_ours(int fd, bool consumed)
{
    _Atomic uint64_t *place = atomic_load(&ever_shut) ? note_of(fd) : NULL;
    if (!place)
        return false;
    uint64_t note = atomic_load(place);
    return note & SHUT && !(note & ENDED) &&
           (!consumed || atomic_compare_exchange_strong(place, &note, note | ENDED));
}

/* Before the socket is shut down, so that no read finds the end and no note of it. */
static void note_shut(_Atomic uint64_t *place, uint64_t inode)
{
    uint64_t note = atomic_load(place);
    atomic_store(&ever_shut, true);
    while ((note & (INODE | WITHOUT_INODE)) == inode &&
           !atomic_compare_exchange_weak(place, &note, note | SHUT))
        ;
}

static void hang_up(int fd, bool only_cut)
{
    enum { FIRST_DUPLICATE = 64 };
    _Atomic uint64_t *place = note_of(fd);
    uint64_t note = place ? atomic_load(place) : 0;
    if (!note || (only_cut && !(note & CUT)))
        return;
    long duplicate = coopdl_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FIRST_DUPLICATE);
    if (duplicate < 0)
        duplicate = coopdl_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    if (duplicate < 0)
        return;
    if (may_hang_up((int)duplicate, note)) {
        bool gone = reset((int)duplicate);
        if (!gone)
            note_shut(place, note & INODE);
        gone |= coopdl_sys(SYS_shutdown, duplicate, SHUT_RDWR) == 0;
        if (gone) {
            PROBE1(hung_up, fd);
            coopdl_log_hung_up(fd);
        }
    }
    coopdl_sys(SYS_close, duplicate);
}

void coopdl_hang_up(int fd)
{
    hang_up(fd, false);
}

/* The descriptors that an epoll descriptor waits for, from /proc: lines that begin "tfd: ", each
 * with a number. */
bool coopdl_each_of_epoll(int fd, bool (*what)(int, void *), void *argument)
{
    static const char key[] = "tfd:";
    char path[] = "/proc/thread-self/fdinfo/0000000000", text[512];
    char *digit = path + sizeof(path) - 1, *number = path + sizeof("/proc/thread-self/fdinfo/") - 1;
    for (int rest = fd; digit > number; rest /= 10)
        *--digit = (char)('0' + rest % 10);
    while (*digit == '0' && digit[1])
        digit++;
    memmove(number, digit, strlen(digit) + 1);

    long info = coopdl_sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC), size;
    size_t column = 0; /* how much of a line's key has been seen; behind it: its number */
    int target = -1;
    bool any = false;
    while (info >= 0 && (size = coopdl_sys(SYS_read, info, text, sizeof(text))) > 0)
        for (long at = 0; at < size; at++) {
            char c = text[at];
            if (c == '\n') {
                column = 0;
                target = -1;
            } else if (column < sizeof(key) - 1) {
                column = c == key[column] ? column + 1 : sizeof(text);
            } else if (column == sizeof(key) - 1 && c >= '0' && c <= '9') {
                target = (target < 0 ? 0 : target * 10) + (c - '0');
            } else if (column == sizeof(key) - 1 && target >= 0) {
                any |= what(target, argument);
                column = sizeof(text);
            }
        }
    if (info >= 0)
        coopdl_sys(SYS_close, info);
    return any;
}

static bool cut_one(int fd, void *unused)
{
    (void)unused;
    return coopdl_socket_cut(fd);
}

bool coopdl_sockets_of_epoll_cut(int fd)
{
    return atomic_load(&highest) >= 0 && coopdl_each_of_epoll(fd, cut_one, NULL);
}

static bool hang_up_one(int fd, void *unused)
{
    (void)unused;
    hang_up(fd, false);
    return true;
}

void coopdl_hang_up_epoll(int fd)
{
    coopdl_each_of_epoll(fd, hang_up_one, NULL);
}

bool coopdl_hangup_due(struct coopdl_thread *thread)
{
    struct coopdl_entry *owner = coopdl_owner(thread, coopdl_clock());
    if (!owner || (!owner->scope && owner != &thread->borrowed))
        return false;
    /* A call that the trap has cut inside a wrapper is cut there again: both are one cut. */
    if (owner->hung < CUTS_IN_A_SCOPE && owner->hung_at != owner->cuts)
        owner->hung++;
    owner->hung_at = owner->cuts;
    return owner->hung == CUTS_IN_A_SCOPE;
}

void coopdl_hang_up_all(bool first)
{
    atomic_store(&begun, true);
    if (atomic_load(&highest) < 0)
        return;
    long directory =
        coopdl_sys(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char buffer[2048] __attribute__((aligned(8)));
    long size;
    while (directory >= 0 &&
           (size = coopdl_sys(SYS_getdents64, directory, buffer, sizeof(buffer))) > 0)
        for (long at = 0; at < size;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(buffer + at);
            int fd = 0;
            for (const char *c = entry->d_name; *c >= '0' && *c <= '9'; c++)
                fd = fd * 10 + (*c - '0');
            if (*entry->d_name != '.')
                hang_up(fd, first);
            at += entry->d_reclen;
        }
    if (directory >= 0)
        coopdl_sys(SYS_close, directory);
}

bool coopdl_hanging_up(void)
{
    return atomic_load(&begun);
}

void coopdl_hangup_forked(void)
{
    for (int i = atomic_load(&highest); i >= 0; i--)
        atomic_store(&notes[i], 0);
    atomic_store(&highest, -1);
    atomic_store(&begun, false);
}
