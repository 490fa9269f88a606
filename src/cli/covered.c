/* SPDX-License-Identifier: Apache-2.0 */
/*
 * covered.c -- which of the calls that a program imports are covered, by the library's
 * own table of calls.
 */
#include "covered.h"

#include "failure.h"
#include "imports.h"

#include <features.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef __GLIBC__
#define GNU(...)
#endif

/* Each name that the library takes over. */
static const char *const wrapped[] = {
#define CALL(type, name, ...) #name,
#define ALIAS(alias, name) #alias,
#define FORTIFIED(type, chk, ...) #chk,
#define MASK(type, name, ...) #name,
#define CHILD(type, name, ...) #name,
#define JOIN(type, name, ...) #name,
#define VARIADIC(name) #name,
#include "../preload/calls.def"
};

#ifndef __GLIBC__
#define GNU(...)
#endif

static const struct {
    const char *reason, *names; /* separated by commas */
} left[] = {
#define LEFT(reason, ...) {reason, #__VA_ARGS__},
#include "../preload/calls.def"
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct calls {
    size_t count, room;
    char **names; /* sorted, each once, when they are looked at */
};

struct calls *calls_begin(void)
{
    struct calls *calls = calloc(1, sizeof(*calls));
    if (!calls)
        fail("out of memory");
    return calls;
}

static void add(const char *name, void *argument)
{
    struct calls *calls = argument;
    if (calls->count == calls->room) {
        calls->room = calls->room ? 2 * calls->room : 1024;
        char **more = realloc(calls->names, calls->room * sizeof(*more));
        if (!more)
            fail("out of memory");
        calls->names = more;
    }
    calls->names[calls->count] = strdup(name);
    if (!calls->names[calls->count++])
        fail("out of memory");
}

static int compare(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

void calls_add(struct calls *calls, const char *path)
{
    each_import(path, add, calls);
    qsort(calls->names, calls->count, sizeof(*calls->names), compare);
}

static bool is_imported(const struct calls *calls, const char *name)
{
    return calls->count &&
           bsearch(&name, calls->names, calls->count, sizeof(*calls->names), compare);
}

/* Adds a name to a list, or counts it where there is no room. */
static size_t list(char *names, size_t size, const char *name)
{
    size_t used = strlen(names);
    if (used + strlen(name) + 3 < size)
        snprintf(names + used, size - used, "%s%s", used ? ", " : "", name);
    return 1;
}

size_t calls_wrapped(struct calls *calls, char *names, size_t size)
{
    size_t count = 0;
    names[0] = '\0';
    for (size_t i = 0; i < COUNT(wrapped); i++)
        if (is_imported(calls, wrapped[i]))
            count += list(names, size, wrapped[i]);
    return count;
}

void calls_left(struct calls *calls, void (*found)(const char *reason, const char *names))
{
    for (size_t i = 0; i < COUNT(left); i++) {
        char names[256] = "", copy[8192], *rest;
        size_t count = 0;
        snprintf(copy, sizeof(copy), "%s", left[i].names);
        for (const char *name = strtok_r(copy, ", \n", &rest); name;
             name = strtok_r(NULL, ", \n", &rest))
            if (is_imported(calls, name))
                count += list(names, sizeof(names), name);
        if (count)
            found(left[i].reason, names);
    }
}

void calls_end(struct calls *calls)
{
    for (size_t i = 0; i < calls->count; i++)
        free(calls->names[i]);
    free(calls->names);
    free(calls);
}
