/* SPDX-License-Identifier: Apache-2.0 */
/*
 * along.c -- a program that knows nothing of the library, for run.py: it may be
 * built with a sanitizer, have other libraries preloaded, or run under a tool.
 *
 *     along REPORT same            does what programs do, and says what it saw
 *     along REPORT wait CALL       waits in CALL for ever, whatever error it gets
 *     along REPORT churn SCOPES    threads that allocate and wait, while scopes expire
 *     along REPORT children        a child that forked, one that is exec'd, both waiting
 *
 * REPORT is a file: stdout and stderr are the tools'.  `wait` and `children` end
 * with ETIMEDOUT alone, after the time in COOPDL_DEADLINE; they say how often
 * they had EINTR before.  `churn` finds the API by name, and says 0 scopes without.
 * With ALONG_DLOPEN set to its path, the library is loaded by dlopen, and `wait`
 * enters a scope until then.
 *
 * Times are the kernel's: what libc says may be somebody else's idea.
 */
#include <arpa/inet.h>
#include <coopdl.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Of an error that the calls below can have; strerrorname_np is not in every glibc (2.32). */
static const char *name_of(int error)
{
    switch (error) {
    case EAGAIN:
        return "EAGAIN";
    case EINTR:
        return "EINTR";
    case ETIMEDOUT:
        return "ETIMEDOUT";
    default:
        return strerror(error);
    }
}

#define MILLISECOND INT64_C(1000000)
#define SECOND (1000 * MILLISECOND)
#define YEAR 31536000 /* seconds */

static FILE *report;
static const char *report_path;
static int empty[2];            /* a pipe that nobody writes to */
static int accepted, connected; /* both ends of a connection over loopback */

static int64_t now(void)
{
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static time_t real_time(void)
{
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &time);
    return time.tv_sec;
}

static void need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(report, "failed: %s: %s\n", what, strerror(errno));
    fflush(report);
    _exit(3);
}

