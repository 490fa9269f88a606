/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.c -- the same for a program (portable.h).
 *
 * crt1.o, the compiler's object file, calls libc's function that starts main in
 * its new version (2.34).  This file defines a function of that name, which calls
 * the old version.  From 2.34 on crt1.o hands over no `init`, since libc itself runs the
 * constructors of the program then; the old libc runs none.  What must hold: the
 * program has no constructors.
 *
 * stat and fstat are functions of libc's only from 2.33 on.  On these
 * architectures the kernel's struct stat is libc's.
 *
 * Hidden, so that no library takes these for libc's.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HIDDEN __attribute__((visibility("hidden")))

struct stat64;
HIDDEN int stat64(const char *path, struct stat64 *file);
HIDDEN int fstat64(int fd, struct stat64 *file);

int stat64(const char *path, struct stat64 *file)
{
    return (int)syscall(SYS_newfstatat, AT_FDCWD, path, file, 0);
}

int fstat64(int fd, struct stat64 *file)
{
    return (int)syscall(SYS_fstat, fd, file);
}

typedef int program(int, char **, char **);

#if defined(__x86_64__)
__asm__(".symver start_main, __libc_start_main@GLIBC_2.2.5");
#elif defined(__aarch64__)
__asm__(".symver start_main, __libc_start_main@GLIBC_2.17");
#endif
int start_main(program *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
               void (*loader_fini)(void), void *stack_end);
HIDDEN int __wrap___libc_start_main(program *main, int argc, char **argv, void (*init)(void),
                                    void (*fini)(void), void (*loader_fini)(void), void *stack_end);

/* The linker puts it in the place of what crt1.o calls (--wrap). */
int __wrap___libc_start_main(program *main, int argc, char **argv, void (*init)(void),
                             void (*fini)(void), void (*loader_fini)(void), void *stack_end)
{
    return start_main(main, argc, argv, init, fini, loader_fini, stack_end);
}
