/* SPDX-License-Identifier: Apache-2.0 */
/*
 * go.c -- what Go's linker makes, as far as one can tell by looking: its note.
 *
 * Linked without a libc it makes its own system calls, which a Go program does in either case.
 */
static const struct {
    unsigned int name_size, size, type;
    char name[4], text[8];
} note __attribute__((section(".note.go.buildid"), used, aligned(4))) = {4, 8, 4, "Go", "coopdl"};

#ifdef ALONE
void _start(void) __attribute__((noreturn));

void _start(void)
{
    for (;;)
        __asm__ volatile("");
}
#else
#include <unistd.h>

int main(void)
{
    return pause();
}
#endif
