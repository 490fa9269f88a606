/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c -- what deadline a process has and what its threads wait in just now, without
 * stopping it.
 *
 * All of it is asked of the kernel: the deadline is in the environment that the process was
 * started with, the call of each thread in /proc/PID/task/TID/syscall, and what the call is
 * on is told by the descriptor, of which we get a duplicate (pidfd_getfd).  So it needs
 * what a debugger needs: the same user, and no rule of the system against it.
 *
 * Since when a thread waits: the kernel keeps when it has run last, by a clock of the CPU
 * that it ran on (/proc/PID/task/TID/sched).  We have ourselves moved to that CPU, and
 * look at the same of ours.  Where that cannot be had, nothing is said.  Under coopdl
 * --report it is known better, and who has made the call too: that is in the table of the
 * waits (core/waits.h).
 *
 * What must hold: nothing of the process is changed, and none of its threads is stopped.
 * What is seen may have passed by the time that it is printed.
 */
#include "status.h"

#include "../core/line.h"
#include "../core/waits.h"
#include "coopdl.h"
#include "failure.h"
#include "hangup.h" /* SYS_pidfd_getfd */

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2 /* in glibc 2.31 */
#define SYS_epoll_pwait2 441
#endif

static const struct {
    long number;
    const char *name;
} names[] = {
#define NUMBER(name, call) {SYS_##name, #name},
#include "../preload/calls.def"
};

static pid_t process;
static int process_fd = -1;

/* What there is in a file of a process's or a thread's (0: none) in /proc; its length. */
static size_t read_proc(pid_t thread, const char *name, char *text, size_t size)
{
    char path[96];
    size_t length = 0;
    if (thread)
        snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)process, (int)thread, name);
    else
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)process, name);
    FILE *file = fopen(path, "re");
    if (file) {
        length = fread(text, 1, size - 1, file);
        fclose(file);
    }
    text[length] = '\0';
    return length;
}

/* Field `number` of a stat file, from the third on; null if there is none. */
static const char *stat_field(const char *text, int number)
{
    const char *at = strrchr(text, ')');
    for (int field = 3; at && field <= number; field++)
        at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

static int64_t clock_of(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return now.tv_sec * COOPDL_SECOND + now.tv_nsec;
}

/* When the process was started, of CLOCK_MONOTONIC, in steps of the kernel's ticks. */
static int64_t started(void)
{
    char text[1024];
    read_proc(0, "stat", text, sizeof(text));
    const char *field = stat_field(text, 22);
    if (!field)
        return 0;
    int64_t since_boot = strtoll(field, NULL, 10) * (COOPDL_SECOND / sysconf(_SC_CLK_TCK));
    return since_boot - (clock_of(CLOCK_BOOTTIME) - clock_of(CLOCK_MONOTONIC));
}

/* The value of a variable in what the process was started with; null if there is none. */
static const char *variable(const char *environment, size_t length, const char *name)
{
    size_t key = strlen(name);
    for (const char *at = environment; at < environment + length; at += strlen(at) + 1)
        if (strncmp(at, name, key) == 0 && at[key] == '=')
            return at + key + 1;
    return NULL;
}

static char environment[1 << 18]; /* what the process was started with */
static size_t environment_length;

static int64_t deadline(void)
{
    const char *given = variable(environment, environment_length, "COOPDL_DEADLINE");
    const char *budget = variable(environment, environment_length, "COOPDL_BUDGET");
    int64_t ends = given ? strtoll(given, NULL, 10) : COOPDL_NEVER, ns;
    if (budget && !(given && ends == COOPDL_NEVER) && coopdl_duration(budget, &ns) == 0 && ns > 0 &&
        ns != COOPDL_NEVER && started() + ns < ends)
        ends = started() + ns;
    return ends;
}

static bool has_library(void)
{
    char path[64], line[1024];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)process);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof(line), file))
        found = strstr(line, "/libcoopdl.so") != NULL;
    if (file)
        fclose(file);
    return found;
}

