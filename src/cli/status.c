/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c -- what deadline a process has and what its threads wait in just now, without
 * stopping it.
 *
 * All of it is asked of the kernel (subject.c): the deadline is in the environment that the
 * process was started with, the call of each thread in /proc/PID/task/TID/syscall.  So it
 * needs what a debugger needs: the same user, and no rule of the system against it.
 *
 * Under coopdl --report it is known better for how long a call has waited, and who has made
 * it too: that is in the table of the waits (core/waits.h).
 *
 * What must hold: nothing of the process is changed, and none of its threads is stopped.
 * What is seen may have passed by the time that it is printed.
 */
#include "status.h"

#include "../core/line.h"
#include "../core/waits.h"
#include "call.h"
#include "coopdl.h"
#include "failure.h"
#include "subject.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static int64_t deadline(const struct subject *of)
{
    const char *given = variable(environment, environment_length, "COOPDL_DEADLINE");
    const char *budget = variable(environment, environment_length, "COOPDL_BUDGET");
    int64_t ends = given ? strtoll(given, NULL, 10) : COOPDL_NEVER, ns;
    if (budget && !(given && ends == COOPDL_NEVER) && coopdl_duration(budget, &ns) == 0 && ns > 0 &&
        ns != COOPDL_NEVER && started(of) + ns < ends)
        ends = started(of) + ns;
    return ends;
}

static bool has_library(const struct subject *of)
{
    char path[64], line[1024];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)of->pid);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof(line), file))
        found = strstr(line, "/libcoopdl.so") != NULL;
    if (file)
        fclose(file);
    return found;
}

static void say_process(const struct subject *of)
{
    char name[64], text[64];
    struct coopdl_line time = {.text = text, .size = sizeof(text)};
    name_of_thread(of, 0, name, sizeof(name));
    printf("%s[%d]: ", name, (int)of->pid);
    int64_t ends = deadline(of), left = ends - coopdl_now();
    if (ends == COOPDL_NEVER) {
        puts(has_library(of) ? "no deadline from outside" : "no deadline, and no library");
        return;
    }
    coopdl_add_duration(&time, left < 0 ? -left : left);
    printf(left < 0 ? "deadline passed %s ago" : "deadline in %s", text);
    puts(has_library(of) ? "" : ", but the library is not in it");
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
static bool add_measured(struct coopdl_line *line, const struct coopdl_waits *waits, pid_t process,
                         pid_t thread)
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

static void say_thread(const struct subject *of, pid_t thread, const struct coopdl_waits *waits)
{
    char name[64], text[512], said[400] = "";
    struct coopdl_line line = {.text = said, .size = sizeof(said)};
    read_proc(of, thread, "stat", text, sizeof(text));
    const char *state = stat_field(text, 3);
    if (!state) /* it has ended */
        return;
    char how = *state;
    name_of_thread(of, thread, name, sizeof(name));
    bool seen = read_proc(of, thread, "syscall", text, sizeof(text)) > 0;
    bool waits_now = how == 'S' || how == 'D';
    if (how == 'Z' || how == 'X')
        coopdl_add(&line, "has ended");
    else if (how == 'T' || how == 't')
        coopdl_add(&line, "is stopped");
    else if (how == 'R' || strncmp(text, "running", 7) == 0)
        coopdl_add(&line, "runs");
    else if (seen && isdigit((unsigned char)*text))
        add_call(&line, of, text);
    else
        coopdl_add(&line, "waits; its call may not be looked at");
    int64_t idle =
        waits_now && !add_measured(&line, waits, of->pid, thread) ? idle_for(of, thread) : -1;
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
    struct subject of = {.pid = (pid_t)pid, .fd = (int)syscall(SYS_pidfd_open, pid, 0)};
    snprintf(path, sizeof(path), "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    const struct dirent *entry;
    if (!threads)
        fail("no process %ld: %s", pid, strerror(errno));
    environment_length = read_proc(&of, 0, "environ", environment, sizeof(environment));
    const struct coopdl_waits *waits = table();
    say_process(&of);
    while ((entry = readdir(threads)))
        if (isdigit((unsigned char)entry->d_name[0]))
            say_thread(&of, (pid_t)atoi(entry->d_name), waits);
    closedir(threads);
    if (fflush(stdout) == EOF || ferror(stdout))
        fail("cannot write to standard output: %s", strerror(errno));
    return EXIT_SUCCESS;
}
