/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.c -- the records of threads, and the lists of entries in them.
 *
 * The first scope of a thread claims a record, and the end of the thread gives the record back.
 * Another thread that lends a deadline may claim the record first, and so may the budget's end
 * (meet.c); then the thread finds the record by its number.  In a forked child only the record of
 * the forking thread is left.
 *
 * The library says which threads are inside the budget, by asking about them after the budget's
 * end.  Threads that COOPDL_EXCLUDE_THREADS names are not inside.  From then on `base` is the
 * record's own entry for the budget, unless a deadline is lent to the thread.  The main thread is
 * inside from the start.
 */
#include "thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct thread *_Atomic threads;
static _Thread_local struct thread *self;
static _Atomic bool claimed_by_others;
static pthread_key_t ending;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Of one thread there is one record, whoever makes it. */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

_Atomic int64_t coopdl_py_budget = COOPDL_NEVER;

static pid_t current_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* In a child that a worker thread has forked signals are noticed, from 3.13 on, in the main thread,
 * which is gone: there the thread goes on as a worker. */
static enum kind kind_of(const struct thread *thread)
{
    bool first = atomic_load(&thread->tid) == getpid();
#if PY_VERSION_HEX >= 0x030D0000
    first = first && !coopdl_py_worker_child;
#endif
    return first ? KIND_MAIN : KIND_WORKER;
}

static void give_back(void *record)
{
    struct thread *thread = record;
    struct entry *entry;
    self = NULL;
    atomic_store(&thread->wanted, false);
    while ((entry = atomic_load(&thread->top)))
        coopdl_py_drop(thread, entry);
    atomic_store(&thread->base, NULL);
    atomic_store(&thread->tid, 0);
}

bool coopdl_py_worker_child;
static bool worker_forks;

static void before_fork(void)
{
    worker_forks = current_tid() != getpid();
}

/* A child that a worker thread has forked ends by its calls, and by the budget's signal: beyond
 * that thread's stack is nobody who would turn what the budget raises into its status. */
static void in_child(void)
{
    making = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    coopdl_py_worker_child |= worker_forks;
    if (coopdl_py_worker_child)
        atomic_store(&coopdl_py_budget, COOPDL_NEVER);
    for (struct thread *t = atomic_load(&threads); t; t = atomic_load(&t->next))
        if (t != self)
            atomic_store(&t->tid, 0);
    if (!self)
        return;
    atomic_store(&self->tid, current_tid());
    if (coopdl_py_worker_child)
        atomic_store(&self->base, NULL);
    if (self->kind == KIND_WORKER)
        self->kind = kind_of(self);
}

static void prepare(void)
{
    pthread_key_create(&ending, give_back);
    pthread_atfork(before_fork, NULL, in_child);
}

static void begin(struct thread *thread)
{
    /* The address of the last thread's state may be that of this one's. */
    thread->attached = thread->home = (struct attached){0};
    thread->budget.budget = true;
    atomic_store(&thread->base, NULL);
    atomic_store(&thread->budget.deadline, COOPDL_NEVER);
    atomic_store(&thread->budget.overdue, COOPDL_NEVER);
    atomic_store(&thread->budget.life, LIFE_ARMED);
    atomic_store(&thread->verdict, COOPDL_HANDLING); /* the raiser has not looked at it yet */
    atomic_store(&thread->unanswered, 0);
    atomic_store(&thread->seen, NULL);
    atomic_store(&thread->looked, false);
    thread->deferral = (struct deferral){0}; /* the last thread may have ended in a wait */
    thread->kind = KIND_UNKNOWN;
}

static struct thread *free_record(void)
{
    struct thread *thread = coopdl_py_find(0);
    if (thread || !(thread = calloc(1, sizeof(*thread))))
        return thread;
    atomic_store(&thread->next, atomic_load(&threads));
    atomic_store(&threads, thread);
    return thread;
}

static struct thread *record_of(pid_t tid)
{
    pthread_once(&once, prepare);
    pthread_mutex_lock(&making);
    struct thread *thread = coopdl_py_find(tid);
    if (!thread && (thread = free_record())) {
        begin(thread);
        atomic_store(&thread->tid, tid);
    }
    pthread_mutex_unlock(&making);
    return thread;
}

/* A thread that goes from one interpreter to another is reached as is right there. */
static void attach(struct thread *thread, struct attached attached, bool foreign)
{
    thread->attached = attached;
    thread->kind = foreign ? KIND_FOREIGN : kind_of(thread);
    if (!foreign)
        thread->home = attached;
}

void coopdl_py_join_budget(struct thread *thread)
{
    struct entry *none = NULL;
    int64_t deadline = atomic_load(&coopdl_py_budget);
    if (likely(deadline == COOPDL_NEVER) || thread->kind == KIND_FOREIGN)
        return;
    atomic_store(&thread->budget.deadline, deadline);
    atomic_compare_exchange_strong(&thread->base, &none, &thread->budget);
}

struct thread *coopdl_py_expect(pid_t tid)
{
    struct thread *thread = coopdl_py_find(tid);
    if (!thread && (thread = record_of(tid)))
        atomic_store(&claimed_by_others, true);
    return thread;
}

void coopdl_py_attach(struct thread *thread, PyThreadState *state)
{
    attach(thread, (struct attached){state, PyThreadState_GetID(state)}, false);
}

