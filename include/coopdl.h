/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coopdl.h -- deadlines for code that has none.
 *
 *     coopdl_scope scope;
 *     coopdl_enter(&scope, coopdl_after(2 * COOPDL_SECOND));
 *     fetch(url);                          // any library, any blocking call
 *     if (coopdl_leave(&scope) == 1)
 *         fprintf(stderr, "fetch: deadline exceeded\n");
 *
 * A thread says "until then"; from that moment every blocking call that it
 * makes through libc ends by then, first with EINTR and, if the caller tries
 * again, with ETIMEDOUT.
 *
 * Time.     Every time here is in nanoseconds, in an int64_t.  A deadline is an
 *           absolute time of CLOCK_MONOTONIC, the clock of coopdl_now().  It is
 *           rounded up to 8 ns, never down.
 * Threads.  A scope belongs to the thread that entered it; every function here
 *           but coopdl_lend, coopdl_move and coopdl_cuts_of_budget works on the
 *           calling thread alone.  All may be called from any number of threads at once.
 * Signals.  "Async-signal-safe: yes" means that the function may be called in a
 *           signal handler, also one that interrupted the same function.
 *           "After the first" means: yes, once this thread has entered a scope
 *           or a shield before.  The first time may allocate and start a thread.
 * Errors.   A function that can fail returns -1 and sets errno; it has then
 *           changed nothing.  The others leave errno alone.
 */
#ifndef COOPDL_H
#define COOPDL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

#define COOPDL_MICROSECOND ((int64_t)1000)
#define COOPDL_MILLISECOND ((int64_t)1000000)
#define COOPDL_SECOND ((int64_t)1000000000)

/* The deadline of a thread that has none. */
#define COOPDL_NEVER INT64_MAX

/*
 * One entry on a thread's stack of deadlines.  The caller owns the memory, on
 * its stack or in an object of its own, and does not move it between entering
 * and leaving.  It needs no initialising.  The fields are the library's.
 * A scope that is not left (a longjmp past it, a thread that ends inside it)
 * goes with the next outer one that is, or with the thread; until then its
 * deadline stands.
 */
typedef struct coopdl_scope {
    struct coopdl_thread *thread;
    uint64_t place;
    uint64_t reserved[2];
} coopdl_scope;

/*
 * The time now, in nanoseconds of CLOCK_MONOTONIC.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
int64_t coopdl_now(void);

/*
 * The deadline that lies `nanoseconds` after now: what a scope wants when the
 * caller has a duration.  Zero or less gives a deadline that has passed
 * already; what would lie beyond the clock's range gives COOPDL_NEVER.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
int64_t coopdl_after(int64_t nanoseconds);

/*
 * Whether a deadline has passed: 1 if coopdl_now() has reached it, else 0.  Where it is more than a
 * second away this costs a seventh of coopdl_now(): the kernel's coarse clock tells, which is
 * behind by no more than a tick, 10 ms at the most.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
int coopdl_passed(int64_t deadline);

/*
 * Reads a duration as the environment and the command take it: a number of
 * seconds (`5`, `2.5`), or numbers with units, from the largest unit to the
 * smallest, each once (`250ms`, `1m30s`, `1.5h`, `2d`).  Units: d h m s ms us
 * ns.  A number may have an exponent (`1e3`, `2.5e-1m`).  What is finer than a
 * nanosecond is rounded up.  `inf` and `infinity` are COOPDL_NEVER.
 * Returns 0 and stores the nanoseconds, or -1 and stores nothing.
 * Threads: any.  Async-signal-safe: yes.
 * Errors: EINVAL for anything else (empty, a sign, blanks, nan, an unknown
 * unit, trailing text), ERANGE above 292 years (INT64_MAX ns).
 */
int coopdl_duration(const char *text, int64_t *nanoseconds);