static void say_process(void)
{
    char name[64], text[64];
    struct coopdl_line time = {.text = text, .size = sizeof(text)};
    read_proc(0, "comm", name, sizeof(name));
    name[strcspn(name, "\n")] = '\0';
    printf("%s[%d]: ", name, (int)process);
    int64_t ends = deadline(), left = ends - coopdl_now();
    if (ends == COOPDL_NEVER) {
        puts(has_library() ? "no deadline from outside" : "no deadline, and no library");
        return;
    }
    coopdl_add_duration(&time, left < 0 ? -left : left);
    printf(left < 0 ? "deadline passed %s ago" : "deadline in %s", text);
    puts(has_library() ? "" : ", but the library is not in it");
}

/* The table that the process's calls are measured in; null if they are not. */
static const struct coopdl_waits *table(void)
{
    const char *path = variable(environment, environment_length, "COOPDL_MEASURE");
    int fd = path && strncmp(path, "/proc/", 6) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char link[64] = "";
    if (fd < 0 || readlink(path, link, sizeof(link) - 1) < 0 ||
        strncmp(link, "/memfd:" COOPDL_WAITS_FILE, strlen("/memfd:" COOPDL_WAITS_FILE)) != 0 ||
        lseek(fd, 0, SEEK_END) < (off_t)sizeof(struct coopdl_waits))
        return NULL;
    void *map = mmap(NULL, sizeof(struct coopdl_waits), PROT_READ, MAP_SHARED, fd, 0);
    const struct coopdl_waits *waits = map == MAP_FAILED ? NULL : map;
    return waits && waits->version == COOPDL_WAITS_VERSION && waits->size == sizeof(*waits) ? waits
                                                                                            : NULL;
}

/* For how long the thread has been in its call, and who has made it; false if that is not known. */
static bool add_measured(struct coopdl_line *line, const struct coopdl_waits *waits, pid_t thread)
{
    uint64_t owner = (uint64_t)process << 32 | (uint32_t)thread;
    for (int i = 0; waits && i < COOPDL_WAITS_LIVE; i++) {
        const struct coopdl_waits_live *live = &waits->live[i];
        if (atomic_load(&live->owner) != owner)
            continue;
        int64_t begun = (int64_t)atomic_load(&live->begun), now = coopdl_now();
        uint32_t row = atomic_load(&live->row);
        if (!begun || row >= COOPDL_WAITS_ROWS)
            return false;
        char library[sizeof(waits->rows[0].library) + 1] = "";
        memcpy(library, waits->rows[row].library, sizeof(library) - 1);
        for (char *c = library; *c; c++)
            if (iscntrl((unsigned char)*c))
                *c = '?';
        if (*library) {
            coopdl_add(line, " (");
            coopdl_add(line, library);
            coopdl_add(line, ")");
        }
        coopdl_add(line, " for ");
        coopdl_add_duration(line, now > begun ? now - begun : 0);
        return true;
    }
    return false;
}

/* Of another process's memory. */
static bool peek(unsigned long address, void *to, size_t size)
{
    struct iovec here = {to, size}, there = {(void *)(uintptr_t)address, size};
    return process_vm_readv(process, &here, 1, &there, 1, 0) == (ssize_t)size;
}

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

