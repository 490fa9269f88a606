/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c -- the exec family: the new program inherits the calling thread's deadline.
 *
 * A function without a parameter for the environment hands `environ` on, so it calls libc's
 * function that has one.  The search in PATH stays libc's.  The argument list of the variadic
 * functions becomes an array on the stack, as in libc.
 *
 * After the end of the budget no program is started (core/ending.c).
 *
 * During the call nobody kicks the thread: the signal would end the new program.
 */
#include "core/arrival.h"
#include "core/ending.h"
#include "core/sys.h"
#include "preload/inherit.h"
#include "preload/preload.h"
#include "preload/real.h"

#include <stdarg.h>

#define EXPORT __attribute__((visibility("default")))

#define EXEC(envp, call)                                                                           \
    __extension__({                                                                                \
        if (unlikely(coopdl_budgeted) && coopdl_start_refused()) {                                 \
            errno = ETIMEDOUT;                                                                     \
            return -1;                                                                             \
        }                                                                                          \
        bool held = coopdl_kick_hold();                                                            \
        int failed = INHERIT(envp, false, call);                                                   \
        if (held)                                                                                  \
            coopdl_kick_release();                                                                 \
        failed;                                                                                    \
    })

int coopdl_child_execve(const char *path, char *const argv[], char *const envp[])
{
    return EXEC(envp, coopdl_real.execve(path, argv, inherited));
}

int coopdl_child_execv(const char *path, char *const argv[])
{
    return coopdl_child_execve(path, argv, environ);
}

int coopdl_child_execvpe(const char *file, char *const argv[], char *const envp[])
{
    return EXEC(envp, coopdl_real.execvpe(file, argv, inherited));
}

int coopdl_child_execvp(const char *file, char *const argv[])
{
    return coopdl_child_execvpe(file, argv, environ);
}

int coopdl_child_fexecve(int fd, char *const argv[], char *const envp[])
{
    return EXEC(envp, coopdl_real.fexecve(fd, argv, inherited));
}

/* Not in every glibc (2.34); a program may have asked for it by name. */
static int start_at(int directory, const char *path, char *const argv[], char *const envp[],
                    int flags)
{
    if (coopdl_real.execveat)
        return coopdl_real.execveat(directory, path, argv, envp, flags);
    return (int)coopdl_result(coopdl_sys(SYS_execveat, directory, path, argv, envp, flags));
}

int coopdl_child_execveat(int directory, const char *path, char *const argv[], char *const envp[],
                          int flags)
{
    return EXEC(envp, start_at(directory, path, argv, inherited, flags));
}

/* How many arguments there are, without the null at their end. */
static size_t count(const char *first, va_list *rest)
{
    size_t n = 0;
    for (const char *argument = first; argument; argument = va_arg(*rest, const char *))
        n++;
    return n;
}

static void collect(char **argv, const char *first, va_list *rest)
{
    for (const char *argument = first;; argument = va_arg(*rest, const char *)) {
        *argv++ = (char *)(uintptr_t)argument;
        if (!argument)
            return;
    }
}

/* Declares argv, with the arguments in it, and leaves `rest` after their null. */
#define ARGUMENTS(first)                                                                           \
    va_list rest;                                                                                  \
    va_start(rest, first);                                                                         \
    char **argv = __builtin_alloca((count(first, &rest) + 1) * sizeof(char *));                    \
    va_end(rest);                                                                                  \
    va_start(rest, first);                                                                         \
    collect(argv, first, &rest);                                                                   \
    if (unlikely(!coopdl_real.execve))                                                             \
    coopdl_resolve()

EXPORT int execl(const char *path, const char *first, ...)
{
    ARGUMENTS(first);
    va_end(rest);
    return coopdl_child_execv(path, argv);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    ARGUMENTS(first);
    va_end(rest);
    return coopdl_child_execvp(file, argv);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    ARGUMENTS(first);
    char *const *envp = va_arg(rest, char *const *);
    va_end(rest);
    return coopdl_child_execve(path, argv, envp);
}
