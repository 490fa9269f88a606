/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handler.c -- installs the library's signal handlers, past libc.
 *
 * The library makes the system call itself, so that no wrapped or instrumented sigaction changes
 * the action.  The handler returns through code of this library, which the trap lets through
 * (src/trap/).
 */
#include "core/handler.h"

#include "core/sys.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <ucontext.h>

#if defined(__x86_64__)
/* These very bytes tell an unwinder that the frame is a signal's: a cancelled thread unwinds
 * through it. */
__asm__(".text\n.hidden coopdl_restorer\n.globl coopdl_restorer\n.type coopdl_restorer,@function\n"
        ".p2align 4\nnop\ncoopdl_restorer:\n mov $15,%rax\n syscall\n"
        ".size coopdl_restorer,.-coopdl_restorer\n");
#define RESTORER coopdl_restorer
#define RESTORER_FLAG 0x04000000UL
#elif defined(__i386__)
__asm__(".text\n.hidden coopdl_restorer\n.globl coopdl_restorer\n.type coopdl_restorer,@function\n"
        ".p2align 4\nnop\ncoopdl_restorer:\n movl $173,%eax\n int $0x80\n"
        ".size coopdl_restorer,.-coopdl_restorer\n");
#define RESTORER coopdl_restorer
#define RESTORER_FLAG 0x04000000UL
#else
#define RESTORER NULL
#define RESTORER_FLAG 0UL
#endif

/* Not those that the thread raises itself, by a fault, a breakpoint or the trap: blocked, they
 * kill. */
const uint64_t coopdl_mask_of_others =
    ~(COOPDL_SIGSET_BIT(SIGSEGV) | COOPDL_SIGSET_BIT(SIGBUS) | COOPDL_SIGSET_BIT(SIGFPE) |
      COOPDL_SIGSET_BIT(SIGILL) | COOPDL_SIGSET_BIT(SIGTRAP) | COOPDL_SIGSET_BIT(SIGSYS));

_Atomic uint64_t coopdl_opened[COOPDL_OPENED];

struct coopdl_action coopdl_action_of(int number)
{
    struct coopdl_action action = {.handler = SIG_DFL};
    coopdl_sys(SYS_rt_sigaction, number, 0, &action, COOPDL_SIGSET_SIZE);
    return action;
}

void coopdl_handler_install(int number, coopdl_handler *handler, unsigned long flags, uint64_t mask)
{
    struct coopdl_action action = {.action = handler,
                                   .flags = SA_SIGINFO | SA_ONSTACK | RESTORER_FLAG | flags,
                                   .restorer = RESTORER,
                                   .mask = mask};
    coopdl_sys(SYS_rt_sigaction, number, &action, 0, COOPDL_SIGSET_SIZE);
}

struct sigaction coopdl_action_for_libc(const struct coopdl_action *action)
{
    struct sigaction program = {.sa_flags = (int)action->flags, .sa_restorer = action->restorer};
    memcpy(&program.sa_mask, &action->mask, sizeof(action->mask));
    program.sa_handler = action->handler; /* one memory with sa_sigaction */
    return program;
}

/* The mask that the kernel would have set; but SIGSYS must get through while the trap is there. */
static void set_mask(const struct sigaction *program, int number, const ucontext_t *interrupted)
{
    uint64_t mask, asked;
    memcpy(&mask, &interrupted->uc_sigmask, sizeof(mask));
    memcpy(&asked, &program->sa_mask, sizeof(asked));
    mask |= asked;
    if (!(program->sa_flags & SA_NODEFER))
        mask |= COOPDL_SIGSET_BIT(number);
    mask &= ~COOPDL_SIGSET_BIT(SIGSYS);
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
}

/* Another thread may have set another action between the look at an action and its change.  The
 * change returns that action, which is then the one to keep. */
static void open_handler(int handled, int number, enum coopdl_opened which)
{
    uint64_t bit = COOPDL_SIGSET_BIT(number);
    struct coopdl_action action = coopdl_action_of(handled), open, before;
    bool changed = false;
    for (;;) {
        bool opens = action.handler != SIG_DFL && action.handler != SIG_IGN && action.mask & bit;
        if (!opens && !changed)
            return;
        open = action;
        if (opens) {
            open.mask &= ~bit;
            atomic_fetch_or(&coopdl_opened[which], COOPDL_SIGSET_BIT(handled));
        } else {
            atomic_fetch_and(&coopdl_opened[which], ~COOPDL_SIGSET_BIT(handled));
        }
        if (coopdl_sys(SYS_rt_sigaction, handled, &open, &before, COOPDL_SIGSET_SIZE) < 0 ||
            (before.handler == action.handler && before.mask == action.mask &&
             before.flags == action.flags))
            return;
        changed = true;
        action = before;
    }
}

void coopdl_handlers_open(int number, enum coopdl_opened which)
{
    for (int handled = 1; handled <= 64; handled++)
        if (handled != number)
            open_handler(handled, number, which);
}

void coopdl_pass_on(struct sigaction *chained, int number, siginfo_t *info, void *context)
{
    struct sigaction action = *chained, *program = &action;
    bool handles = program->sa_handler != SIG_DFL && program->sa_handler != SIG_IGN;
    if (handles)
        set_mask(program, number, context);
    if (handles && program->sa_flags & (int)SA_RESETHAND)
        chained->sa_handler = SIG_DFL;
    if (handles && program->sa_flags & SA_SIGINFO) {
        program->sa_sigaction(number, info, context);
    } else if (program->sa_handler == SIG_DFL) {
        /* The default is to end the process: have the kernel do it. */
        struct coopdl_action fatal = {.handler = SIG_DFL};
        uint64_t mask = COOPDL_SIGSET_BIT(number);
        coopdl_sys(SYS_rt_sigaction, number, &fatal, 0, COOPDL_SIGSET_SIZE);
        coopdl_sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, COOPDL_SIGSET_SIZE);
        coopdl_sys(SYS_tgkill, coopdl_sys(SYS_getpid), coopdl_sys(SYS_gettid), number);
    } else if (program->sa_handler != SIG_IGN) {
        program->sa_handler(number);
    }
}
