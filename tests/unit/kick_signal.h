/* SPDX-License-Identifier: Apache-2.0 */
/* kick_signal.h -- what test_signals.c and test_signals_own.c share: the kick's signal, handlers.
 */
#ifndef COOPDL_TESTS_KICK_SIGNAL_H
#define COOPDL_TESTS_KICK_SIGNAL_H

#include "names.h"
#include "support.h"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>

#define KICK (SIGRTMAX - 5) /* the default of COOPDL_SIGNAL */

static volatile sig_atomic_t handled, in_handler, on_alternate;
static int quiet;
static char *stack;

enum { STACK = 1 << 16 };

static inline void read_in_handler(int number)
{
    int saved = errno;
    const char *here = __builtin_frame_address(0);
    (void)number;
    on_alternate = stack && here >= stack && here < stack + STACK;
    in_handler = read_errno(quiet);
    handled++;
    errno = saved;
}

static inline void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigfillset(&action.sa_mask); /* as careful programs do: the kick gets in all the same */
    cr_assert(sigaction(number, &action, NULL) == 0);
}

static inline void cut_once(void)
{
    coopdl_scope scope;
    int64_t deadline = coopdl_after(20 * MS);
    coopdl_enter(&scope, deadline);
    int error = read_errno(silent_pipe());
    assert_on_time(deadline, "read");
    expect(error == EINTR, "%s", strerror(error));
    expect(coopdl_leave(&scope) == 1);
}

static inline bool looks_blocked(int number)
{
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, number) == 1;
}

/* Old names, some without a declaration. */
typedef void (*handler_type)(int);
typedef handler_type (*set_type)(int, handler_type);

static inline set_type setter(const char *name)
{
    set_type found;
    *(void **)&found = dlsym(RTLD_DEFAULT, name);
    cr_assert(found, "%s", name);
    return found;
}

static volatile sig_atomic_t arrived;

static inline void on_arrival(int number)
{
    (void)number;
    arrived++;
}

#endif