static void open_connection(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    need(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    need(listen(listener, 1) == 0, "listen");
    need(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    connected = socket(AF_INET, SOCK_STREAM, 0);
    need(connect(connected, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    accepted = accept(listener, NULL, NULL);
    need(accepted >= 0, "accept");
    close(listener);
}

/* One attempt to wait for ever, or for a minute: what the call returned, and errno. */
static long attempt(const char *call)
{
    struct pollfd pollfd = {.fd = empty[0], .events = POLLIN};
    struct timespec minute = {.tv_sec = 60};
    char byte;

    if (strcmp(call, "read") == 0)
        return read(empty[0], &byte, 1);
    if (strcmp(call, "recv") == 0)
        return recv(connected, &byte, 1, 0);
    if (strcmp(call, "poll") == 0)
        return poll(&pollfd, 1, -1);
    if (strcmp(call, "poll60") == 0)
        return poll(&pollfd, 1, 60000);
    if (strcmp(call, "select") == 0) {
        struct timeval timeout = {.tv_sec = 60};
        fd_set set;
        FD_ZERO(&set);
        FD_SET(empty[0], &set);
        return select(empty[0] + 1, &set, NULL, NULL, &timeout);
    }
    if (strcmp(call, "nanosleep") == 0)
        return nanosleep(&minute, NULL);
    if (strcmp(call, "clock_nanosleep") == 0) {
        errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, NULL);
        return errno ? -1 : 0;
    }
    if (strcmp(call, "sem_timedwait") == 0) {
        static sem_t semaphore;
        clock_gettime(CLOCK_REALTIME, &minute);
        minute.tv_sec += 60;
        return sem_timedwait(&semaphore, &minute);
    }
    errno = EINVAL;
    return 0;
}

static int until_cut(const char *call, int64_t deadline)
{
    int interrupted = 0;
    int64_t begun = now();

    for (;;) {
        errno = 0;
        long result = attempt(call);
        int error = errno;
        int64_t late = now() - deadline;
        if (result == -1 && error == EINTR && late >= 0) {
            interrupted++;
            continue;
        }
        fprintf(report, "%s: begun %.3f ended %.6f after the deadline, EINTR %d, then %s\n", call,
                (double)(begun - deadline) / 1e9, (double)late / 1e9, interrupted,
                result == -1 ? name_of(error) : "no error");
        fflush(report);
        return result == -1 && error == ETIMEDOUT && late >= 0 ? 0 : 1;
    }
}

static int wait_in(const char *call)
{
    const char *given = getenv("COOPDL_DEADLINE"), *library = getenv("ALONG_DLOPEN");
    int64_t deadline = given ? atoll(given) : 0;

    need(pipe(empty) == 0, "pipe");
    if (strcmp(call, "recv") == 0)
        open_connection();
    if (library) {
        static coopdl_scope scope;
        void *handle = dlopen(library, RTLD_NOW);
        need(handle, "dlopen");
        int (*enter)(coopdl_scope *, int64_t);
        *(void **)&enter = dlsym(handle, "coopdl_enter");
        deadline = now() + 100 * MILLISECOND;
        need(enter && enter(&scope, deadline) == 0, "coopdl_enter");
    }
    return until_cut(call, deadline);
}

/* churn: every thread allocates what it then finds unchanged, waits, and is cut. */

enum { THREADS = 4, BLOCKS = 64 };

static int (*enter)(coopdl_scope *, int64_t);
static int (*leave)(coopdl_scope *);
static int scopes;
static int cuts[THREADS];

static void allocate(unsigned char **blocks, unsigned *random)
{
    for (int i = 0; i < 200; i++) {
        unsigned at = (*random = *random * 1103515245 + 12345) >> 16;
        unsigned char **block = &blocks[at % BLOCKS];
        size_t size = 1 + (at * 37) % 5000;
        if (*block)
            need((*block)[0] == (unsigned char)(block - blocks), "a block has kept its first byte");
        if (at & 1024) {
            free(*block);
            *block = NULL;
        }
        unsigned char *moved = realloc(*block, size);
        need(moved, "realloc");
        *block = moved;
        (*block)[size - 1] = 0;
        (*block)[0] = (unsigned char)(block - blocks);
    }
}

static void *churn(void *given)
{
    int *cut = given;
    unsigned random = (unsigned)(cut - cuts) + 1;
    unsigned char *blocks[BLOCKS] = {NULL};

    for (int i = 0; i < scopes; i++) {
        coopdl_scope scope;
        int64_t deadline = now() + (1 + i % 7) * MILLISECOND / 5;
        struct pollfd pollfd = {.fd = empty[0], .events = POLLIN};
        char byte;
        need(enter(&scope, deadline) == 0, "coopdl_enter");
        /* Half of them are still allocating when the deadline comes. */
        do
            allocate(blocks, &random);
        while (i % 2 && now() < deadline);
        need(read(empty[0], &byte, 1) == -1 && (errno == EINTR || errno == ETIMEDOUT), "read");
        need(now() >= deadline, "nothing is cut before its deadline");
        allocate(blocks, &random);
        need(leave(&scope) == 1, "coopdl_leave");
        need(poll(&pollfd, 1, 1) == 0, "nothing is cut outside a scope");
        ++*cut;
    }
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return NULL;
}

static int churn_all(int count)
{
    pthread_t threads[THREADS];
    int sum = 0;

    need(pipe(empty) == 0, "pipe");
    *(void **)&enter = dlsym(RTLD_DEFAULT, "coopdl_enter");
    *(void **)&leave = dlsym(RTLD_DEFAULT, "coopdl_leave");
    scopes = enter && leave ? count : 0;
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, churn, &cuts[i]) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++) {
        need(pthread_join(threads[i], NULL) == 0, "pthread_join");
        sum += cuts[i];
    }
    fprintf(report, "churn: %d scopes expired\n", sum);
    return 0;
}

static int children(const char *self)
{
    pid_t pids[2];
    int ended = 0, bad = 0;

    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        need(pids[i] >= 0, "fork");
        if (pids[i] == 0 && i == 0)
            _exit(wait_in("poll"));
        if (pids[i] == 0) {
            execl(self, self, report_path, "wait", "read", NULL);
            if (errno == ETIMEDOUT) /* what a budget's end has overtaken is not started */
                fprintf(report, "read: began too late\n");
            fflush(report);
            _exit(127);
        }
    }
    /* Past the deadline it is cut itself, and looks again for those that are about to end. */
    while (ended < 2) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid == -1) {
            need(errno == EINTR || errno == ETIMEDOUT, "waitpid");
            continue;
        }
        bad |= status;
        ended++;
    }
    fprintf(report, "children: %s\n", bad ? "one ended badly" : "both ended");
    return bad != 0;
}

/* same: all that a program could see. */

static volatile sig_atomic_t alarms;

static void on_alarm(int number)
{
    (void)number;
    alarms++;
}

static int entries(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);

    need(directory, path);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void *allocate_only(void *given)
{
    unsigned char *blocks[BLOCKS] = {NULL};
    unsigned random = 1;

    for (int i = 0; i < 20; i++)
        allocate(blocks, &random);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return given;
}

static void tell(const char *what, long result)
{
    fprintf(report, "%s %ld %s\n", what, result, result == -1 ? name_of(errno) : "");
}

static void tell_signals(const char *what, const sigset_t *set)
{
    fprintf(report, "%s:", what);
    for (int i = 1; i <= 64; i++)
        if (sigismember(set, i) == 1)
            fprintf(report, " %d", i);
    fputc('\n', report);
}