/*
 * Enters a scope: until it is left, no blocking call of this thread waits
 * longer than until `deadline`.  Of nested scopes the earliest deadline rules.
 * A deadline in the past is allowed: whatever would wait is then cut.
 * COOPDL_NEVER is allowed: a scope that limits nothing by itself.
 * Returns 0 or -1.  Costs no system call unless the deadline is earlier than
 * all that this process is waiting for.
 * Threads: the scope is the calling thread's.  Async-signal-safe: after the
 * first.
 * Errors: EAGAIN or ENOMEM when the thread that watches the deadlines, or
 * memory for the thread's record, cannot be had; EPERM when a filter of system
 * calls refuses what a deadline takes; EINVAL for a null scope.
 */
int coopdl_enter(coopdl_scope *scope, int64_t deadline);

/*
 * Leaves a scope, and with it any inner one that was not left.  When it
 * returns, nothing that this scope caused can reach the thread any more: no
 * EINTR lands after it.  That may take it some microseconds when the deadline
 * has just passed.  If a hook is running for this thread at that moment, it
 * waits for the hook to return: a runtime releases its own lock around this
 * call.
 * Returns 1 if the deadline passed and the library acted on it before the
 * scope was left, so that calls may have been cut; 0 if not; -1 on error.
 * Threads: the one that entered.  Async-signal-safe: yes.
 * Errors: EINVAL when the calling thread is not inside this scope.
 */
int coopdl_leave(coopdl_scope *scope);

/*
 * Gives a scope that is entered another deadline, earlier or later.  One that
 * has expired and gets a deadline in the future cuts nothing until then.
 * Threads: the one that entered; or any other, while a lock of the caller's
 * keeps that one from entering, leaving, moving and delivering scopes.  Such a
 * call waits for a kick that is under way, 100 ms at the most where the thread
 * blocks it.
 * Async-signal-safe: in the thread that entered.
 * Errors: EINVAL when no thread is inside this scope, or the scope is a shield.
 */
int coopdl_move(coopdl_scope *scope, int64_t deadline);

/*
 * Enters a shield: until it is left with coopdl_leave, no deadline from
 * outside it, the budget's included, cuts a call of this thread.  Scopes that
 * are entered inside the shield hold as ever, so a clean-up can have a limit
 * of its own.
 * Threads, async-signal-safety, errors: as coopdl_enter.
 */
int coopdl_shield(coopdl_scope *scope);

/*
 * Whether this scope's deadline has passed.  Made to be polled in a loop that
 * makes no blocking call: while nothing of this thread has expired it reads
 * one word and no clock (about a nanosecond); the truth may reach it some
 * microseconds late.  It is 0 inside a shield that was entered after the
 * scope.
 * Threads: the one that entered; 0 elsewhere.  Async-signal-safe: yes.
 */
int coopdl_expired(const coopdl_scope *scope);

/*
 * The deadline that rules the calling thread now: the earliest of its scopes
 * and the budget, up to the innermost shield; COOPDL_NEVER if there is none.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
int64_t coopdl_deadline(void);

/*
 * What is left until coopdl_deadline(), in nanoseconds: 0 once it has passed,
 * COOPDL_NEVER if there is none.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
int64_t coopdl_remaining(void);

/*
 * Takes the calling process out of its budget: nothing of it is cut or
 * signalled for that reason any more, but its children inherit the budget as
 * before.  For a supervisor that ends others when their time has come.
 * Threads: to be called while the process has one thread.  Async-signal-safe:
 * no.  Errors: none.
 */
void coopdl_outlive(void);

