/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sizes.c -- times and offsets arrive whole, in both directions, whatever
 * their size: before a far deadline, and after expiry where nothing waits.
 */
#include "alarm.h"
#include "emulator.h"
#include "names.h"
#include "support.h"

#include <aio.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>

TestSuite(sizes, .timeout = 60);

/* The last but one offset that 32 bits have room for, or one that they have none for. */
static const off_t far_out = sizeof(off_t) == 8 ? (off_t)(INT64_C(5) << 30) : INT32_MAX - 20;

static char text[16];
static struct iovec iov = {.iov_base = text, .iov_len = 1};

/* A file that is as large as any system call can tell, whatever off_t can. */
static int large_file(void)
{
    char path[] = "/tmp/coopdl-test-size-XXXXXX";
    int made = mkstemp(path), fd = open(path, O_RDWR | O_LARGEFILE);
    cr_assert(made >= 0 && fd >= 0);
    unlink(path);
    close(made);
    return fd;
}

/* In a scope that is far away, or has expired. */
static void enter(coopdl_scope *scope, bool expired)
{
    coopdl_enter(scope, expired ? 0 : coopdl_after(3600 * COOPDL_SECOND));
    if (expired)
        await_expiry(scope);
}

static bool is(char wanted)
{
    char got = text[0];
    text[0] = 0;
    return got == wanted;
}

Test(sizes, offsets)
{
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        int fd = large_file();
        enter(&scope, expired);
        expect(pwrite(fd, "a", 1, far_out) == 1);
        text[0] = 'b';
        expect(pwritev(fd, &iov, 1, far_out + 1) == 1);
        expect(lseek(fd, 0, SEEK_END) == far_out + 2);
        expect(pread(fd, text, 1, far_out) == 1 && is('a'));
        expect(preadv(fd, &iov, 1, far_out + 1) == 1 && is('b'));
        expect(pread(fd, text, 1, 5) == 1 && is(0));
        coopdl_leave(&scope);
        close(fd);
    }
}

Test(sizes, offsets_beside_flags)
{
    SKIP_IF_EMULATED("has no preadv2 and pwritev2");
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        int fd = large_file();
        enter(&scope, expired);
        text[0] = 'c';
        expect(pwritev2(fd, &iov, 1, far_out + 2, 0) == 1);
        expect(lseek(fd, 0, SEEK_END) == far_out + 3);
        text[0] = 0;
        expect(preadv2(fd, &iov, 1, far_out + 2, 0) == 1 && is('c'));
        coopdl_leave(&scope);
        close(fd);
    }
}

/* Two registers where one has 32 bits, for either size of off_t. */
#ifdef __LP64__
#define SPLIT(offset) (offset), 0L
#else
#define SPLIT(offset) (long)(offset), (long)((offset) >> 32)
#endif

Test(sizes, offsets_of_system_calls)
{
    const int64_t far = INT64_C(5) << 30;
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        int fd = large_file();
        enter(&scope, expired);
        expect(syscall(SYS_pwrite64, fd, "a", 1L, SPLIT(far)) == 1);
        text[0] = 'b';
        expect(syscall(SYS_pwritev, fd, &iov, 1L, SPLIT(far + 1)) == 1);
        expect(syscall(SYS_pread64, fd, text, 1L, SPLIT(far)) == 1 && is('a'));
        expect(syscall(SYS_preadv, fd, &iov, 1L, SPLIT(far + 1)) == 1 && is('b'));
        coopdl_leave(&scope);
        struct stat64 status;
        cr_expect(fstat64(fd, &status) == 0 && status.st_size == far + 2);
        close(fd);
    }
}

Test(sizes, offsets_of_system_calls_beside_flags)
{
    const int64_t far = INT64_C(5) << 30;
    SKIP_IF_EMULATED("has no preadv2 and pwritev2");
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        int fd = large_file();
        enter(&scope, expired);
        text[0] = 'c';
        expect(syscall(SYS_pwritev2, fd, &iov, 1L, SPLIT(far + 2), 0L) == 1);
        text[0] = 0;
        expect(syscall(SYS_preadv2, fd, &iov, 1L, SPLIT(far + 2), 0L) == 1 && is('c'));
        coopdl_leave(&scope);
        struct stat64 status;
        cr_expect(fstat64(fd, &status) == 0 && status.st_size == far + 3);
        close(fd);
    }
}

