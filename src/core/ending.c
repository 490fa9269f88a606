/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ending.c -- the end of a budget in interpreters of commands, in waits for children, in reads
 * from pipes, and where a program is to be started.
 *
 * An interpreter of commands takes a cut call for a failed command: a shell goes on with its
 * next command, and make keeps a target that is half written.  So a process whose program is in
 * the tables below gets the signal of the budget's end (SIGTERM) at once, as from timeout(1).
 * So does any other process that waits for a child when the budget ends.  Where a runtime has
 * set hooks, it raises an exception instead.
 *
 * What must hold:
 * - The signal is sent once.  It is not sent to a process that ignores it, nor where signals are
 *   turned off (COOPDL_GRACE=off): such a process is cut as others are.
 * - A process that handles the signal has the grace for its clean-up, as under timeout(1).  Its
 *   budget is longer by the grace, and so are those of the programs that it starts.  After that
 *   the ladder goes on.
 * - After the end no other process starts a program: exec fails with ETIMEDOUT.  A process that
 *   forks for an exec, or calls posix_spawn, system or popen, would wait for that child next: it
 *   is signalled as well.
 * - A wait for a child does not fail while the child may be about to end by the same budget.  It
 *   fails once with EINTR, then goes on for 250 ms after the end, and returns the child's own
 *   status.
 * - A writer that ends by the budget does not end the data.  A read is cut where it would find
 *   the end of a pipe, or of a local connection that another process has made.  A poll is cut
 *   where it would report that end and nothing else.  Data that was written before is read
 *   first.
 * - There are two exceptions.  The end of a connection that this process has made is reported,
 *   since the hang-up ends those.  So is the end that a living peer has announced with shutdown.
 * - select and epoll report the end.  They cannot say which descriptor has hung up, and an
 *   edge-triggered event that is suppressed never comes again.  The read that follows is cut.
 * - A process that leaves the session (setsid) leaves the deadlines that it has inherited, and a
 *   program that is started as the first of a new session inherits none.  The process that the
 *   budget was given to is excepted, and so is every process under `coopdl --tree`.
 *
 * Interleavings.
 * - A child ends by the budget before its parent is kicked.  So a wait that has returned a child
 *   compares the time with the deadline, too.
 * - The signal's handler waits for the same child that the interrupted wait has just reaped, as
 *   make's handler does.  So during such a wait only the wait itself signals.  It keeps the
 *   status that it has got for a wait in the handler (thread->reaping).
 * - A thread calls exec just before the end.  The new program has the same budget, and its own
 *   timer cuts or signals it.
 * - A forked child has its parent's budget, lengthened or not, and gets a signal of its own.  A
 *   vfork child shares its parent's memory, so it writes to nothing here.
 */
#include "core/ending.h"

#include "core/budget.h"
#include "core/clock.h"
#include "core/handler.h"
#include "core/hangup.h"
#include "core/hooks.h"
#include "core/pause.h"
#include "core/policy.h"
#include "core/process.h"
#include "core/scope.h"
#include "core/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

/* How long after the end a wait for a child goes on. */
#define CHILDS_TIME (250 * COOPDL_MILLISECOND)

/* How long a handler that only leaves a note has until the wait returns. */
#define HANDLERS_TIME (50 * COOPDL_MILLISECOND)

bool coopdl_cleaning;
int64_t coopdl_outgrown = -1;

/* Both by the file that is executed: a script's own name says nothing. */
static const char *const interpreters[] = {
#include "core/interpreters.def"
    NULL,
};

/* Programs that wait for a child and are not signalled: they end with the status of that child, or
 * with an error.  They would forward the signal to the child, which is to be cut. */
static const char *const proper[] = {
    "git",       "timeout", "time",    "flock", "strace",  "ltrace", "script", "tini",
    "dumb-init", "unshare", "setpriv", "su",    "runuser", "sudo",   NULL,
};

static bool is_one_of(const char *const *names)
{
    char path[4096];
    long length = coopdl_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    while (*names && strcmp(name, *names) != 0)
        names++;
    return *names;
}

/* The signal has a handler: the time for the clean-up is added to the budget. */
static void lengthen(struct coopdl_thread *thread)
{
    coopdl_cleaning = true;
    coopdl_outgrown = coopdl_policy.deadline;
    coopdl_budget_lengthen(coopdl_policy.cleanup);
    if (thread && atomic_load(&thread->word) != WORD_CONCEALED)
        coopdl_refound(thread, coopdl_policy.deadline);
}

/* How the signal was taken: not at all; by a handler, and whether that restarts calls. */
enum taken { NOT_SENT, SENT, HANDLED, HANDLED_RESTARTS };

static atomic_bool sent;

static enum taken signal_at_once(const char *why)
{
    int number = coopdl_policy.end_signal;
    if (!number || coopdl_cleaning || atomic_load(&sent)) /* a wait asks every ms */
        return NOT_SENT;
    struct coopdl_action action = coopdl_action_of(number);
    if (action.handler == SIG_IGN || is_one_of(proper) || atomic_exchange(&sent, true))
        return NOT_SENT;
    bool handled = action.handler != SIG_DFL;
    if (handled)
        lengthen(coopdl_self);
    coopdl_budget_signal(number, why);
    return !handled ? SENT : action.flags & SA_RESTART ? HANDLED_RESTARTS : HANDLED;
}