/*
 * Lends a deadline to another thread of this process.  The thread is inside
 * `deadline` as it would be inside a budget: outside of all scopes of its own,
 * and hidden by its shields.  COOPDL_NEVER takes the deadline back.  Once it has
 * passed, calls of that thread are cut as in a scope, and the hook `expired` is
 * called for the thread with a null scope.  This is for a caller that waits for
 * a thread and has no way to give up.  A thread has one such deadline: a new one
 * replaces the last.  It ends with the thread, and is not inherited by a forked
 * child.
 * The thread need not use this library.  A thread that has called no function of
 * it reports no deadline until the kick has reached it.
 * Taking back waits for a kick that is under way, 100 ms at the most where the
 * thread blocks it.  When it has returned, nothing new reaches that thread; a
 * call that was interrupted before may still be about to return EINTR.
 * Returns 0 or -1.
 * Threads: any, the hook `expired` included, also for the calling thread.
 * Async-signal-safe: no.
 * Errors: ESRCH when this process has no such thread; EAGAIN when the thread that
 * watches the deadlines, or memory for a record, cannot be had.
 */
int coopdl_lend(pid_t thread, int64_t deadline);

/* Which kind of deadline has ended a call. */
typedef enum coopdl_owner_kind {
    COOPDL_OWNER_SCOPE,
    COOPDL_OWNER_BUDGET, /* that of the process */
    COOPDL_OWNER_LENT    /* by coopdl_lend */
} coopdl_owner_kind;

/*
 * The first call that a deadline has ended in a thread: cut, or kicked for an exception that a
 * runtime raises.  Times are in nanoseconds; what is not known is -1, null or "".
 */
struct coopdl_cut {
    coopdl_owner_kind owner;
    int64_t deadline;   /* that has passed */
    int64_t length;     /* how long the budget was, in the process that was given it */
    int64_t at;         /* when the call was ended */
    int64_t waited;     /* how long it had waited by then */
    int64_t silent;     /* how long its TCP connection had carried no data, either way */
    uint64_t cuts;      /* how many calls this deadline has cut up to now */
    const void *caller; /* the address to which the call returns */
    pid_t thread;
    int descriptor;    /* that it waited for; of several: the one that `target` is about */
    char name[16];     /* of the thread */
    char call[24];     /* such as "recv" */
    char target[128];  /* such as "tcp 10.0.0.7:5432", "pipe", "/run/x.fifo", "pid 4711 sleep 60" */
    char library[64];  /* the file that `caller` lies in, such as "libpq.so.5" */
    char function[64]; /* the symbol there, such as "PQexec+0x4f", where there is one */
};

/*
 * What the deadline of a scope has ended first in the calling thread: of one that it is inside, or
 * has left, until it enters another at the same depth.  Null: of the budget, or what was lent.
 * Returns 1 and fills in *cut; 0 if no call was ended, or none that the wrappers have seen.
 * Threads: the one that entered; 0 elsewhere.  Async-signal-safe: yes.  Errors: none.
 */
int coopdl_cut_of(const coopdl_scope *scope, struct coopdl_cut *cut);

/*
 * What the budget has ended first in each thread of the process that lives, the calling one
 * included: fills in at most `room` of them, and returns how many there are.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
int coopdl_cuts_of_budget(struct coopdl_cut *cuts, int room);

/*
 * The same as coopdl_cut_of as text, such as
 *
 *     in recv() on tcp 10.0.0.7:5432, called by libpq.so.5
 *
 * to follow a text of the caller's own.  Writes at most `size` bytes with the null at the end, and
 * returns how long the whole text is, as snprintf does; "" and 0 where there is nothing to say.
 * Threads, async-signal-safety, errors: as coopdl_cut_of.
 */
int coopdl_describe(const coopdl_scope *scope, char *text, size_t size);

/* Why a thread was kicked, for coopdl_kicks. */
typedef enum coopdl_kick_cause {
    COOPDL_KICK_EXPIRY,    /* its deadline passed: the first kick */
    COOPDL_KICK_UNTRAPPED, /* again: expired threads cannot be trapped here, or not at the moment */
    COOPDL_KICK_FUTEX,  /* again: it may sleep in a futex, where locks live, which is never cut */
    COOPDL_KICK_MOMENT, /* again: a call that cannot be looked at beforehand took a moment */
    COOPDL_KICK_CALL,   /* again: it was inside a call that is never cut */
    COOPDL_KICK_CAUSES  /* how many causes there are */
} coopdl_kick_cause;

