/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.c -- the records of threads, and the lists of entries in them.
 *
 * A record is claimed by the first scope of a thread and given back when the
 * thread ends.  In a forked child only the forking thread's is left.
 */
#include "thread.h"

#include "budget.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct thread *_Atomic threads;
static _Thread_local struct thread *self;
static pthread_key_t ending;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static pid_t current_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static void give_back(void *record)
{
    struct thread *thread = record;
    struct entry *entry;
    self = NULL;
    atomic_store(&thread->wanted, false);
    while ((entry = atomic_load(&thread->top)))
        coopdl_py_drop(thread, entry);
    thread->pending = NULL;
    atomic_store(&thread->tid, 0);
}

static void in_child(void)
{
    for (struct thread *t = atomic_load(&threads); t; t = atomic_load(&t->next))
        if (t != self)
            atomic_store(&t->tid, 0);
    if (!self)
        return;
    atomic_store(&self->tid, current_tid());
#if PY_VERSION_HEX < 0x030D0000
    /* From 3.13 on signals would still be noticed in the thread that is gone: there it goes on as a
     * worker. */
    if (self->kind == KIND_WORKER)
        self->kind = KIND_MAIN;
#endif
}

static void prepare(void)
{
    pthread_key_create(&ending, give_back);
    pthread_atfork(NULL, NULL, in_child);
}

static struct thread *reuse(pid_t tid)
{
    for (struct thread *t = atomic_load(&threads); t; t = atomic_load(&t->next)) {
        pid_t nobody = 0;
        if (atomic_compare_exchange_strong(&t->tid, &nobody, tid))
            return t;
    }
    return NULL;
}

static struct thread *claim(void)
{
    pthread_once(&once, prepare);
    pid_t tid = current_tid();
    struct thread *thread = reuse(tid);
    if (!thread) {
        thread = calloc(1, sizeof(*thread));
        if (!thread)
            return NULL;
        atomic_store(&thread->tid, tid);
        struct thread *first = atomic_load(&threads);
        do
            atomic_store(&thread->next, first);
        while (!atomic_compare_exchange_weak(&threads, &first, thread));
    }
    pthread_setspecific(ending, thread);
    return thread;
}

/* A thread that goes from one interpreter to another is told as is right there. */
static void adopt(struct thread *thread, PyInterpreterState *interpreter)
{
    thread->interpreter = interpreter;
    thread->kind = interpreter != PyInterpreterState_Main() ? KIND_FOREIGN
                   : current_tid() == getpid()              ? KIND_MAIN
                                                            : KIND_WORKER;
}

struct thread *coopdl_py_thread(void)
{
    PyInterpreterState *interpreter = PyInterpreterState_Get();
    if (likely(self && self->interpreter == interpreter))
        return self;
    struct thread *thread = self ? self : claim();
    if (!thread) {
        PyErr_NoMemory();
        return NULL;
    }
    thread->ident = PyThread_get_thread_ident();
    adopt(thread, interpreter);
    atomic_store(&thread->told, COOPDL_PEACE); /* nobody has looked at it yet */
    self = thread;
    return thread;
}

struct thread *coopdl_py_self(void)
{
    return self;
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

/* By its number, in the form that Linux gives such clocks: pthread_getcpuclockid reads the memory
 * of a thread that may be gone. */
int64_t coopdl_py_work(const struct thread *thread)
{
    struct timespec time = {0};
    clock_gettime((clockid_t)(~(unsigned int)atomic_load(&thread->tid) << 3 | 6), &time);
    return time.tv_sec * COOPDL_SECOND + time.tv_nsec;
}

struct entry *coopdl_py_owner(const struct thread *thread, int64_t now)
{
    struct entry *owner = NULL, *entry = atomic_load(&thread->top);
    for (; entry && !entry->shield; entry = atomic_load(&entry->outer))
        if (atomic_load(&entry->deadline) <= now)
            owner = entry;
    /* The budget is outside of all. */
    if (!entry && thread->kind == KIND_MAIN && atomic_load(&coopdl_py_budget.deadline) <= now)
        owner = &coopdl_py_budget;
    return owner;
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
    entry->interpreter = thread->interpreter;
    atomic_store_explicit(&thread->top, entry, memory_order_release);
}

void coopdl_py_drop(struct thread *thread, struct entry *entry)
{
    struct entry *_Atomic *link = &thread->top;
    while (atomic_load(link) && atomic_load(link) != entry)
        link = &atomic_load(link)->outer;
    if (atomic_load(link))
        atomic_store_explicit(link, atomic_load(&entry->outer), memory_order_release);
    entry->spare = thread->spare;
    thread->spare = entry;
    struct entry *top = atomic_load(&thread->top);
    PyInterpreterState *interpreter = top ? top->interpreter : PyInterpreterState_Main();
    if (unlikely(thread->interpreter != interpreter))
        adopt(thread, interpreter);
}
