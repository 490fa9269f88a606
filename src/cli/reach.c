/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reach.c -- the started processes: who has started which, which are stopped, and
 * which have the library in them, by their maps.
 *
 * A COMMAND may drop the preload on its way (`env -i`, sudo): nothing of it ends
 * by itself at the deadline.  The library is known by the name of its file: in
 * another mount namespace its path is another one.  Maps that may not be read
 * are those of a process with another user's rights, which no preload reaches.
 * One that has the loader in it, but no libc yet, has just been executed: the
 * loader maps preloaded libraries before libc.
 */
#include "reach.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool is_unreached(pid_t pid, const char *library)
{
    char path[64], *line = NULL;
    size_t room = 0;
    bool any = false, reached = false, loader = false, libc = false;
    const char *slash = strrchr(library, '/');
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return errno != ENOENT;
    errno = 0;
    while (!reached && getline(&line, &room, maps) > 0) {
        any = true;
        reached = strstr(line, slash ? slash : library) != NULL;
        loader |= strstr(line, "/ld-") != NULL;
        libc |= strstr(line, "/libc.so") || strstr(line, "/libc-");
    }
    bool refused = errno == EACCES || errno == EPERM;
    free(line);
    fclose(maps);
    return refused || (any && !reached && (libc || !loader));
}

struct relations {
    char state;
    pid_t parent, group;
};

/* Those of a process; false if it is gone. */
static bool relations(pid_t pid, struct relations *of)
{
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool read = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    /* Its name may have blanks and parentheses in it. */
    const char *rest = read ? strrchr(line, ')') : NULL;
    return rest && sscanf(rest, ") %c %d %d", &of->state, &of->parent, &of->group) == 3;
}

pid_t parent_of(pid_t pid)
{
    struct relations of;
    return relations(pid, &of) ? of.parent : getpid();
}

bool is_stopped(pid_t pid)
{
    struct relations of;
    return relations(pid, &of) && of.state == 'T';
}

static bool is_descendant(pid_t pid)
{
    struct relations of;
    while (pid > 1 && pid != getpid()) {
        if (!relations(pid, &of))
            return false;
        pid = of.parent;
    }
    return pid == getpid();
}

/* Calls `found` for each descendant of ours. */
static void each(void (*found)(pid_t pid, const struct relations *of, void *argument),
                 void *argument)
{
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        struct relations of;
        pid_t pid = isdigit((unsigned char)*entry->d_name) ? atoi(entry->d_name) : 0;
        if (pid && pid != getpid() && relations(pid, &of) && is_descendant(pid))
            found(pid, &of, argument);
    }
    if (processes)
        closedir(processes);
}

struct search {
    pid_t child;
    const char *library;
    bool tree;
    void (*found)(pid_t pid, void *argument);
    void *argument;
};

static void if_unreached(pid_t pid, const struct relations *of, void *argument)
{
    const struct search *search = argument;
    if (pid != search->child && of->group == getpgrp() && is_unreached(pid, search->library))
        search->found(pid, search->argument);
}

void each_unreached(pid_t child, const char *library, void (*found)(pid_t pid, void *argument),
                    void *argument)
{
    each(
        if_unreached,
        &(struct search){.child = child, .library = library, .found = found, .argument = argument});
}

static void if_stopped(pid_t pid, const struct relations *of, void *argument)
{
    const struct search *search = argument;
    if (of->state == 'T' && (pid == search->child || of->group == getpgrp()) &&
        !is_unreached(pid, search->library))
        search->found(pid, search->argument);
}

void each_stopped(pid_t child, const char *library, void (*found)(pid_t pid, void *argument),
                  void *argument)
{
    each(if_stopped, &(struct search){
                         .child = child, .library = library, .found = found, .argument = argument});
}

static void if_in_group(pid_t pid, const struct relations *of, void *argument)
{
    const struct search *search = argument;
    if (pid != search->child && of->group == getpgrp())
        search->found(pid, search->argument);
}

void each_other(pid_t child, void (*found)(pid_t pid, void *argument), void *argument)
{
    each(if_in_group, &(struct search){.child = child, .found = found, .argument = argument});
}

static void if_in_session(pid_t pid, const struct relations *of, void *argument)
{
    const struct search *search = argument;
    if (of->state != 'Z' && of->state != 'X' &&
        (pid == search->child || search->tree || getsid(pid) == getsid(0)))
        search->found(pid, search->argument);
}

/* The children of a thread; false where the kernel does not tell them. */
static bool each_child(pid_t pid, const char *thread, void (*found)(pid_t pid, void *argument),
                       void *argument)
{
    char path[300];
    int child;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, thread);
    FILE *file = fopen(path, "re");
    while (file && fscanf(file, "%d", &child) == 1)
        found(child, argument);
    bool told = file != NULL;
    if (file)
        fclose(file);
    return told;
}

/* A process and what it has started, by the children of each of its threads. */
static void descend(pid_t pid, void *argument)
{
    char path[64];
    struct relations of;
    const struct dirent *entry;
    if (pid != getpid() && relations(pid, &of))
        if_in_session(pid, &of, argument);
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    while (threads && (entry = readdir(threads)))
        if (isdigit((unsigned char)*entry->d_name))
            each_child(pid, entry->d_name, descend, argument);
    if (threads)
        closedir(threads);
}

static void nothing(pid_t pid, void *argument)
{
    (void)pid, (void)argument;
}

void each_started(pid_t child, bool tree, void (*found)(pid_t pid, void *argument), void *argument)
{
    struct search search = {.child = child, .tree = tree, .found = found, .argument = argument};
    char self[32];
    snprintf(self, sizeof(self), "%d", (int)getpid());
    /* The quick way, where there is one: a machine has many processes that are not ours. */
    if (each_child(getpid(), self, nothing, NULL))
        descend(getpid(), &search);
    else
        each(if_in_session, &search);
}
