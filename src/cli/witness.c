/* SPDX-License-Identifier: Apache-2.0 */
/*
 * witness.c -- what was stuck when the deadline passed.
 *
 * The library in each process appends one line about the first call that the deadline
 * has ended there (core/evidence.c) to a file without a name, which it finds among our
 * descriptors in /proc.  A process of another user's, or in another name space, does
 * not find it, and is not heard of.
 *
 * A process that has told nothing, and has not ended in its grace, is in what nothing
 * interrupts: it computes, or waits for a lock.  That is looked up in /proc.
 *
 * What must hold: three lines at the most, whatever is told.  Another process can
 * write to the file only if it may read our descriptors.  What is not text is left out.
 */
#include "witness.h"

#include "coopdl.h"
#include "failure.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_LINES = 3, LONGEST = 512 };

static int witness = -1;
static int lines;
static off_t heard; /* up to where it has been read */

int witness_open(void)
{
    witness = (int)syscall(SYS_memfd_create, "coopdl", MFD_CLOEXEC);
    return witness;
}

static void tell(int64_t length, const char *text)
{
    if (lines == MOST_LINES)
        return;
    lines++;
    if (length == COOPDL_NEVER)
        say("deadline passed: %s", text);
    else
        say("%.10g s deadline passed: %s", (double)length / COOPDL_SECOND, text);
}

/* The next whole line; false if there is none. */
static bool next_line(char text[LONGEST])
{
    ssize_t size = witness < 0 ? 0 : pread(witness, text, LONGEST - 1, heard);
    text[size > 0 ? size : 0] = '\0';
    char *end = strchr(text, '\n');
    if (!end)
        return false;
    *end = '\0';
    heard += end + 1 - text;
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
    return true;
}

void witness_say(int64_t length)
{
    char text[LONGEST];
    while (next_line(text))
        tell(length, text);
}

static bool has_told(pid_t pid)
{
    char text[LONGEST], name[32];
    off_t before = heard;
    bool told = false;
    snprintf(name, sizeof(name), "[%d]", (int)pid);
    for (heard = 0; !told && next_line(text);)
        told = strstr(text, name) != NULL;
    heard = before;
    return told;
}

/* The first line of a file of a thread's in /proc. */
static bool read_file(pid_t pid, pid_t thread, const char *name, char *text, int size)
{
    char path[80];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)thread, name);
    FILE *file = fopen(path, "re");
    bool read = file && fgets(text, size, file);
    if (file)
        fclose(file);
    if (read)
        text[strcspn(text, "\n")] = '\0';
    return read;
}

/* What this thread is in that no deadline ends; null if that is nothing. */
static const char *obstacle(pid_t pid, pid_t thread)
{
    char text[512];
    const char *state =
        read_file(pid, thread, "stat", text, sizeof(text)) ? strrchr(text, ')') : "";
    if (!state || strlen(state) < 3)
        return NULL;
    if (state[2] == 'R')
        return "computes, and makes no call that could be ended";
    if (state[2] == 'D')
        return "is in the kernel, which nothing interrupts";
    if (read_file(pid, thread, "syscall", text, sizeof(text)) && atoi(text) == SYS_futex &&
        isdigit((unsigned char)*text))
        return "waits for a lock, which no deadline ends";
    return NULL;
}

/* The first thread that is in something says it; the process's first one before the others. */
void witness_inspect(pid_t pid, int64_t length)
{
    char path[64], name[32], whole[32] = "", text[256];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *threads = lines == MOST_LINES || has_told(pid) ? NULL : opendir(path);
    const struct dirent *entry;
    const char *what = NULL;
    while (threads && !what && (entry = readdir(threads))) {
        pid_t thread = atoi(entry->d_name);
        what = thread > 0 ? obstacle(pid, thread) : NULL;
        if (!what || !read_file(pid, thread, "comm", name, sizeof(name)))
            continue;
        read_file(pid, pid, "comm", whole, sizeof(whole));
        if (thread == pid)
            snprintf(text, sizeof(text), "%s[%d] %s", whole, (int)pid, what);
        else
            snprintf(text, sizeof(text), "%s[%d] thread %d (%s) %s", whole, (int)pid, (int)thread,
                     name, what);
        tell(length, text);
    }
    if (threads)
        closedir(threads);
}