/*
 * How many kicks were sent for this cause since the process began, 0 for what
 * is no cause: for tests, and for finding out what a program hangs in.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
uint64_t coopdl_kicks(coopdl_kick_cause cause);

/* The setting of COOPDL_LOG that a line needs: any, or `debug`. */
typedef enum coopdl_log_level { COOPDL_LOG_CUTS, COOPDL_LOG_DEBUG } coopdl_log_level;

/*
 * Writes one line to the log of COOPDL_LOG, with the names of the program and the thread before it;
 * does nothing where there is no log, or its level is lower.  Of a long text the beginning.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
void coopdl_log(coopdl_log_level level, const char *text);

/*
 * Whether libc's blocking calls in this process go through this library, as
 * they do when it is preloaded or linked before libc.  Without that a scope
 * still expires, kicks its thread and calls the hook, but restart loops go on.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
int coopdl_preloaded(void);

/* The library's version, such as "0.1.0"; a static string. */
const char *coopdl_version(void);

/*
 * For runtimes (Python, Ruby, an event loop): how an expiry becomes an
 * exception.
 *
 * `expired` is called for a thread whose deadline has passed: before it is
 * kicked and before a call of it is cut, and then again and again (after 1 ms,
 * doubling, to 100 ms) until the scope is left.  `scope` is the outermost
 * expired scope of that thread, or null for the budget; it stays valid during
 * the call, since coopdl_leave waits for it.  Its verdict says what happens:
 *
 *   COOPDL_CUT       kick the thread, and cut what would wait: the rule without a
 *                    hook
 *   COOPDL_KICK      an exception is on its way to the thread: kick it out of the
 *                    call that it is in, but cut nothing, so that the clean-up
 *                    can do I/O
 *   COOPDL_HANDLING  the exception is being handled: neither kick nor cut
 *
 * `expired` runs on the library's own thread, never in a signal handler: it may
 * lock and allocate, and it holds up every other deadline of the process while
 * it runs.
 *
 * `kicked` is called in the kicked thread, inside the signal handler: only what
 * is async-signal-safe may be done there.  Either may be null.
 *
 * Returns 0 or -1.  The struct must live as long as the process; null removes
 * the hooks, and returns when no hook runs any more.  In a forked child a
 * runtime sets its hooks again: until then expiries in the child cut as they
 * do without a hook.
 * Threads: any.  Async-signal-safe: no.
 * Errors: EAGAIN or ENOMEM when the library's thread cannot be started.
 */
enum coopdl_verdict { COOPDL_CUT = 0, COOPDL_KICK = 1, COOPDL_HANDLING = 2 };

struct coopdl_hooks {
    enum coopdl_verdict (*expired)(pid_t thread, coopdl_scope *scope);
    void (*kicked)(void);
};

int coopdl_set_hooks(const struct coopdl_hooks *hooks);

/*
 * Delivers an expired scope from within its own thread: the runtime has raised
 * its exception here and now, without waiting for the hook.  The scope cuts
 * nothing until the hook answers COOPDL_CUT.  Null: the budget, or a deadline
 * that was lent to this thread.
 * Threads: the one that entered.  Async-signal-safe: yes.
 * Errors: EINVAL when the calling thread is not inside this scope, or the
 * scope has not expired.
 */
int coopdl_deliver(coopdl_scope *scope);

/*
 * The hook `expired` would answer COOPDL_CUT now: the library asks about this
 * thread (its id, as gettid gives it) at once, and not 1 to 100 ms after it has
 * last asked.  Nothing happens if no deadline of the thread has passed.
 * Threads: any.  Async-signal-safe: yes.  Errors: none.
 */
void coopdl_ask_now(pid_t thread);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