struct thread *coopdl_py_claim(pid_t tid, PyThreadState *state)
{
    struct thread *thread = record_of(tid);
    if (!thread)
        return NULL;
    if (tid != current_tid())
        atomic_store(&claimed_by_others, true);
    attach(thread, (struct attached){state, PyThreadState_GetID(state)},
           PyThreadState_GetInterpreter(state) != PyInterpreterState_Main());
    atomic_store(&thread->verdict, COOPDL_HANDLING); /* the raiser has not looked at it yet */
    return thread;
}

static struct thread *become(struct thread *thread)
{
    pthread_setspecific(ending, thread);
    return self = thread;
}

struct thread *coopdl_py_thread(void)
{
    PyThreadState *state = PyThreadState_Get();
    if (likely(self && self->attached.state == state))
        return self;
    struct thread *thread = coopdl_py_claim(current_tid(), state);
    if (!thread) {
        PyErr_NoMemory();
        return NULL;
    }
    return become(thread);
}

struct thread *coopdl_py_self(void)
{
    struct thread *thread = self;
    if (unlikely(!thread && atomic_load_explicit(&claimed_by_others, memory_order_relaxed)) &&
        (thread = coopdl_py_find(current_tid())))
        become(thread);
    return thread;
}

struct thread *coopdl_py_find(pid_t tid)
{
    struct thread *thread = atomic_load(&threads);
    while (thread && atomic_load(&thread->tid) != tid)
        thread = atomic_load(&thread->next);
    return thread;
}

struct thread *coopdl_py_next(struct thread *thread)
{
    return thread ? atomic_load(&thread->next) : atomic_load(&threads);
}

PyThreadState *coopdl_py_state(const struct thread *thread)
{
    PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    while (state &&
           (state != thread->attached.state || PyThreadState_GetID(state) != thread->attached.id))
        state = PyThreadState_Next(state);
    return state;
}

struct entry *coopdl_py_owner(const struct thread *thread, int64_t now)
{
    struct entry *owner = NULL, *entry = atomic_load(&thread->top);
    for (; entry && !entry->shield; entry = atomic_load(&entry->outer))
        if (atomic_load(&entry->deadline) <= now)
            owner = entry;
    struct entry *base = entry ? NULL : atomic_load(&thread->base);
    return base && atomic_load(&base->deadline) <= now ? base : owner;
}

bool coopdl_py_is_spent(const struct entry *entry, int64_t now)
{
    int life = atomic_load(&entry->life);
    return entry->instead && (life == LIFE_RAISED || life == LIFE_SWALLOWED) &&
           atomic_load(&entry->overdue) > now;
}

struct entry *coopdl_py_unspent(const struct thread *thread, int64_t now)
{
    struct entry *owner = coopdl_py_owner(thread, now);
    if (!owner || !coopdl_py_is_spent(owner, now))
        return owner;
    struct entry *inner = NULL, *entry = atomic_load(&thread->top);
    for (; entry && entry != owner; entry = atomic_load(&entry->outer))
        if (atomic_load(&entry->deadline) <= now && !coopdl_py_is_spent(entry, now))
            inner = entry;
    return inner;
}

static int64_t sooner(const struct entry *entry, int64_t now, int64_t next)
{
    int64_t times[] = {atomic_load(&entry->deadline), atomic_load(&entry->overdue)};
    for (int i = 0; i < 2; i++)
        if (times[i] > now && times[i] < next)
            next = times[i];
    return next;
}

int64_t coopdl_py_next_time(const struct thread *thread, int64_t now)
{
    int64_t next = COOPDL_NEVER;
    const struct entry *entry = atomic_load(&thread->top);
    for (; entry && !entry->shield; entry = atomic_load(&entry->outer))
        next = sooner(entry, now, next);
    const struct entry *base = entry ? NULL : atomic_load(&thread->base);
    return base ? sooner(base, now, next) : next;
}

struct entry *coopdl_py_entry(struct thread *thread)
{
    struct entry *entry = thread->spare;
    if (likely(entry))
        thread->spare = entry->spare;
    else if (!(entry = calloc(1, sizeof(*entry))))
        PyErr_NoMemory();
    return entry;
}

void coopdl_py_push(struct thread *thread, struct entry *entry)
{
    struct entry *outer = atomic_load_explicit(&thread->top, memory_order_relaxed);
    atomic_store_explicit(&entry->outer, outer, memory_order_relaxed);
    entry->attached = thread->attached;
    atomic_store_explicit(&thread->top, entry, memory_order_release);
}

void coopdl_py_drop(struct thread *thread, struct entry *entry)
{
    struct entry *_Atomic *link = &thread->top;
    while (atomic_load(link) && atomic_load(link) != entry)
        link = &atomic_load(link)->outer;
    if (atomic_load(link))
        atomic_store_explicit(link, atomic_load(&entry->outer), memory_order_release);
    atomic_store_explicit(&entry->life, LIFE_LEFT, memory_order_relaxed);
    entry->spare = thread->spare;
    thread->spare = entry;
    struct entry *top = atomic_load(&thread->top);
    if (unlikely(top ? top->attached.state != thread->attached.state
                     : thread->kind == KIND_FOREIGN && thread->home.state))
        attach(thread, top ? top->attached : thread->home,
               top && top->attached.state != thread->home.state);
}