/* What a descriptor stands for; whether it is a connection to an address of a network. */
static bool add_descriptor(struct coopdl_line *line, int number)
{
    char path[64], name[128];
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)process, number);
    ssize_t length = readlink(path, name, sizeof(name) - 1);
    name[length > 0 ? length : 0] = '\0';
    if (strncmp(name, "socket:", 7) == 0) {
        int fd = (int)syscall(SYS_pidfd_getfd, process_fd, number, 0);
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

/* Of several: the first connection to an address of a network, or else the first of all. */
struct choice {
    struct coopdl_line *line;
    size_t before;
    int looked_at;
    bool chosen;
};

static void consider(struct choice *choice, int fd)
{
    enum { MOST = 64 };
    char text[256] = "";
    struct coopdl_line line = {.text = text, .size = sizeof(text)};
    if (fd < 0 || choice->chosen || choice->looked_at++ >= MOST)
        return;
    choice->chosen = add_descriptor(&line, fd);
    if (!choice->chosen && choice->looked_at > 1)
        return;
    choice->line->length = choice->before;
    choice->line->text[choice->before] = '\0';
    coopdl_add(choice->line, text);
}

static void of_poll(struct choice *choice, unsigned long address, unsigned long n)
{
    struct pollfd fds[64];
    if (n > sizeof(fds) / sizeof(fds[0]))
        n = sizeof(fds) / sizeof(fds[0]);
    if (n && peek(address, fds, n * sizeof(fds[0])))
        for (unsigned long i = 0; i < n; i++)
            consider(choice, fds[i].fd);
}

static void of_select(struct choice *choice, const unsigned long *a)
{
    enum { BITS = 8 * sizeof(unsigned long), LONGS = FD_SETSIZE / BITS };
    unsigned long sets[3][LONGS] = {{0}};
    size_t size = (a[0] < FD_SETSIZE ? a[0] + BITS - 1 : FD_SETSIZE) / BITS * sizeof(long);
    for (int i = 0; i < 3; i++)
        if (a[i + 1] && !peek(a[i + 1], sets[i], size))
            return;
    for (int fd = 0; fd < (int)a[0] && fd < FD_SETSIZE; fd++)
        if ((sets[0][fd / BITS] | sets[1][fd / BITS] | sets[2][fd / BITS]) >> (fd % BITS) & 1)
            consider(choice, fd);
}

static void of_epoll(struct choice *choice, int number)
{
    char path[64], line[256];
    int fd;
    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)process, number);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "tfd: %d", &fd) == 1)
            consider(choice, fd);
    if (file)
        fclose(file);
}

static void of_child(struct coopdl_line *line, int pid)
{
    char path[64], command[100];
    if (pid <= 0) {
        coopdl_add(line, "any child");
        return;
    }
    coopdl_add(line, "pid ");
    coopdl_add_number(line, pid);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    FILE *file = fopen(path, "re");
    size_t length = file ? fread(command, 1, sizeof(command), file) : 0;
    if (file)
        fclose(file);
    for (size_t i = 0; i < length; i++) {
        if (i == 0 || !command[i - 1])
            coopdl_add_char(line, ' ');
        if (command[i])
            coopdl_add_char(line, iscntrl((unsigned char)command[i]) ? '?' : command[i]);
    }
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* What a call of this name is on, as far as its arguments tell. */
static void add_target(struct coopdl_line *line, const char *name, const unsigned long *a)
{
    static const char *const nothing[] = {
        "pause",      "nanosleep",     "clock_nanosleep", "getrandom", "open",
        "creat",      "openat",        "msgrcv",          "msgsnd",    "semop",
        "semtimedop", "rt_sigsuspend", "rt_sigtimedwait"};
    struct choice choice = {.line = line};
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
        if (strcmp(name, nothing[i]) == 0)
            return;
    coopdl_add(line, " on ");
    choice.before = line->length;
    if (begins(name, "poll") || begins(name, "ppoll"))
        of_poll(&choice, a[0], a[1]);
    else if (begins(name, "select") || begins(name, "pselect"))
        of_select(&choice, a);
    else if (begins(name, "epoll"))
        of_epoll(&choice, (int)a[0]);
    else if (begins(name, "wait"))
        of_child(line, strcmp(name, "waitid") == 0 ? (int)(a[0] == P_PID ? a[1] : 0) : (int)a[0]);
    else
        add_descriptor(line, (int)a[0]);
    if (line->length == choice.before) /* it is on nothing */
        line->text[line->length = choice.before - strlen(" on ")] = '\0';
}

static const char *name_of(long number)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].number == number)
            return names[i].name;
    return NULL;
}

/* In ms, as the file has it; negative: it is not known. */
static double ran_last(const char *text)
{
    static const char key[] = "se.exec_start";
    const char *at = strstr(text, key);
    const char *value = at ? strchr(at, ':') : NULL;
    return value ? strtod(value + 1, NULL) : -1;
}

