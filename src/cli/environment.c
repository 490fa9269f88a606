/* SPDX-License-Identifier: Apache-2.0 */
/*
 * environment.c -- the variables by which the library in the started program
 * learns of the deadline.
 *
 * What must hold: what is in LD_PRELOAD already stays there, behind us; the
 * deadline is handed down as an absolute time, so that nothing that is started
 * later starts the clock anew.
 */
#include "environment.h"

#include "coopdl.h"
#include "failure.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between the entries of LD_PRELOAD; there is no way to quote them. */
#define SEPARATORS " :"

int64_t environment_duration(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);
    int64_t nanoseconds;
    return text && coopdl_duration(text, &nanoseconds) == 0 && nanoseconds != COOPDL_NEVER
               ? nanoseconds
               : otherwise;
}

/* Whether the dynamic loader takes it for this library.  It is tried in a child, where its
 * constructors do no harm: the loader would only warn, and start the program without it. */
static void try_to_load(const char *path)
{
    int status, ends[2];
    char why[512] = "";
    if (pipe(ends) != 0)
        fail("cannot try the library '%s': %s", path, strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        const char *error =
            library && !dlsym(library, "coopdl_preloaded") ? "it is not libcoopdl.so" : dlerror();
        if (error)
            (void)!write(ends[1], error, strlen(error));
        _exit(error != NULL);
    }
    close(ends[1]);
    ssize_t size = read(ends[0], why, sizeof(why) - 1);
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fail("cannot preload the library '%s': %s", path, size > 0 ? why : "it cannot be loaded");
}

static bool is_same(const char *path, const struct stat *file)
{
    struct stat other;
    return path && stat(path, &other) == 0 && other.st_dev == file->st_dev &&
           other.st_ino == file->st_ino;
}

char *find_library(void)
{
    const char *given = getenv("COOPDL_LIBRARY"), *own = NULL;
    /* A datum of the library's, not one of its functions: the address of a function may be that of
     * a stub in this program. */
    Dl_info info;
    if (dladdr(coopdl_version(), &info) != 0)
        own = info.dli_fname;
    if (!given && !own)
        fail("cannot tell where libcoopdl was loaded from: set COOPDL_LIBRARY to its path");
    if (!given)
        given = own;

    struct stat file;
    char *path = realpath(given, NULL);
    if (!path || stat(path, &file) != 0 || access(path, R_OK) != 0)
        fail("cannot read the library '%s' (%s): COOPDL_LIBRARY is to be the path of libcoopdl.so",
             given, strerror(errno));
    if (!S_ISREG(file.st_mode))
        fail("the library '%s' is no file: COOPDL_LIBRARY is to be the path of libcoopdl.so",
             given);
    if (strpbrk(path, SEPARATORS))
        fail("cannot preload '%s': LD_PRELOAD takes no path with a blank or a colon", path);
    if (!is_same(own, &file))
        try_to_load(path);
    return path;
}

static bool is_listed(const char *list, const char *library)
{
    size_t length = strlen(library);
    for (list += strspn(list, SEPARATORS); *list; list += strspn(list, SEPARATORS)) {
        size_t entry = strcspn(list, SEPARATORS);
        if (entry == length && memcmp(list, library, length) == 0)
            return true;
        list += entry;
    }
    return false;
}

static void set(const char *name, const char *value)
{
    if (setenv(name, value, 1) != 0)
        fail("cannot set %s: %s", name, strerror(errno));
}

static void set_preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    if (!others || !*others) {
        set("LD_PRELOAD", library);
        return;
    }
    if (is_listed(others, library))
        return;
    char *list;
    if (asprintf(&list, "%s:%s", library, others) < 0)
        fail("cannot set LD_PRELOAD: %s", strerror(ENOMEM));
    set("LD_PRELOAD", list);
    free(list);
}

void hand_down(int64_t deadline, const char *library)
{
    char text[sizeof("9223372036854775807")];
    snprintf(text, sizeof(text), "%" PRId64, deadline);
    set("COOPDL_DEADLINE", text);

    /* This command signals the program itself.  The library does so only where we are gone
     * (introduce), or the program would get the signal twice. */
    set("COOPDL_GRACE", "off");
    unsetenv("COOPDL_KILL_AFTER");

    if (library)
        set_preload(library);
}

void introduce(const struct introduction *of)
{
    char text[128];
    int length =
        snprintf(text, sizeof(text), "%d,%d,%" PRId64 ",%" PRId64 ",%d,%d", (int)of->command,
                 of->signal, of->grace, of->kill_after, (int)of->own, (int)of->group);
    if (of->witness >= 0)
        snprintf(text + length, sizeof(text) - (size_t)length, ",%d", of->witness);
    set("COOPDL_COMMAND", text);
}

void require_in_ruby(void)
{
    const char *others = getenv("RUBYOPT");
    char *options;
    if (asprintf(&options, "-rcoopdl%s%s", others && *others ? " " : "", others ? others : "") < 0)
        fail("cannot set RUBYOPT: %s", strerror(ENOMEM));
    set("RUBYOPT", options);
    free(options);
}
