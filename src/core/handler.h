/* SPDX-License-Identifier: Apache-2.0 */
/* handler.h -- signal handlers of ours, and the program's own behind them. */
#ifndef COOPDL_CORE_HANDLER_H
#define COOPDL_CORE_HANDLER_H

#include <signal.h>
#include <stdint.h>

typedef void coopdl_handler(int number, siginfo_t *info, void *context);

/* The kernel's struct sigaction, not libc's. */
struct coopdl_action {
    union {
        void (*handler)(int);
        coopdl_handler *action;
    };
    unsigned long flags;
#ifdef __riscv /* where the kernel knows of no restorer: it stays null */
    uint64_t mask;
    void (*restorer)(void);
#else
    void (*restorer)(void);
    uint64_t mask;
#endif
};

/* The kernel's action for a signal; the default action where the kernel cannot be asked. */
struct coopdl_action coopdl_action_of(int number);

/* Installs a handler with SA_SIGINFO, SA_ONSTACK and `flags`, in which the signals in `mask` are
 * blocked and, without SA_NODEFER, the signal itself. */
void coopdl_handler_install(int number, coopdl_handler *handler, unsigned long flags,
                            uint64_t mask);

/* All that another thread, or a timer, may send: no handler of the program's comes in between. */
extern const uint64_t coopdl_mask_of_others;

/* The same action in libc's terms, as far as passing on needs it. */
struct sigaction coopdl_action_for_libc(const struct coopdl_action *action);

/* The reasons for which signals are kept out of handlers' masks, and for each signal the handlers
 * whose masks were to contain it. */
enum coopdl_opened { COOPDL_OPENED_FOR_KICK, COOPDL_OPENED_FOR_TRAP, COOPDL_OPENED };
extern _Atomic uint64_t coopdl_opened[COOPDL_OPENED];

/* Takes a signal out of the masks of all handlers that are installed.  Later ones are the wrappers'
 * to open (preload/mask.c). */
void coopdl_handlers_open(int number, enum coopdl_opened which);

/* Does what the signal would have done to the program: its handler is called, with the mask that it
 * asked for; or the process ends; or nothing happens.  With SA_RESETHAND the program's action is
 * the default one after that. */
void coopdl_pass_on(struct sigaction *program, int number, siginfo_t *info, void *context);

#if defined(__x86_64__) || defined(__i386__)
/* Returns from a handler, wherever the stack pointer stands at its frame. */
void coopdl_restorer(void);
#endif

#endif
