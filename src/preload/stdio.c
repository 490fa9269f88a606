/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdio.c -- a read that is interrupted by the kick at a budget's end, above all one that libc's
 * stdio makes for the program.
 *
 * A loop such as `while (fgets(...)) n++; commit(n)` takes the error of a read for the end of
 * the data.  So where the budget alone has ended, and such a read waits for a pipe, a FIFO, a
 * terminal or standard input, the process is signalled at once instead (core/ending.c).
 * COOPDL_READ=error turns that off.  A program that calls read itself gets the error, and can
 * tell it from the end.
 *
 * The kick's handler has interrupted stdio's read if the interrupted code is libc's function
 * read, and that function does not return to the wrapper of read.  The wrapper makes no note of
 * its call, since every read would pay for it.  So the handler looks for the wrapper's return
 * address on the stack.  A word that an earlier call has left there may look like it: then
 * stdio's read gets the error, as with COOPDL_READ=error.  Where the interrupted registers do
 * not show the descriptor, nothing is done.  After expiry the trap sees such a read.
 *
 * A read may have just found the end of file because its writer was ended by the same budget.
 * Any such read, of whatever code, is made to look interrupted.  The kick arrives before the end
 * of file does: both processes sleep until the same deadline, and the writer has still to exit.
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
/* The size of libc's read on the stack, in words, with its return address; and the wrapper's size
 * in bytes. */
enum { FRAME = 10, WRAPPER_SIZE = 512, SYSCALL_SIZE = 2 };

static bool is_wrappers(const uintptr_t *stack)
{
    for (int i = 0; i < FRAME; i++)
        if (stack[i] - (uintptr_t)coopdl_timed_read < WRAPPER_SIZE)
            return true;
    return false;
}

/* The interrupted instruction is just after the system call `read`.  The signal has ended that
 * call, or has come as it ended: the end of a writer by the same budget is an end of file. */
static void kicked(struct coopdl_thread *thread, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    /* valgrind would report reads of words on the stack that no code has written. */
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

/* After libc's functions have been looked up (coopdl_resolve). */
__attribute__((constructor(102))) static void set_up(void)
{
    coopdl_look_at_read();
    coopdl_reader_kicked = kicked;
}
#endif
