/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdio.c -- a read that the kick finds at its end, above all one that libc's own stdio
 * makes for the program.
 *
 * `while (fgets(...)) n++; commit(n)` takes the error of a read for the end of the
 * data.  So where the budget alone has ended, and such a read waits for a pipe, a
 * FIFO, a terminal or standard input, the process is signalled at once instead
 * (core/ending.c); COOPDL_READ=error turns that off.  What reads by itself is told an
 * error, and knows what that is.
 *
 * A kick's handler has interrupted stdio's read if it comes from libc's function
 * read, and that does not return to the wrapper of read.  The wrapper notes nothing,
 * since every read would pay for that: its return address is looked for on the stack,
 * where a word that an earlier call has left may be taken for it.  Then that read is
 * told an error, as with COOPDL_READ=error.  Where the descriptor cannot be told from
 * the interrupted registers, nothing is done.  After expiry the trap sees such a read.
 *
 * Any read that has just found the end of file where its writer may have been ended by
 * the same budget is made one that was interrupted.  The kick is there before the end
 * of file is: both sleep until the same deadline, and the writer has still to exit.
 */
#include "core/arrival.h"
#include "core/ending.h"
#include "preload/cut.h"
#include "preload/interrupted.h"
#include "preload/preload.h"

#include <ucontext.h>

#ifdef HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(COOPDL_TRAPPED)
/* What libc's read keeps on the stack, in words, with its return address; and the wrapper's size.
 */
enum { FRAME = 10, WRAPPER_SIZE = 512, SYSCALL_SIZE = 2 };

static bool is_wrappers(const uintptr_t *stack)
{
    for (int i = 0; i < FRAME; i++)
        if (stack[i] - (uintptr_t)coopdl_timed_read < WRAPPER_SIZE)
            return true;
    return false;
}

/* It was the system call `read`, just behind the instruction that makes it.  The signal has ended
 * that, or come with its end: a writer that the same budget has ended is an end of file. */
static void kicked(struct coopdl_thread *thread, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    /* It would report that words are looked at which nobody has written. */
    const uintptr_t *stack = RUNNING_ON_VALGRIND ? NULL : coopdl_in_read(r);
    if (!stack)
        return;
    if (r[REG_RAX] == 0 && r[REG_RDX] != 0 && coopdl_end_of_writer(thread, (int)r[REG_RDI]))
        r[REG_RAX] = -EINTR;
    if (is_wrappers(stack))
        return;
    if (coopdl_end_reader(thread, (int)r[REG_RDI]) == WAITER_RESTARTS && r[REG_RAX] == -EINTR) {
        r[REG_RIP] -= SYSCALL_SIZE;
        r[REG_RAX] = SYS_read;
    }
}

__attribute__((constructor(101))) static void set_up(void)
{
    coopdl_look_at_read();
    coopdl_reader_kicked = kicked;
}
#endif
