/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64.c -- the trap, on Linux's Syscall User Dispatch (5.11).
 *
 * The kick's handler turns the trap on for its own thread.  So does a thread that finds out
 * itself that its deadline has passed.  From then on the kernel answers each system call that is
 * made outside this library with SIGSYS, as long as the thread's selector is shut.  The handler
 * here cuts the calls that would wait, by the table of calls and with the wrappers' own code
 * (COOPDL_TRAPPED in preload/real.h), and performs all others itself.  Leaving, moving or
 * delivering the scope turns the trap off.
 *
 * What must hold:
 * - A trapped thread can always take a SIGSYS: one that is blocked kills the process.  So the
 *   signal is unblocked before the selector is shut, in the thread and in the contexts that its
 *   handlers return to.  It never gets into a mask again while the selector is shut.  No
 *   handler's mask may block it: the wrappers see to that, and a handler that was installed past
 *   them means that there is no trap.
 * - The handler makes no system call outside this library.  The exceptions are calls of libc,
 *   which are trapped again in the middle of the handler (SA_NODEFER).  It allocates nothing,
 *   takes no lock and keeps errno.  It holds no state: a handler of the program that interrupts
 *   it may leave by longjmp.
 * - The process's SIGSYS stays the program's: where the program has an action for it there is no
 *   trap, and a SIGSYS that is not the trap's is passed on.
 *
 * Some calls cannot be performed inside the handler:
 * - rt_sigreturn takes its frame from the stack pointer: it is made from the library's own
 *   restorer, with that stack pointer.
 * - A change of the signal mask would be undone when the handler returns: the mask in the saved
 *   context is changed instead.
 * - clone and its like would start a child inside the handler, sigaltstack would see the
 *   handler's stack, and munmap might remove it.  These calls are made again with the selector
 *   open, and a kick that follows in a moment shuts it.  The children do not inherit the trap.
 *
 * Interleavings.  Only the thread and its kick's handler change this state.  Others only read
 * the selector (core/tick.c), or open it when the program takes SIGSYS for itself.
 */
#include "trap/trap.h"

#include "core/futex.h"
#include "core/handler.h"
#include "core/kick.h"
#include "core/log.h"
#include "core/policy.h"
#include "core/sys.h"
#include "core/tick.h"
#include "preload/cut.h"
#include "preload/preload.h"

#include <errno.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>

#ifdef HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* Linux 5.11; older headers lack them. */
enum { SET_USER_DISPATCH = 59, DISPATCH_OFF = 0, DISPATCH_ON = 1, SYS_USER_DISPATCH_CODE = 2 };

/* The kernel's number of this architecture: not that of the 32-bit calls, which a 64-bit program
 * can make too. */
#define ARCH_X86_64 (0xc0000000 | EM_X86_64)

/* The size of the instruction that makes a system call. */
enum { SYSCALL_SIZE = 2 };

/* As much of a stack as the handler and its frame may take up. */
enum { FRAME = 16384 };

#define SIGSYS_BIT COOPDL_SIGSET_BIT(SIGSYS)

/* This library's own code, from which all system calls pass. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
static uintptr_t code, code_size;

static struct sigaction program; /* its action for SIGSYS, once ours is installed */
static atomic_bool installed;

static coopdl_handler on_trap;

struct sigaction *coopdl_trap_chained(int number)
{
    return number == SIGSYS && atomic_load_explicit(&installed, memory_order_relaxed) ? &program
                                                                                      : NULL;
}

/* A handler of the program's own. */
static bool is_program(const struct sigaction *action)
{
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

static uint64_t *mask_of(ucontext_t *context)
{
    return (uint64_t *)(void *)&context->uc_sigmask;
}

/* Installs the trap's handler if the program has none.  Two threads at once install the same. */
static const char *install(void)
{
    struct coopdl_action before = coopdl_action_of(SIGSYS);
    if (before.action != on_trap) {
        struct sigaction found = coopdl_action_for_libc(&before);
        if (is_program(&found))
            return "the program has a handler for SIGSYS";
        program = found;
        coopdl_handler_install(SIGSYS, on_trap, SA_NODEFER, 0);
        atomic_store(&installed, true);
        coopdl_handlers_open(SIGSYS, COOPDL_OPENED_FOR_TRAP);
    }
    return is_program(&program) ? "the program has a handler for SIGSYS" : NULL;
}

/* The wrappers keep it out; somebody may have come past them. */
static const char *handlers_block_it(void)
{
    for (int number = 1; number <= 64; number++) {
        struct coopdl_action action = coopdl_action_of(number);
        if (action.handler != SIG_DFL && action.handler != SIG_IGN && action.mask & SIGSYS_BIT)
            return "a signal handler of the program blocks SIGSYS";
    }
    return NULL;
}

static const char *turn_on(struct coopdl_thread *thread)
{
    static atomic_bool refused;
    if (thread->trapped)
        return NULL;
    if (!atomic_load(&refused) && coopdl_sys(SYS_prctl, SET_USER_DISPATCH, DISPATCH_ON, code,
                                             code_size, &thread->selector) == 0) {
        thread->trapped = true;
        return NULL;
    }
    atomic_store(&refused, true);
    return "the kernel, or a filter of system calls, refuses it";
}

/* Why the thread cannot be trapped; null once it is. */
static const char *shut(struct coopdl_thread *thread)
{
    const char *why = !coopdl_policy.trap   ? "COOPDL_TRAP=0"
                      : RUNNING_ON_VALGRIND ? "valgrind would be trapped itself"
                                            : install();
    if (!why)
        why = handlers_block_it();
    if (!why)
        why = turn_on(thread);
    if (why)
        return why;
    uint64_t mask = SIGSYS_BIT;
    coopdl_sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, COOPDL_SIGSET_SIZE);
    atomic_store(&thread->selector, TRAP_SHUT);
    return NULL;
}