Test(sizes, offsets_written_back)
{
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        int fd = large_file(), ends[2];
        cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        cr_assert(pwrite(fd, "abc", 3, far_out) == 3);
        struct {
            off_t offset, after;
        } from = {far_out + 1, 1234};
        enter(&scope, expired);
        expect(sendfile(ends[0], fd, &from.offset, 10) == 2);
        expect(from.offset == far_out + 3 && from.after == 1234);
        expect(recv(ends[1], text, 10, 0) == 2 && is('b'));
        coopdl_leave(&scope);
        close(fd);
    }
}

Test(sizes, ranges_of_locks)
{
    /* The lock lies where it was asked for: another open file finds it there and nowhere else. */
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        char path[32];
        int fd = large_file();
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int other = open(path, O_RDWR | O_LARGEFILE);
        struct flock lock = {.l_type = F_WRLCK, .l_start = far_out, .l_len = 1}, found = lock;
        cr_assert(lseek(fd, far_out + 5, SEEK_SET) == far_out + 5);
        enter(&scope, expired);
        expect(fcntl(fd, F_OFD_SETLKW, &lock) == 0);
        expect(fcntl(other, F_OFD_GETLK, &found) == 0 && found.l_type == F_WRLCK);
        expect(found.l_start == far_out && found.l_len == 1);
        found = (struct flock){.l_type = F_WRLCK, .l_len = 1};
        expect(fcntl(other, F_OFD_GETLK, &found) == 0 && found.l_type == F_UNLCK);
        lock.l_start = far_out + 1;
        expect(fcntl(fd, F_SETLKW, &lock) == 0);
        expect(lockf(fd, F_LOCK, 1) == 0);
        found = (struct flock){.l_type = F_WRLCK, .l_start = far_out + 2, .l_len = 9};
        expect(fcntl(other, F_OFD_GETLK, &found) == 0 && found.l_start == far_out + 5);
        coopdl_leave(&scope);
        close(other);
        close(fd);
    }
}

/* Whatever the size that this program has: each name has its own. */
static const struct {
    const char *name;
    bool at;
} openers[] = {{"open", false},       {"__open", false},    {"__open_2", false},
               {"open64", false},     {"__open64", false},  {"__open64_2", false},
               {"openat", true},      {"__openat_2", true}, {"openat64", true},
               {"__openat64_2", true}};

static int open_by(const char *name, bool at, const char *path)
{
    int fd;
    if (at) {
        int (*open_at)(int, const char *, int);
        *(void **)&open_at = dlsym(RTLD_DEFAULT, name);
        fd = open_at(AT_FDCWD, path, O_RDONLY);
    } else {
        int (*open_path)(const char *, int);
        *(void **)&open_path = dlsym(RTLD_DEFAULT, name);
        fd = open_path(path, O_RDONLY);
    }
    int error = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

Test(sizes, large_files_open_by_the_names_for_them)
{
    char path[32];
    int fd = large_file();
    cr_assert(syscall(SYS_pwrite64, fd, "a", 1L, SPLIT(INT64_C(5) << 30)) == 1);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    for (int expired = 0; expired < 2; expired++)
        for (size_t i = 0; i < sizeof(openers) / sizeof(openers[0]); i++) {
            coopdl_scope scope;
            bool can = sizeof(long) == 8 || strstr(openers[i].name, "64");
            if (!is_here(openers[i].name) && sizeof(long) == 8)
                continue;
            enter(&scope, expired);
            int error = open_by(openers[i].name, openers[i].at, path);
            expect(error == (can ? 0 : EOVERFLOW), "%s, expired %d: %s", openers[i].name, expired,
                   strerror(error));
            coopdl_leave(&scope);
        }
    close(fd);
}

/* `call` is ended by the program's own signal.  It is tried again, as it may begin long after the
 * alarm was set, and then waits for less than it is expected to. */
#define INTERRUPTED(call)                                                                          \
    do {                                                                                           \
        bool holds_ = false;                                                                       \
        for (int tries_ = 0; tries_ < 10 && !holds_; tries_++) {                                   \
            set_alarm(20000);                                                                      \
            holds_ = (call);                                                                       \
            stop_alarm();                                                                          \
        }                                                                                          \
        expect(holds_, #call);                                                                     \
    } while (0)

static bool is_rest_of_10_s(const struct timespec *rest)
{
    return rest->tv_sec == 9 && rest->tv_nsec > 0 && rest->tv_nsec < 985 * MS;
}

/* glibc hands on what the kernel writes back. */
static bool is_left_of_10_s(const struct timeval *left)
{
#ifdef __GLIBC__
    return left->tv_sec == 9 && left->tv_usec > 0 && left->tv_usec < 985000;
#else
    return left->tv_sec == 10 && left->tv_usec == 0;
#endif
}

Test(sizes, rests)
{
    coopdl_scope scope;
    struct timespec wanted = {.tv_sec = 10}, rest = {0};
    enter(&scope, false);
    INTERRUPTED(nanosleep(&wanted, &rest) == -1 && errno == EINTR && is_rest_of_10_s(&rest));
    rest = (struct timespec){0};
    INTERRUPTED(clock_nanosleep(CLOCK_BOOTTIME, 0, &wanted, &rest) == EINTR &&
                is_rest_of_10_s(&rest));
    rest = (struct timespec){0};
    INTERRUPTED(thrd_sleep(&wanted, &rest) == -1 && is_rest_of_10_s(&rest));
    coopdl_leave(&scope);
}

Test(sizes, what_is_left_of_a_timeout)
{
    /* Linux writes it back, for select and recvmmsg. */
    coopdl_scope scope;
    struct timeval timeout;
    SKIP_IF_EMULATED("does not");
    enter(&scope, false);
    INTERRUPTED((timeout = (struct timeval){.tv_sec = 10},
                 select(0, NULL, NULL, NULL, &timeout) == -1 && errno == EINTR &&
                     is_left_of_10_s(&timeout)));
    coopdl_leave(&scope);

    for (int expired = 0; expired < 2; expired++) {
        int ends[2];
        struct timespec patience = {.tv_sec = 10};
        struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}},
                                      {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}}};
        cr_assert(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
        cr_assert(send(ends[1], "a", 1, 0) == 1 && send(ends[1], "b", 1, 0) == 1);
        enter(&scope, expired);
        expect(recvmmsg(ends[0], messages, 2, 0, &patience) == 2 && is('b'));
        expect(messages[0].msg_len == 1 && messages[1].msg_len == 1);
        expect(patience.tv_sec == 9 && patience.tv_nsec > 0, "%lld.%09ld",
               (long long)patience.tv_sec, (long)patience.tv_nsec);
        coopdl_leave(&scope);
    }
}

