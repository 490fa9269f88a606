/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interrupted.c -- whether a handler has interrupted libc's read, told by the code and
 * by the stack.
 *
 * Up to glibc 2.40 read makes the system call itself.  Since 2.41 it does that for all
 * calls by functions that have no names: read calls an outer one, with the call's number
 * on the stack, the outer an inner one, and that makes the call, or has the last one make
 * it where there are several threads.  What was interrupted is that for a read if the
 * return addresses of outer and inner, which are known, are both on the stack, and read's
 * number behind the latter.
 *
 * What must hold: no other call is taken for a read, for it would be made again as one.
 * Words that earlier calls have left on the stack may be found there: so the instruction
 * itself has to lie in the inner function, or in the one that the inner has just called.
 * Where libc is not as it is said here, nothing is taken for a read.
 */
#include "preload/interrupted.h"

#if defined(__x86_64__) && defined(__GLIBC__)
#include "core/symbol.h"
#include "preload/preload.h"

#include <dlfcn.h>
#include <string.h>

/* No function of libc's that makes one system call is longer.  This one may be shorter, and write
 * lie behind it: so the number must be that of read, 0, by `xor %eax,%eax`, by `mov $0,%eax`, or by
 * `test %eax,%eax` and `jne` (glibc 2.31, which has found 0 there). */
enum { LONGEST = 192, SYSCALL_SIZE = 2, CALL_SIZE = 5, MOV_SIZE = 5 };

/* What each of them keeps on the stack, in words, with its return address. */
enum { FRAME = 10 };

static uintptr_t inner, behind_inner, behind_outer;

/* The read that the wrapper calls, and that which stdio calls.  Up to glibc 2.33 the first is
 * libpthread's, where that is loaded, and the second libc's. */
static uintptr_t reads[2];

static bool is_syscall(const unsigned char *code)
{
    return code[0] == 0x0f && code[1] == 0x05;
}

/* What the instruction calls, or 0. */
static uintptr_t called_at(uintptr_t at)
{
    const unsigned char *code = (const unsigned char *)at;
    int32_t distance;
    memcpy(&distance, code + 1, sizeof(distance));
    return code[0] == 0xe8 ? at + CALL_SIZE + (uintptr_t)(intptr_t)distance : 0;
}

/* Where the first call of a function returns to, unless a system call is made before it. */
static uintptr_t behind_first_call(uintptr_t function)
{
    Dl_info here, there;
    for (uintptr_t at = function; function && at < function + LONGEST; at++) {
        if (is_syscall((const unsigned char *)at))
            return 0;
        uintptr_t called = called_at(at);
        if (called && dladdr((const void *)function, &here) &&
            dladdr((const void *)called, &there) && here.dli_fbase == there.dli_fbase)
            return at + CALL_SIZE;
    }
    return 0;
}

void coopdl_look_at_read(void)
{
    reads[0] = (uintptr_t)coopdl_real.read;
    reads[1] = (uintptr_t)coopdl_in_libc("read");
    behind_outer = behind_first_call(reads[0]);
    behind_inner = behind_outer ? behind_first_call(called_at(behind_outer - CALL_SIZE)) : 0;
    inner = behind_inner ? called_at(behind_inner - CALL_SIZE) : 0;
}

static const uintptr_t *find(const uintptr_t *stack, uintptr_t word)
{
    for (int i = 0; i < FRAME; i++)
        if (stack[i] == word)
            return stack + i + 1;
    return NULL;
}

static bool is_in_inner(uintptr_t at, const uintptr_t *stack)
{
    if (at - inner < LONGEST)
        return true;
    return stack[0] - inner - CALL_SIZE < LONGEST && at - called_at(stack[0] - CALL_SIZE) < LONGEST;
}

static const uintptr_t *in_inner(uintptr_t at, const uintptr_t *stack)
{
    if (!inner || !is_in_inner(at, stack) || !(stack = find(stack, behind_inner)) ||
        !(stack = find(stack, behind_outer)))
        return NULL;
    return stack[0] == SYS_read ? stack : NULL;
}

static bool is_in_read_itself(uintptr_t at, uintptr_t read)
{
    const unsigned char *made = (const unsigned char *)at - SYSCALL_SIZE;
    static const unsigned char mov[MOV_SIZE] = {0xb8}, test_and_jne[] = {0x85, 0xc0, 0x75};
    return at - read > SYSCALL_SIZE + MOV_SIZE && at - read < LONGEST && is_syscall(made) &&
           ((made[-2] == 0x31 && made[-1] == 0xc0) || memcmp(made - MOV_SIZE, mov, MOV_SIZE) == 0 ||
            memcmp(made - 4, test_and_jne, sizeof(test_and_jne)) == 0);
}

const uintptr_t *coopdl_in_read(const greg_t *r)
{
    uintptr_t at = (uintptr_t)r[REG_RIP];
    const uintptr_t *stack = (const uintptr_t *)r[REG_RSP];
    if (is_in_read_itself(at, reads[0]) || is_in_read_itself(at, reads[1]))
        return stack;
    const uintptr_t *frame = in_inner(at, stack);
    return frame && is_syscall((const unsigned char *)at - SYSCALL_SIZE) ? frame : NULL;
}
#endif