static void trap_on(struct coopdl_thread *thread, void *context)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    const char *why = atomic_load(&thread->selector) == TRAP_SHUT ? NULL : shut(thread);
    if (why && !atomic_flag_test_and_set(&said))
        coopdl_log_untrapped(why);
    if (!why && context)
        *mask_of(context) &= ~SIGSYS_BIT;
}

/* A kick for the next deadline may come in between and shut the selector, with or without turning
 * the trap on again.  So the selector is opened last, and the caller looks whether to shut it. */
static void trap_off(struct coopdl_thread *thread)
{
    coopdl_sys(SYS_prctl, SET_USER_DISPATCH, DISPATCH_OFF, 0, 0, 0);
    thread->trapped = false;
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store(&thread->selector, TRAP_OPEN);
}

__attribute__((constructor(101))) static void set_up(void)
{
    const ElfW(Ehdr) *image = (const void *)__ehdr_start;
    const ElfW(Phdr) *segment = (const void *)(__ehdr_start + image->e_phoff);
    for (int i = 0; i < image->e_phnum; i++)
        if (segment[i].p_type == PT_LOAD && segment[i].p_flags & PF_X) {
            code = (uintptr_t)image + segment[i].p_vaddr;
            code_size = segment[i].p_memsz;
        }
    coopdl_trap_on = trap_on;
    coopdl_trap_off = trap_off;
}

/* Both ends of a `struct coopdl_action` that the program hands to the kernel. */
static bool can_read(const struct coopdl_action *action)
{
    return coopdl_readable(action, sizeof(*action));
}

static long change_action(long number, const struct coopdl_action *action, long old, long size)
{
    struct coopdl_action open;
    if (action && can_read(action)) {
        open = *action;
        open.mask &= ~SIGSYS_BIT;
        action = &open;
    }
    /* The program has taken SIGSYS past the wrappers: no thread may be trapped any more. */
    if (number == SIGSYS && action)
        for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t))
            atomic_store(&t->selector, TRAP_OPEN);
    return coopdl_sys(SYS_rt_sigaction, number, action, old, size);
}

/* In the handler the mask is the thread's own: only the change is made here. */
static long change_mask(uint64_t *mask, long how, const uint64_t *set, long old, long size)
{
    uint64_t changed = *mask;
    if (size != COOPDL_SIGSET_SIZE || !set)
        return coopdl_sys(SYS_rt_sigprocmask, how, set, old, size);
    if (!coopdl_readable(set, sizeof(*set)))
        return -EFAULT;
    switch (how) {
    case SIG_BLOCK:
        changed |= *set;
        break;
    case SIG_UNBLOCK:
        changed &= ~*set;
        break;
    case SIG_SETMASK:
        changed = *set;
        break;
    default:
        return -EINVAL;
    }
    *mask = changed & ~SIGSYS_BIT;
    return old ? coopdl_sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, old, size) : 0;
}

static bool sleeps_in_futex(long number, long operation)
{
    enum { FUTEX_WAITV = 449, FUTEX_WAIT_6_7 = 455 };
    switch (number == SYS_futex ? operation & ~(FUTEX_PRIVATE | FUTEX_REALTIME) : -1) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_WAIT_REQUEUE_PI:
        return true;
    default:
        return number == FUTEX_WAITV || number == FUTEX_WAIT_6_7;
    }
}

/* A call that is not in the table is never cut.  Where it may sleep, the thread asks the visitor
 * for another kick soon, but not again for a futex that it waits for once more. */
