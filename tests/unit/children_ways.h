/* SPDX-License-Identifier: Apache-2.0 */
/* children_ways.h -- the ways to start a program, for test_children.c: each is `start`, which gives
 * the status. */
#ifndef COOPDL_TESTS_CHILDREN_WAYS_H
#define COOPDL_TESTS_CHILDREN_WAYS_H

#include "children.h"

static char own_name[] = "env", *const arguments[] = {own_name, NULL};

/* The status of a program that was started; -1 and errno if it was not. */
static int status_or_errno(int error, pid_t child)
{
    int status;
    if (error) {
        errno = error;
        return -1;
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WEXITSTATUS(status);
}

/* The ways to start a program, with `path` and `envp`: -1 and errno if that fails.  Those that exec
 * do not return otherwise, the others return its status when it has ended. */
static int way_execve(const char *path, char **envp)
{
    return execve(path, arguments, envp);
}

static int way_execv(const char *path, char **envp)
{
    environ = envp;
    return execv(path, arguments);
}

static int way_execvp(const char *path, char **envp)
{
    environ = envp;
    return execvp(path, arguments);
}

static int way_execvpe(const char *path, char **envp)
{
    return execvpe(path, arguments, envp);
}

static int way_execl(const char *path, char **envp)
{
    environ = envp;
    return execl(path, "env", (char *)NULL);
}

static int way_execlp(const char *path, char **envp)
{
    environ = envp;
    return execlp(path, "env", (char *)NULL);
}

static int way_execle(const char *path, char **envp)
{
    return execle(path, "env", (char *)NULL, envp);
}

static int way_fexecve(const char *path, char **envp)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? -1 : fexecve(fd, arguments, envp);
}

#ifdef __GLIBC__
/* The library has it also where libc does not (glibc before 2.34).
 * NOLINTNEXTLINE(readability-redundant-declaration) */
int execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags);

static int way_execveat(const char *path, char **envp)
{
    return execveat(AT_FDCWD, path, arguments, envp, 0);
}
#endif

static int way_posix_spawn(const char *path, char **envp)
{
    pid_t child;
    int error = posix_spawn(&child, path, NULL, NULL, arguments, envp);
    return status_or_errno(error, child);
}

static int way_posix_spawnp(const char *path, char **envp)
{
    pid_t child;
    int error = posix_spawnp(&child, path, NULL, NULL, arguments, envp);
    return status_or_errno(error, child);
}

/* The man page warns of vfork for good reasons; programs use it.
 * NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
static int way_vfork(const char *path, char **envp)
{
    pid_t child = vfork();
    if (child == 0) {
        execve(path, arguments, envp);
        _exit(127); /* its errno is ours as well */
    }
    int status = status_or_errno(0, child);
    return status == 127 ? -1 : status;
}
/* NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */

static const struct way {
    const char *name;
    int (*start)(const char *path, char **envp);
} ways[] = {
    {"execve", way_execve},
    {"execv", way_execv},
    {"execvp", way_execvp},
    {"execvpe", way_execvpe},
    {"execl", way_execl},
    {"execlp", way_execlp},
    {"execle", way_execle},
    {"fexecve", way_fexecve},
#ifdef __GLIBC__
    {"execveat", way_execveat},
#endif
    {"posix_spawn", way_posix_spawn},
    {"posix_spawnp", way_posix_spawnp},
    {"vfork and execve", way_vfork},
    {NULL, NULL},
};

#endif
