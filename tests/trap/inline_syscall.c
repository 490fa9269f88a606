/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inline_syscall.c -- system calls that no library makes.
 *
 *     inline_syscall read|nanosleep [INTERRUPTIONS]
 *
 * For x86-64.  As libc has it, an error is left in errno.
 */
#include "late.h"

#include <string.h>
#include <sys/syscall.h>

static long make(long number, long a, const void *b, const void *c)
{
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

static long read_pipe(void)
{
    static int input;
    static char byte;

    if (!input)
        input = silent_pipe();
    return make(SYS_read, input, &byte, (void *)1);
}

static long sleep_on(void)
{
    static struct timespec left = {.tv_sec = 60};

    return make(SYS_nanosleep, (long)&left, &left, NULL);
}

int main(int argc, char **argv)
{
    long (*call)(void);

    if (argc < 2 || argc > 3)
        errx(125, "usage: inline_syscall read|nanosleep [INTERRUPTIONS]");
    call = strcmp(argv[1], "read") == 0 ? read_pipe : sleep_on;
    do {
        if (call() >= 0)
            errx(1, "%s has come to its end", argv[1]);
    } while (restarts(argv[1], argv[2]));
    say_how_late();
}
