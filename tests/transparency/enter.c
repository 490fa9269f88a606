/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enter.c -- preloaded in front of the library: puts every thread of a program
 * that knows nothing of it into a scope of one hour, until the thread ends.
 *
 * A scope of the first thread cannot be on a stack that main returns to; one of
 * another thread is on that thread's own.  A forked child keeps the scope of the
 * thread that forked; a new program enters one of its own.
 *
 * What must hold: the program cannot tell.  So nothing is allocated in its heap,
 * and what a thread was to run, with what, is handed over in a mapping.  The
 * library's own thread, which entering starts, is left alone.
 */
#include <coopdl.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HOUR (3600 * COOPDL_SECOND)

typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

struct start {
    void *(*routine)(void *);
    void *argument;
};

static create *real_create;
static __thread bool entering;

static void enter(coopdl_scope *scope)
{
    entering = true;
    if (coopdl_enter(scope, coopdl_after(HOUR)) != 0)
        abort();
    entering = false;
}

static void *run(void *given)
{
    struct start start = *(struct start *)given;
    coopdl_scope scope;

    munmap(given, sizeof start);
    enter(&scope);
    return start.routine(start.argument);
}

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread,
                                                          const pthread_attr_t *attributes,
                                                          void *(*routine)(void *), void *argument)
{
    if (entering)
        return real_create(thread, attributes, routine, argument);
    struct start *start =
        mmap(NULL, sizeof *start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error;

    if (start == MAP_FAILED)
        return EAGAIN;
    *start = (struct start){routine, argument};
    error = real_create(thread, attributes, run, start);
    if (error)
        munmap(start, sizeof *start);
    return error;
}

__attribute__((constructor)) static void begin(void)
{
    static coopdl_scope scope;
    void *found = dlsym(RTLD_NEXT, "pthread_create");

    *(void **)&real_create = found;
    if (!found)
        abort();
    enter(&scope);
}