static long perform(struct coopdl_thread *thread, long number, const greg_t *r)
{
    bool dozes = sleeps_in_futex(number, r[REG_RSI]), again = dozes && thread->dozed;
    uint8_t before = atomic_load(&thread->asleep);
    thread->dozed = dozes;
    if (dozes && !again)
        coopdl_kick_soon(thread, ASLEEP_FUTEX);
    else
        atomic_store(&thread->asleep, dozes ? ASLEEP_FUTEX : ASLEEP_CALL);
    long result =
        coopdl_sys(number, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]);
    atomic_store(&thread->asleep, before);
    return result;
}

/* Whether a wrapper has made the call: then its own code is not far up the stack.  A word that an
 * earlier call has left may be taken for that, which delays a line (core/evidence.c). */
__attribute__((no_sanitize("address"))) static bool is_wrapped(const greg_t *r)
{
    enum { WORDS = 12 };
    const uintptr_t *stack = (const uintptr_t *)r[REG_RSP];
    for (int i = 0; i < WORDS; i++)
        if (stack[i] - code < code_size)
            return true;
    return false;
}

/* Does what the wrappers do for the call, in the kernel's terms.  It may wait all the same: another
 * thread may take the data first, or a device may claim to be ready and is not. */
static long cut(struct coopdl_thread *thread, long number, const greg_t *r)
{
    thread->dozed = false;
    thread->trapped_at = (const void *)r[REG_RIP];
    thread->wrapped = is_wrapped(r);
    atomic_store(&thread->asleep, ASLEEP_MOMENT);
    long result = coopdl_cut_syscall(number, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10],
                                     r[REG_R8], r[REG_R9]);
    atomic_store(&thread->asleep, AWAKE);
    thread->wrapped = false;
    return result < 0 ? -errno : result;
}

/* The stack that the handler stands on would go. */
static bool takes_the_stack(long number, const greg_t *r)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), begin = (uintptr_t)r[REG_RDI];
    switch (number) {
    case SYS_munmap:
    case SYS_mremap:
    case SYS_madvise:
    case SYS_mprotect:
    case SYS_mmap:
        return begin < here + FRAME && here - FRAME < begin + (size_t)r[REG_RSI];
    default:
        return false;
    }
}

/* Makes the system call again, unseen. */
static void let_pass(struct coopdl_thread *thread, greg_t *r)
{
    r[REG_RIP] -= SYSCALL_SIZE;
    if (!thread) { /* the thread has given its record back, and with it the deadline */
        coopdl_sys(SYS_prctl, SET_USER_DISPATCH, DISPATCH_OFF, 0, 0, 0);
        return;
    }
    atomic_store(&thread->selector, TRAP_OPEN);
    coopdl_kick_soon(thread, AWAKE);
}

static void answer(struct coopdl_thread *thread, long number, ucontext_t *context)
{
    greg_t *r = context->uc_mcontext.gregs;
    switch (number) {
    case SYS_rt_sigreturn:
        *mask_of((ucontext_t *)r[REG_RSP]) &= ~SIGSYS_BIT;
        r[REG_RIP] = (greg_t)coopdl_restorer;
        return;
    case SYS_clone:
    case SYS_clone3:
    case SYS_fork:
    case SYS_vfork:
    case SYS_sigaltstack:
    case SYS_arch_prctl:
        let_pass(thread, r);
        return;
    case SYS_rt_sigprocmask:
        r[REG_RAX] = change_mask(mask_of(context), r[REG_RDI], (const uint64_t *)r[REG_RSI],
                                 r[REG_RDX], r[REG_R10]);
        return;
    case SYS_rt_sigaction:
        r[REG_RAX] = change_action(r[REG_RDI], (const struct coopdl_action *)r[REG_RSI], r[REG_RDX],
                                   r[REG_R10]);
        return;
    default:
        if (takes_the_stack(number, r))
            let_pass(thread, r);
        else if (coopdl_cutting(thread) && coopdl_number_name(number))
            r[REG_RAX] = cut(thread, number, r);
        else
            r[REG_RAX] = perform(thread, number, r);
    }
}

static void on_trap(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    struct coopdl_thread *thread = coopdl_self;
    ucontext_t *interrupted = context;
    if (info->si_code != SYS_USER_DISPATCH_CODE) {
        /* A filter's, or somebody's kill: that a filter's is ignored the kernel does not allow. */
        if (!is_program(&program) && info->si_code > 0)
            program.sa_handler = SIG_DFL;
        coopdl_pass_on(&program, number, info, context);
    } else if (thread && !(coopdl_load(thread) & WORD_FIRED)) {
        /* A deadline that was lent has been taken back (core/lend.c). */
        trap_off(thread);
        interrupted->uc_mcontext.gregs[REG_RIP] -= SYSCALL_SIZE;
    } else if (!thread || info->si_arch != ARCH_X86_64) {
        let_pass(thread, interrupted->uc_mcontext.gregs);
    } else {
        answer(thread, info->si_syscall, interrupted);
    }
    errno = saved;
}
