/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_stacks.c -- the stacks that a runtime has of itself, as its module writes them.
 *
 * The modules for Python and Ruby have a file without a name open, which has the process's
 * id in its title.  It is found among the descriptors of the process; so nothing is mixed up
 * that several write at once.  What a child has from its parent has another id, and is not
 * taken.  Ruby writes to it at the time that COOPDL_STACKS says; Python when it gets the signal
 * whose number is in the title too.
 *
 * What must hold: what is in the file may be anything, and as long as it likes: what is no
 * text is left out, and so is what goes on for ever.  No signal is sent to a process that has no
 * handler for it, as to one that has just set all of them back.
 *
 * Interleavings: it is written to while it is read.  It is read once it has not grown for
 * a while.
 */
#include "own_stacks.h"

#include "coopdl.h"
#include "failure.h"
#include "subject.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FILES = 16, LONGEST = 1 << 16 };

/* How long a file has not grown that is taken for whole, and how long that is waited for. */
#define QUIET (5 * COOPDL_MILLISECOND)
#define PATIENCE (100 * COOPDL_MILLISECOND)

static struct {
    int fd;
    pid_t pid;
    const char *runtime;
    char name[32];
} files[MOST_FILES];

static int count;

/* Whose title it is; null: nobody's.  `number` is that of the signal; 0: none is wanted. */
static const char *runtime_of(const char *link, pid_t pid, int *number)
{
    static const char *const runtimes[] = {"Python", "Ruby"};
    for (size_t i = 0; i < sizeof(runtimes) / sizeof(runtimes[0]); i++) {
        char title[64];
        snprintf(title, sizeof(title), "/memfd:coopdl-stacks-%s-%d", runtimes[i], (int)pid);
        const char *rest = link + strlen(title);
        if (strncmp(link, title, strlen(title)) != 0 || (*rest != ' ' && *rest != '-'))
            continue;
        *number = *rest == '-' ? atoi(rest + 1) : 0;
        return runtimes[i];
    }
    return NULL;
}

static bool has_handler(const struct subject *of, int number)
{
    char text[4096];
    read_proc(of, 0, "status", text, sizeof(text));
    const char *caught = strstr(text, "\nSigCgt:");
    return caught && number > 0 && number <= 64 &&
           strtoull(caught + strlen("\nSigCgt:"), NULL, 16) >> (number - 1) & 1;
}

static void open_file(pid_t pid, const char *path, const char *runtime, int number)
{
    struct subject of = {.pid = pid, .fd = -1};
    int fd = count < MOST_FILES ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    files[count].fd = fd;
    files[count].pid = pid;
    files[count].runtime = runtime;
    name_of_thread(&of, 0, files[count].name, sizeof(files[count].name));
    count++;
    if (number && has_handler(&of, number))
        kill(pid, number);
}

void own_stacks_open(pid_t pid)
{
    char path[300], link[128];
    const struct dirent *entry;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *descriptors = opendir(path);
    while (descriptors && (entry = readdir(descriptors))) {
        ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, link, sizeof(link) - 1);
        link[length > 0 ? length : 0] = '\0';
        int number = 0;
        const char *runtime = runtime_of(link, pid, &number);
        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
        if (runtime)
            open_file(pid, path, runtime, number);
    }
    if (descriptors)
        closedir(descriptors);
}

static off_t size_of(int fd)
{
    struct stat file;
    return fstat(fd, &file) == 0 ? file.st_size : 0;
}

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = COOPDL_MILLISECOND}, NULL);
}

void own_stacks_await(int64_t until)
{
    for (int i = 0; i < count; i++)
        while (!size_of(files[i].fd) && coopdl_now() < until)
            rest();
}

static void await_whole(int fd)
{
    int64_t began = coopdl_now(), grew = began;
    off_t size = 0;
    for (int64_t now = began; now < began + PATIENCE && (!size || now < grew + QUIET);
         now = coopdl_now()) {
        off_t more = size_of(fd);
        if (more != size)
            grew = now;
        size = more;
        rest();
    }
}

static void print_file(int i)
{
    static char text[LONGEST];
    ssize_t length = pread(files[i].fd, text, sizeof(text) - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c) && *c != '\n' && *c != '\t')
            *c = '?';
    if (!*text) {
        say("%s in %s[%d] has not written its stacks", files[i].runtime, files[i].name,
            (int)files[i].pid);
        return;
    }
    fprintf(stderr, "%s: stacks of %s[%d], as %s has them:\n%s%s%s", program_invocation_short_name,
            files[i].name, (int)files[i].pid, files[i].runtime, text,
            text[strlen(text) - 1] == '\n' ? "" : "\n",
            size_of(files[i].fd) >= LONGEST ? "... (the rest is left out)\n" : "");
}

void own_stacks_print(void)
{
    for (int i = 0; i < count; i++) {
        await_whole(files[i].fd);
        print_file(i);
        close(files[i].fd);
    }
    count = 0;
}
