/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h -- the record of a thread: the scopes that it has entered from Python, and what the
 * extension knows of its expiry.
 *
 * Records and entries are never freed, only used again: the library's thread reads them without a
 * lock while threads come and go.
 *
 * Who writes.  The thread itself writes its list of entries, with the interpreter's lock (the GIL).
 * All that is not atomic is read and written with the GIL alone.  The library's thread has no GIL:
 * it reads the list in a hook, and may read an entry that is being taken off.  `outer` of such an
 * entry stays as it was, so that the walk goes on; and what is raised is decided again by the
 * thread itself, with the GIL.
 */
#ifndef COOPDL_PYTHON_THREAD_H
#define COOPDL_PYTHON_THREAD_H

#include "code.h"

#include <stdatomic.h>

/* How a thread is reached. */
enum kind {
    KIND_MAIN,    /* by a signal of Python's, and by watching its instructions */
    KIND_WORKER,  /* by watching its instructions */
    KIND_FOREIGN, /* it runs another interpreter: its calls are cut, nothing is raised in between */
    KIND_UNKNOWN  /* the budget's end has found it; whether it runs Python is not known (meet.c) */
};

/* The life of an entry's expiry; expiry.c draws it. */
enum life { LIFE_ARMED, LIFE_NOTIFIED, LIFE_RAISED, LIFE_SWALLOWED, LIFE_LEFT };

/* A thread has a thread state in each interpreter that it runs. */
struct attached {
    PyThreadState *state;
    uint64_t id; /* the state's: its address may be used again */
};

/* In the place of a scope's length: it was given a deadline; its deadline was that it is cancelled.
 */
enum { NO_LENGTH = -1, CANCELLED = -2 };

struct entry {
    coopdl_scope scope;
    _Atomic int64_t deadline;
    _Atomic int64_t overdue; /* deadline + grace */
    int64_t length;          /* what it was entered with, or one of the above */
    struct entry *_Atomic outer;
    struct entry *spare;      /* the next one that is not in use */
    struct attached attached; /* the thread, when it entered */
    const void *frame; /* of the `with` statement (frame_id.h); null: not known which that is */
    PyObject *owner; /* the scope object, not counted; null once that is gone, and for the budget */
    PyObject
        *instead;     /* of DeadlineReached: the class that is raised, once; null, or not counted */
    _Atomic int life; /* enum life */
    bool shield;
    bool budget;        /* the process's deadline: of a record, not of a scope */
    bool stays;         /* in this process: a forked child is not inside it */
    bool inherited;     /* entered by the parent process, before a fork */
    int64_t lent_until; /* how long a thread that this deadline has been lent to may take to end */
};

/* Since when nothing is raised in a thread because of where it is (defer.c). */
struct deferral {
    int64_t since;     /* 0: it is not deferred */
    int64_t work;      /* the processor time that the thread had used then */
    int64_t rested;    /* and when it was last found to wait */
    void *code;        /* where the thread was at the last look: its code, not counted, */
    int at;            /* the instruction, */
    const void *stack; /* the C stack, */
    int same;          /* and at how many looks in a row that was the same */
    int waiting;       /* in how many calls it is that wait (wait.c), one inside the other */
    bool waits;        /* it waits for a lock there, as far as can be seen */
    bool over;         /* it may not go on there */
};

/* What is watched of a thread (watch.h). */
struct watch {
    struct code code;    /* of the frame whose instructions are watched; no object: none is */
    void *frame;         /* that PyFrameObject, not counted: only compared */
    int last;            /* the instruction that was executed last in it */
    bool around;         /* only the jump backwards of a loop is a safe point */
    bool errors;         /* the errors that are raised in this thread are watched */
    Py_tracefunc tracer; /* the program's own trace function, up to 3.11 */
    bool opcodes;        /* and whether it asked for the instructions of that frame */
};

struct thread {
    _Atomic pid_t tid;        /* 0: free */
    struct attached attached; /* now, as far as its entries say */
    struct attached home;     /* in the main interpreter */
    enum kind kind;
    struct entry *_Atomic top;
    struct entry
        *_Atomic base; /* outside of all of them: the budget, or a deadline that was lent */
    struct entry budget;
    struct entry *spare;
    PyThreadState *_Atomic seen; /* what its kick's handler has seen (meet.c) */
    _Atomic bool looked;         /* and whether that has run */
    _Atomic bool wanted;         /* the raiser is to look at it */
    _Atomic bool borrows;        /* the main thread's identity, at its next kick (identity.c) */
    _Atomic int verdict;         /* what the raiser found at its last look: enum coopdl_verdict */
    _Atomic int unanswered;      /* how often the raiser was asked since */
    _Atomic int slept;           /* at how many visits in a row it slept, not for the GIL */
    const struct entry *due;     /* that the last look found to be due */
    struct deferral deferral;
    struct watch watch;
    PyObject *_Atomic error; /* our exception that was raised last, while it lives; not counted */
    int64_t raised_at;       /* when */
    int64_t raised_work;     /* and the processor time that the thread had used then */
    struct thread *_Atomic next;
};

/* The calling thread's record; null, with an exception set, when memory is out. */
struct thread *coopdl_py_thread(void);

/* The same, or null if it has none. */
struct thread *coopdl_py_self(void);

/* The record of another thread that may have none; null when memory is out. */
struct thread *coopdl_py_claim(pid_t tid, PyThreadState *state);

/* The record of a thread; null if it has none. */
struct thread *coopdl_py_find(pid_t tid);

/* The same, or one of KIND_UNKNOWN; null when memory is out.  Without the GIL. */
struct thread *coopdl_py_expect(pid_t tid);

/* It is the record of a thread that has this state, in the main interpreter. */
void coopdl_py_attach(struct thread *thread, PyThreadState *state);

struct thread *coopdl_py_next(struct thread *thread);

/* The thread state of a thread, for the holder of the GIL; null if the thread has ended. */
PyThreadState *coopdl_py_state(const struct thread *thread);

/* The outermost of a thread's entries that has expired, up to the innermost shield; null if none
 * has. */
struct entry *coopdl_py_owner(const struct thread *thread, int64_t now);

/* Whether its exception, which comes once, has been raised, and its grace is not over. */
bool coopdl_py_is_spent(const struct entry *entry, int64_t now);

/* The outermost one that has expired and is not spent, or null. */
struct entry *coopdl_py_unspent(const struct thread *thread, int64_t now);

/* When the next of a thread's deadlines, or of their graces, is over, up to the innermost shield.
 */
int64_t coopdl_py_next_time(const struct thread *thread, int64_t now);

/* Takes an entry from the spare ones; null, with an exception set, when memory is out.  Puts it on
 * top of the list; takes it off, wherever it is. */
struct entry *coopdl_py_entry(struct thread *thread);
void coopdl_py_push(struct thread *thread, struct entry *entry);
void coopdl_py_drop(struct thread *thread, struct entry *entry);

/* The process's deadline, once it is to be raised; else COOPDL_NEVER. */
extern _Atomic int64_t coopdl_py_budget;

/* Puts a thread inside the budget; without the GIL. */
void coopdl_py_join_budget(struct thread *thread);

/* This process was forked by a thread that the program had started: its stack ends with that. */
extern bool coopdl_py_worker_child;

#endif
