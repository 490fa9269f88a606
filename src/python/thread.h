/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h -- what the extension knows of each thread: the scopes that it has
 * entered from Python, and how an expiry is raised in it.
 *
 * Records and entries are never freed, only used again, since the library's
 * thread reads them without a lock while threads come and go.
 *
 * Who writes.  The list of entries and their fields: the thread itself, with
 * its interpreter's lock.  The library's thread reads the list in a hook, and
 * may read an entry that is being taken off: `outer` stays as it was, so the way
 * goes on, and what is done for an entry that is gone is looked at again by the
 * thread itself or under the lock, where the list is what it says.
 */
#ifndef COOPDL_PYTHON_THREAD_H
#define COOPDL_PYTHON_THREAD_H

#include "module.h"

#include <stdatomic.h>

/* Whether the other threads stand still, and can be looked at, while this one runs Python's code:
 * they do not without the interpreter's lock. */
#ifdef Py_GIL_DISABLED
#define OTHERS_STAND false
#else
#define OTHERS_STAND true
#endif

/* How a thread is told. */
enum kind {
    KIND_MAIN,   /* by a signal of Python's */
    KIND_WORKER, /* by an asynchronous exception */
    KIND_FOREIGN /* it runs another interpreter: its calls are cut, nothing is raised in between */
};

struct entry {
    coopdl_scope scope;
    _Atomic int64_t deadline;
    struct entry *_Atomic outer;
    struct entry *spare; /* the next one that is not in use */
    PyInterpreterState *interpreter;
    PyObject *owner; /* the context object, not counted; null once that is gone */
    bool shield;
    _Atomic bool raised; /* an exception for it has been raised, or was about to be */
};

/* Where nothing is to be raised (hold.c). */
struct hold {
    int64_t since;     /* since when the thread was found there; 0: it is not */
    int64_t work;      /* the processor time that it had used then */
    void *code;        /* when it was looked at last: its code, not held, */
    int at;            /* the instruction, */
    const void *stack; /* the stack, */
    int stood;         /* and how often all of that was the same */
    bool waits;        /* in an `acquire` or the like */
};

struct thread {
    _Atomic pid_t tid; /* 0: free */
    unsigned long ident;
    PyInterpreterState *interpreter; /* that of its innermost entry */
    enum kind kind;
    struct entry *_Atomic top;
    struct entry *spare;
    _Atomic bool wanted; /* the raiser is to look at it */
    _Atomic bool calm;   /* it was told and found nothing to raise, since the raiser looked at it */
    _Atomic int told;    /* what the raiser made of it: a verdict */
    _Atomic int unheard; /* how often it was asked for that since */
    struct entry *_Atomic pending; /* an asynchronous exception is on its way for this one */
    PyObject *awaited;             /* the code in which a place to raise is looked for (place.c) */
    void *awaited_in;              /* its frame, not held */
    int executed;                  /* the instruction that was executed last there */
    bool goes_round;               /* it does only where it goes round a loop there */
    _Atomic bool watched;          /* its next error is replaced by what is due */
    struct hold hold;
    _Atomic bool insist; /* what is due is a DeadlineInsists */
    PyObject
        *_Atomic error; /* our exception that was raised in it last, while it lives; not counted */
    _Atomic int64_t raised_at;   /* when, */
    _Atomic int64_t raised_work; /* and the processor time that it had used then */
    unsigned int insisted;       /* how often it was told again */
    struct thread *_Atomic next;
};

/* The calling thread's record; null, with an exception set, when memory is out. */
struct thread *coopdl_py_thread(void);

/* The same, or null if it has none. */
struct thread *coopdl_py_self(void);

/* The record of a thread; null if it has none. */
struct thread *coopdl_py_find(pid_t tid);
struct thread *coopdl_py_next(struct thread *thread);

/* The processor time that a thread has used; 0 if it is gone. */
int64_t coopdl_py_work(const struct thread *thread);

/* The outermost of a thread's entries that has expired, up to the innermost shield; null if none
 * has. */
struct entry *coopdl_py_owner(const struct thread *thread, int64_t now);

/* Puts an entry on top of the list, or takes it off. */
struct entry *coopdl_py_entry(struct thread *thread);
void coopdl_py_push(struct thread *thread, struct entry *entry);
void coopdl_py_drop(struct thread *thread, struct entry *entry);

#endif