/* For how long a thread has not run, in ns; -1 where that is not known. */
static int64_t idle_for(pid_t thread)
{
    char text[4096], own[4096];
    cpu_set_t set, before;
    read_proc(thread, "stat", text, sizeof(text));
    const char *field = stat_field(text, 39);
    if (!field || sched_getaffinity(0, sizeof(before), &before) != 0)
        return -1;
    CPU_ZERO(&set);
    int cpu = atoi(field);
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return -1;
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        return -1;
    sched_yield(); /* so that ours is of now */
    read_proc(thread, "sched", text, sizeof(text));
    FILE *file = fopen("/proc/self/sched", "re");
    own[file ? fread(own, 1, sizeof(own) - 1, file) : 0] = '\0';
    if (file)
        fclose(file);
    sched_setaffinity(0, sizeof(before), &before);
    double then = ran_last(text), now = ran_last(own);
    if (then <= 0 || now <= 0)
        return -1;
    return now > then ? (int64_t)((now - then) * COOPDL_MILLISECOND) : 0;
}

static void add_call(struct coopdl_line *line, char *text)
{
    unsigned long a[6] = {0};
    char *rest = text;
    long number = strtol(text, &rest, 10);
    for (int i = 0; i < 6; i++)
        a[i] = strtoul(rest, &rest, 16);
    const char *name = name_of(number);
    if (number == SYS_futex) {
        coopdl_add(line, "waits for a lock, which no deadline ends");
    } else if (name) {
        coopdl_add(line, "in ");
        coopdl_add(line, name);
        coopdl_add(line, "()");
        add_target(line, name, a);
    } else {
        coopdl_add(line, "in system call ");
        coopdl_add_number(line, number);
    }
}

static void say_thread(pid_t thread, const struct coopdl_waits *waits)
{
    char name[64], text[512], said[400] = "";
    struct coopdl_line line = {.text = said, .size = sizeof(said)};
    read_proc(thread, "stat", text, sizeof(text));
    const char *state = stat_field(text, 3);
    if (!state) /* it has ended */
        return;
    char how = *state;
    read_proc(thread, "comm", name, sizeof(name));
    name[strcspn(name, "\n")] = '\0';
    bool seen = read_proc(thread, "syscall", text, sizeof(text)) > 0;
    bool waits_now = how == 'S' || how == 'D';
    if (how == 'Z' || how == 'X')
        coopdl_add(&line, "has ended");
    else if (how == 'T' || how == 't')
        coopdl_add(&line, "is stopped");
    else if (how == 'R' || begins(text, "running"))
        coopdl_add(&line, "runs");
    else if (seen && isdigit((unsigned char)*text))
        add_call(&line, text);
    else
        coopdl_add(&line, "waits; its call may not be looked at");
    int64_t idle = waits_now && !add_measured(&line, waits, thread) ? idle_for(thread) : -1;
    if (idle >= 0) {
        coopdl_add(&line, ", has not run for ");
        coopdl_add_duration(&line, idle);
    }
    printf("%7d %-15s %s\n", (int)thread, name, said);
}

int status(int count, char **arguments)
{
    char path[64], *end;
    long pid = count == 1 ? strtol(arguments[0], &end, 10) : 0;
    if (count != 1 || !isdigit((unsigned char)arguments[0][0]) || *end || pid <= 0 ||
        pid > INT32_MAX)
        fail("--status takes the id of one process%s%s%s: usage is coopdl --status PID",
             count ? ", not '" : "", count ? arguments[0] : "", count ? "'" : "");
    coopdl_outlive();
    process = (pid_t)pid;
    snprintf(path, sizeof(path), "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    const struct dirent *entry;
    if (!threads)
        fail("no process %ld: %s", pid, strerror(errno));
    process_fd = (int)syscall(SYS_pidfd_open, process, 0);
    environment_length = read_proc(0, "environ", environment, sizeof(environment));
    const struct coopdl_waits *waits = table();
    say_process();
    while ((entry = readdir(threads)))
        if (isdigit((unsigned char)entry->d_name[0]))
            say_thread((pid_t)atoi(entry->d_name), waits);
    closedir(threads);
    if (fflush(stdout) == EOF || ferror(stdout))
        fail("cannot write to standard output: %s", strerror(errno));
    return EXIT_SUCCESS;
}