/* A child that has burnt 30 ms, and has ended. */
static pid_t spent_child(void)
{
    siginfo_t info;
    pid_t child = fork();
    if (child == 0) {
        struct timespec spent;
        do
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
        while (!spent.tv_sec && spent.tv_nsec < 30 * MS);
        _exit(7);
    }
    cr_assert(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    return child;
}

static bool is_spent(const struct rusage *usage, const char *after)
{
    int64_t us = (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * INT64_C(1000000) +
                 usage->ru_utime.tv_usec + usage->ru_stime.tv_usec;
    return us >= 25000 && us < 10000000 && usage->ru_maxrss > 0 && *after == 'x';
}

Test(sizes, usage_of_a_child)
{
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        int status = 0;
        struct {
            struct rusage usage;
            char after;
        } w = {.after = 'x'};
        pid_t child = spent_child();
        enter(&scope, expired);
        expect(wait4(child, &status, 0, &w.usage) == child && WEXITSTATUS(status) == 7);
        expect(is_spent(&w.usage, &w.after), "wait4, expired %d", expired);
        coopdl_leave(&scope);
        memset(&w.usage, 0, sizeof(w.usage));
        child = spent_child();
        enter(&scope, expired);
        expect(wait3(&status, 0, &w.usage) == child && WEXITSTATUS(status) == 7);
        expect(is_spent(&w.usage, &w.after), "wait3, expired %d", expired);
        coopdl_leave(&scope);
    }
}

/* 20 ms, from now or by a clock. */
static const struct timespec moment = {.tv_nsec = 20 * MS};

static struct timespec in_a_moment(clockid_t clock)
{
    struct timespec until;
    clock_gettime(clock, &until);
    until.tv_nsec += moment.tv_nsec;
    if (until.tv_nsec >= COOPDL_SECOND) {
        until.tv_sec++;
        until.tv_nsec -= COOPDL_SECOND;
    }
    return until;
}

/* `call` ends by its own time-out after a moment.  Clocks other than the deadlines' may run a
 * little faster. */
#define TAKES_A_MOMENT(call)                                                                       \
    do {                                                                                           \
        int64_t begun_ = coopdl_now();                                                             \
        expect(call);                                                                              \
        assert_on_time(begun_ + 19 * MS, #call);                                                   \
    } while (0)

/* The same, `until` a moment on `clock`. */
#define TAKES_UNTIL_A_MOMENT(clock, call) TAKES_A_MOMENT((until = in_a_moment(clock), (call)))

Test(sizes, timeouts_that_are_relative)
{
    coopdl_scope scope;
    sigset_t set;
    struct pollfd pollfd = {.fd = silent_pipe(), .events = POLLIN};
    struct timeval moment_us = {.tv_usec = 20000};
    struct epoll_event event;
    struct sembuf down = {.sem_op = -1};
    int epoll = epoll_create1(0), semaphores = semget(IPC_PRIVATE, 1, 0600);
    struct aiocb aio = {.aio_fildes = pollfd.fd, .aio_buf = text, .aio_nbytes = 1};
    const struct aiocb *list[] = {&aio};
    cr_assert(aio_read(&aio) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    enter(&scope, false);
    TAKES_A_MOMENT(ppoll(&pollfd, 1, &moment, NULL) == 0);
    TAKES_A_MOMENT(select(0, NULL, NULL, NULL, &moment_us) == 0);
    TAKES_A_MOMENT(pselect(0, NULL, NULL, NULL, &moment, NULL) == 0);
    if (!EMULATED)
        TAKES_A_MOMENT(epoll_pwait2(epoll, &event, 1, &moment, NULL) == 0);
    TAKES_A_MOMENT(nanosleep(&moment, NULL) == 0);
    TAKES_A_MOMENT(clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL) == 0);
    TAKES_A_MOMENT(thrd_sleep(&moment, NULL) == 0);
    TAKES_A_MOMENT(sigtimedwait(&set, NULL, &moment) == -1 && errno == EAGAIN);
    TAKES_A_MOMENT(semtimedop(semaphores, &down, 1, &moment) == -1 && errno == EAGAIN);
    TAKES_A_MOMENT(aio_suspend(list, 1, &moment) == -1 && errno == EAGAIN);
    coopdl_leave(&scope);
    semctl(semaphores, 0, IPC_RMID);
}

Test(sizes, timeouts_that_are_absolute)
{
    coopdl_scope scope;
    char name[64];
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 10};
    struct timespec until;
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    snprintf(name, sizeof(name), "/coopdl-test-%d", (int)getpid());
    mqd_t mq = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    mq_unlink(name);
    enter(&scope, false);
    TAKES_UNTIL_A_MOMENT(CLOCK_MONOTONIC,
                         clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
    TAKES_UNTIL_A_MOMENT(CLOCK_REALTIME,
                         sem_timedwait(&semaphore, &until) == -1 && errno == ETIMEDOUT);
#ifdef __GLIBC__
    TAKES_UNTIL_A_MOMENT(CLOCK_MONOTONIC,
                         sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until) == -1 &&
                             errno == ETIMEDOUT);
#endif
    TAKES_UNTIL_A_MOMENT(CLOCK_REALTIME,
                         mq_timedreceive(mq, text, 10, NULL, &until) == -1 && errno == ETIMEDOUT);
    expect(mq_send(mq, "x", 1, 0) == 0);
    TAKES_UNTIL_A_MOMENT(CLOCK_REALTIME,
                         mq_timedsend(mq, "y", 1, 0, &until) == -1 && errno == ETIMEDOUT);
    coopdl_leave(&scope);
    mq_close(mq);
}

Test(sizes, a_deadline_beyond_any_timespec_of_32_bits)
{
    coopdl_scope scope;
    struct pollfd pollfd = {.fd = silent_pipe(), .events = POLLIN};
    struct epoll_event event;
    struct timespec longest = {.tv_sec = INT32_MAX}, rest = {0};
    int epoll = epoll_create1(0);
    coopdl_enter(&scope, INT64_MAX / 2);
    INTERRUPTED(ppoll(&pollfd, 1, NULL, NULL) == -1 && errno == EINTR);
    if (!EMULATED)
        INTERRUPTED(epoll_pwait2(epoll, &event, 1, NULL, NULL) == -1 && errno == EINTR);
    INTERRUPTED(nanosleep(&longest, &rest) == -1 && errno == EINTR && rest.tv_sec == INT32_MAX - 1);
    INTERRUPTED(sleep(UINT_MAX) >= INT32_MAX - 1);
    coopdl_leave(&scope);
}

#if defined(__LP64__) || defined(COOPDL_WIDE) /* the other size has no room for them */
Test(sizes, times_after_2038_are_cut_in_time)
{
    coopdl_scope scope;
    struct timespec later = {.tv_sec = (time_t)(INT64_C(1) << 33)};
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    for (int i = 0; i < 3; i++) {
        int64_t deadline = coopdl_after(20 * MS);
        coopdl_enter(&scope, deadline);
        expect(i > 0 || ppoll(NULL, 0, &later, NULL) == -1);
        expect(i != 1 || clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &later, NULL) == EINTR);
        expect(i < 2 || sem_timedwait(&semaphore, &later) == -1);
        assert_on_time(deadline, "a wait until 2242");
        coopdl_leave(&scope);
    }
}
#endif
