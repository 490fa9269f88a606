/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c -- the system call that a thread of a looked-at process is in, and what it is on.
 *
 * What must hold: the arguments are another process's, and may be anything: pointers among
 * them are followed by the kernel only, and no further than a table of ours is long.
 */
#include "call.h"

#include "descriptor.h"

#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Not in glibc 2.31. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static const struct {
    long number;
    const char *name;
} names[] = {
#define NUMBER(name, call) {SYS_##name, #name},
#include "../preload/calls.def"
};

/* Of several: the first connection to an address of a network, or else the first of all. */
struct choice {
    const struct subject *of;
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
    choice->chosen = add_descriptor(&line, choice->of, fd);
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
    if (n && peek(choice->of, address, fds, n * sizeof(fds[0])))
        for (unsigned long i = 0; i < n; i++)
            consider(choice, fds[i].fd);
}

static void of_select(struct choice *choice, const unsigned long *a)
{
    enum { BITS = 8 * sizeof(unsigned long), LONGS = FD_SETSIZE / BITS };
    unsigned long sets[3][LONGS] = {{0}};
    size_t size = (a[0] < FD_SETSIZE ? a[0] + BITS - 1 : FD_SETSIZE) / BITS * sizeof(long);
    for (int i = 0; i < 3; i++)
        if (a[i + 1] && !peek(choice->of, a[i + 1], sets[i], size))
            return;
    for (int fd = 0; fd < (int)a[0] && fd < FD_SETSIZE; fd++)
        if ((sets[0][fd / BITS] | sets[1][fd / BITS] | sets[2][fd / BITS]) >> (fd % BITS) & 1)
            consider(choice, fd);
}

static void of_epoll(struct choice *choice, int number)
{
    char path[64], line[256];
    int fd;
    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)choice->of->pid, number);
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
static void add_target(struct coopdl_line *line, const struct subject *of, const char *name,
                       const unsigned long *a)
{
    static const char *const nothing[] = {
        "pause", "nanosleep",  "clock_nanosleep", "getrandom",      "open",
        "creat", "openat",     "openat2",         "msgrcv",         "msgsnd",
        "semop", "semtimedop", "rt_sigsuspend",   "rt_sigtimedwait"};
    struct choice choice = {.of = of, .line = line};
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
        add_descriptor(line, of, (int)a[0]);
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

void add_call(struct coopdl_line *line, const struct subject *of, char *text)
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
        add_target(line, of, name, a);
    } else {
        coopdl_add(line, "in system call ");
        coopdl_add_number(line, number);
    }
}
