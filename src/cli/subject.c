/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subject.c -- a process that is looked at from outside.
 *
 * Since when a thread waits: the kernel keeps when it has run last, by a clock of the CPU
 * that it ran on (/proc/PID/task/TID/sched).  We have ourselves moved to that CPU, and
 * look at the same of ours.  Where that cannot be had, nothing is said.
 *
 * What must hold: nothing of the process is changed, and none of its threads is stopped.
 */
#include "subject.h"

#include "hangup.h" /* SYS_pidfd_getfd */

#include "coopdl.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

size_t read_proc(const struct subject *of, pid_t thread, const char *name, char *text, size_t size)
{
    char path[96];
    size_t length = 0;
    if (thread)
        snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)of->pid, (int)thread, name);
    else
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)of->pid, name);
    FILE *file = fopen(path, "re");
    if (file) {
        length = fread(text, 1, size - 1, file);
        fclose(file);
    }
    text[length] = '\0';
    return length;
}

void name_of_thread(const struct subject *of, pid_t thread, char *name, size_t size)
{
    read_proc(of, thread, "comm", name, size);
    name[strcspn(name, "\n")] = '\0';
    for (char *c = name; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
}

const char *stat_field(const char *text, int number)
{
    const char *at = strrchr(text, ')');
    for (int field = 3; at && field <= number; field++)
        at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

bool peek(const struct subject *of, unsigned long address, void *to, size_t size)
{
    struct iovec here = {to, size}, there = {(void *)(uintptr_t)address, size};
    return process_vm_readv(of->pid, &here, 1, &there, 1, 0) == (ssize_t)size;
}

int duplicate_descriptor(const struct subject *of, int number)
{
    return (int)syscall(SYS_pidfd_getfd, of->fd, number, 0);
}

static int64_t clock_of(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return now.tv_sec * COOPDL_SECOND + now.tv_nsec;
}

int64_t started(const struct subject *of)
{
    char text[1024];
    read_proc(of, 0, "stat", text, sizeof(text));
    const char *field = stat_field(text, 22);
    if (!field)
        return 0;
    int64_t since_boot = strtoll(field, NULL, 10) * (COOPDL_SECOND / sysconf(_SC_CLK_TCK));
    return since_boot - (clock_of(CLOCK_BOOTTIME) - clock_of(CLOCK_MONOTONIC));
}

/* In ms, as the file has it; negative: it is not known. */
static double ran_last(const char *text)
{
    static const char key[] = "se.exec_start";
    const char *at = strstr(text, key);
    const char *value = at ? strchr(at, ':') : NULL;
    return value ? strtod(value + 1, NULL) : -1;
}

int64_t idle_for(const struct subject *of, pid_t thread)
{
    char text[4096], own[4096];
    cpu_set_t set, before;
    read_proc(of, thread, "stat", text, sizeof(text));
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
    read_proc(of, thread, "sched", text, sizeof(text));
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