void coopdl_end_interpreter(void)
{
    if (coopdl_self && coopdl_self->reaps) /* it will see to that */
        return;
    if (coopdl_policy.end_signal && !coopdl_cleaning && is_one_of(interpreters))
        signal_at_once("budget ended, an interpreter of commands is signalled");
}

static const char during_wait[] = "budget ended during a wait for a child";

static bool is_budgets(struct coopdl_thread *thread)
{
    const struct coopdl_entry *owner = coopdl_owner(thread, coopdl_clock());
    return owner && !owner->scope && owner != &thread->borrowed && !coopdl_hooked();
}

enum coopdl_waiter coopdl_end_waiter(struct coopdl_thread *thread, bool restarts)
{
    if (!is_budgets(thread))
        return WAITER_CUT;
    switch (signal_at_once(during_wait)) {
    case HANDLED:
        return WAITER_INTERRUPTED;
    case HANDLED_RESTARTS:
        return WAITER_RESTARTS;
    case SENT: /* it is blocked */
        return WAITER_GOES_ON;
    default:
        break;
    }
    const struct coopdl_entry *owner = coopdl_owner(thread, coopdl_clock());
    bool restarted = restarts || (owner && owner->cuts);
    return restarted && coopdl_clock() < coopdl_later(coopdl_policy.deadline, CHILDS_TIME)
               ? WAITER_GOES_ON
               : WAITER_CUT;
}

enum { FORMAT = 0170000, FIFO = 0010000, DEVICE = 0020000, SOCKET = 0140000 };

static bool is_input(int fd)
{
    int format = coopdl_mode_of(fd) & FORMAT;
    return fd == 0 || format == FIFO || format == DEVICE;
}

bool coopdl_end_of_writer(struct coopdl_thread *thread, int fd)
{
    if (!is_budgets(thread))
        return false;
    int format = coopdl_mode_of(fd) & FORMAT;
    return format == FIFO || (format == SOCKET && coopdl_is_others_connection(fd));
}

bool coopdl_left_by_writer(struct coopdl_thread *thread, int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    struct timespec now = {0};
    return coopdl_sys(SYS_ppoll, &pollfd, 1, &now, 0, COOPDL_SIGSET_SIZE) == 1 &&
           coopdl_is_end_of_writer(thread, fd, pollfd.revents);
}

bool coopdl_is_end_of_writer(struct coopdl_thread *thread, int fd, int events)
{
    int unread = 0;
    if (!(events & POLLHUP) || events & ~(POLLHUP | POLLIN | POLLRDNORM | POLLRDHUP) ||
        !coopdl_end_of_writer(thread, fd))
        return false;
    /* A socket says POLLIN, too, of the end of file itself. */
    return coopdl_sys(SYS_ioctl, fd, FIONREAD, &unread) == 0 && unread == 0;
}

enum coopdl_waiter coopdl_end_reader(struct coopdl_thread *thread, int fd)
{
    if (coopdl_policy.read_error || !is_budgets(thread) || !is_input(fd))
        return WAITER_CUT;
    switch (signal_at_once("budget ended during stdio's read")) {
    case HANDLED:
        return WAITER_INTERRUPTED;
    case HANDLED_RESTARTS:
        return WAITER_RESTARTS;
    default:
        return WAITER_CUT;
    }
}

void coopdl_waited(struct coopdl_thread *thread)
{
    int64_t word = coopdl_load(thread);
    if (word >= 0 && word <= coopdl_clock() && !coopdl_hooked())
        coopdl_fire_self(thread);
    if (!coopdl_cutting(thread) || !is_budgets(thread))
        return;
    enum taken taken = signal_at_once(during_wait);
    /* A runtime's handler leaves a note for another thread (Ruby's), which is to come before the
     * program's next command. */
    if (taken == HANDLED || taken == HANDLED_RESTARTS)
        coopdl_sleep_for(HANDLERS_TIME);
}

bool coopdl_start_refused(void)
{
    struct coopdl_thread *thread = coopdl_self;
    int64_t now = coopdl_clock(), word = thread ? coopdl_load(thread) : 0;
    if (coopdl_policy.deadline > now || (thread && !coopdl_cutting(thread) && word > now))
        return false;
    if (thread && word < 0 &&
        !coopdl_cutting(
            thread)) /* no deadline rules the thread, or its exception is being handled */
        return false;
    /* A loop in which each try is a process of its own is slowed down, too. */
    coopdl_sleep_for(COOPDL_LONGEST_PAUSE);
    return true;
}

void coopdl_end_starter(void)
{
    struct coopdl_thread *thread = coopdl_self;
    if (coopdl_budgeted && coopdl_policy.deadline <= coopdl_clock() &&
        (thread ? coopdl_cutting(thread) && is_budgets(thread) : !coopdl_hooked()))
        signal_at_once("budget ended before a process is started");
}

void coopdl_session_left(void)
{
    if (coopdl_policy.command || coopdl_policy.tree || coopdl_sys(SYS_getpid) != coopdl_pid)
        return;
    if (coopdl_self)
        coopdl_disown(coopdl_self);
    if (coopdl_budgeted) {
        coopdl_outgrown = coopdl_policy.deadline;
        coopdl_outlive();
    }
}

bool coopdl_session_left_by_child(void)
{
    long pid = coopdl_sys(SYS_getpid);
    return !coopdl_policy.tree && pid != coopdl_pid && coopdl_sys(SYS_getsid, 0) == pid;
}

void coopdl_ending_forked(void)
{
    coopdl_policy.command = false;
    atomic_store(&sent, coopdl_cleaning);
}