/* Whose function the program calls: that shows that the company is there. */
static void tell_whose(const char *name)
{
    Dl_info info;
    void *found = dlsym(RTLD_DEFAULT, name);

    if (found && dladdr(found, &info))
        fprintf(report, "%s of %s\n", name, info.dli_fname);
}

static void tell_handlers(void)
{
    fprintf(report, "handlers:");
    for (int i = 1; i <= 64; i++) {
        struct sigaction action;
        if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            fprintf(report, " %d%s", i, action.sa_handler == SIG_IGN ? " ignored" : "");
    }
    fputc('\n', report);
}

static void tell_waits(void)
{
    struct pollfd pollfd = {.fd = empty[0], .events = POLLIN};
    struct timespec moment = {.tv_nsec = 5 * MILLISECOND}, time;
    struct timeval timeout = {.tv_usec = 5000};
    sem_t semaphore;
    fd_set set;
    char data[8];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};

    tell("poll", poll(&pollfd, 1, 5));
    tell("ppoll", ppoll(&pollfd, 1, &moment, NULL));
    FD_ZERO(&set);
    FD_SET(empty[0], &set);
    tell("select", select(empty[0] + 1, &set, NULL, NULL, &timeout));
    epoll_ctl(epoll, EPOLL_CTL_ADD, empty[0], &event);
    tell("epoll_wait", epoll_wait(epoll, &event, 1, 5));
    close(epoll);
    tell("nanosleep", nanosleep(&moment, NULL));
    tell("usleep", usleep(1000));
    tell("clock_nanosleep", clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL));
    sem_init(&semaphore, 0, 0);
    clock_gettime(CLOCK_REALTIME, &time);
    tell("sem_timedwait", sem_timedwait(&semaphore, &time));
    sem_post(&semaphore);
    tell("sem_wait", sem_wait(&semaphore));
    tell("write", write(empty[1], "hello", 5));
    tell("read", read(empty[0], data, sizeof data));
    tell("send", send(accepted, "hello", 5, 0));
    tell("recv", recv(connected, data, sizeof data, 0));
    tell("recv, nothing there", recv(connected, data, sizeof data, MSG_DONTWAIT));
    tell("read of no descriptor", read(-1, data, 1));
}

static void tell_signal(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {.it_value.tv_usec = 20000};
    char byte;

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    tell("read, until a signal", read(empty[0], &byte, 1));
    fprintf(report, "alarms %d\n", (int)alarms);
}

static int same(void)
{
    sigset_t set;
    pthread_t thread;
    void *result;
    FILE *output;
    char line[64] = "";
    int status;

    need(pipe(empty) == 0, "pipe");
    open_connection();
    tell_whose("malloc");
    tell_whose("fsync");
    tell_whose("bind");
    tell_whose("clock_gettime");
    tell_whose("pthread_create");
    fprintf(report, "years off: %d\n", (int)((time(NULL) - real_time()) / YEAR));
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    tell_signals("mask", &set);
    sigpending(&set);
    tell_signals("pending", &set);
    tell_handlers();
    fprintf(report, "descriptors %d\n", entries("/proc/self/fd"));
    fprintf(report, "threads %d\n", entries("/proc/self/task") - 2);
    tell_waits();
    tell_signal();
    need(pthread_create(&thread, NULL, allocate_only, &set) == 0, "pthread_create");
    pthread_join(thread, &result);
    fprintf(report, "thread %s\n", result == &set ? "joined" : "lost");
    pid_t pid = fork();
    if (pid == 0)
        _exit(allocate_only(&set) ? 7 : 1);
    tell("waitpid", waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1);
    output = popen("echo from a child", "r");
    need(output && fgets(line, sizeof line, output), "popen");
    fprintf(report, "popen %s", line);
    tell("pclose", pclose(output));
    tell("system", system("exit 5"));
    return 0;
}

int main(int count, char **arguments)
{
    bool good = count >= 3 && (report = fopen(report_path = arguments[1], "ae")) != NULL;
    const char *what = good ? arguments[2] : "", *more = count == 4 ? arguments[3] : NULL;
    int status = 2;

    if (good && !more && strcmp(what, "same") == 0)
        status = same();
    else if (good && more && strcmp(what, "wait") == 0)
        status = wait_in(more);
    else if (good && more && strcmp(what, "churn") == 0)
        status = churn_all(atoi(more));
    else if (good && !more && strcmp(what, "children") == 0)
        status = children(arguments[0]);
    else
        fprintf(stderr, "usage: along REPORT same | wait CALL | churn SCOPES | children\n");
    if (good)
        fclose(report);
    return status;
}
