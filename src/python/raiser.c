/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raiser.c -- the thread that has the interpreter's lock for the library's.
 *
 * The library's thread, which runs the hook (hooks.c), never waits for that
 * lock: a thread that holds it for long (a regular expression) may itself be
 * what the next deadline is to end.  The raiser does the waiting; the hook wakes
 * it and answers with what it found the last time.  So a scope may be left with
 * the lock held.
 *
 * What must hold:
 * - The raiser looks at the list of entries with the lock that a thread needs to
 *   leave one, and who leaves takes back what is on its way (coopdl_py_cancel).
 * - A thread is cut only when its exception has been set, and no more once that
 *   is at work (work.c).
 * - An exception that was swallowed is raised again, now as DeadlineInsists.
 */
#include "raiser.h"

#include "async.h"
#include "budget.h"
#include "hold.h"
#include "hooks.h"
#include "place.h"
#include "work.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

/* After it was asked it looks after 1, 2, 4 and 8 ms whether a kicked thread has put up the
 * interpreter's flag again (async.c). */
#define FIRST_PAUSE COOPDL_MILLISECOND

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asking = PTHREAD_COND_INITIALIZER;
static pthread_t raiser;
static bool running, asked;

#ifdef Py_GIL_DISABLED
/* Who waits for this one stands still for the interpreter: the raiser, which holds it, asks that to
 * stop all other threads. */
static PyMutex apart;

void coopdl_py_lock(void)
{
    PyMutex_Lock(&apart);
}

void coopdl_py_unlock(void)
{
    PyMutex_Unlock(&apart);
}
#endif

void coopdl_py_wake_raiser(void)
{
    pthread_mutex_lock(&mutex);
    asked = true;
    pthread_cond_signal(&asking);
    pthread_mutex_unlock(&mutex);
}

/* For a thread of which the raiser is to make something: what it made of it the last time. */
enum coopdl_verdict coopdl_py_ask(struct thread *thread)
{
    atomic_store(&thread->wanted, true);
    atomic_fetch_add(&thread->unheard, 1);
    coopdl_py_wake_raiser();
    return (enum coopdl_verdict)atomic_load(&thread->told);
}

static void raise_in(struct module_state *state, struct thread *thread, struct entry *owner,
                     PyThreadState *there)
{
    if (!OTHERS_STAND || !coopdl_py_holds_there(thread, there) ||
        !coopdl_py_await_place(atomic_load(&coopdl_py_main_module), thread, there))
        coopdl_py_send(state, thread, owner);
}

/* Code in C that looks for signals and throws their errors away (what makes the message of a
 * ValueError does) can come first every time.  So each second time the main thread too is told by
 * an asynchronous exception. */
static bool by_exception(struct thread *thread, const struct entry *owner)
{
    return atomic_load(&owner->raised) && thread->insisted++ % 2;
}

/* What is to be done about a thread, with the interpreter's lock: the verdict for the next visit.
 */
static enum coopdl_verdict look_at(struct module_state *state, struct thread *thread)
{
    coopdl_py_release_budget();
    struct entry *owner = coopdl_py_owner(thread, coopdl_now());
    PyThreadState *there = coopdl_py_there(thread);
    if (!owner || (OTHERS_STAND && !there) || coopdl_py_at_work(state, thread, there, owner)) {
        if (OTHERS_STAND)
            coopdl_py_forget_place(thread, there);
        coopdl_py_ignore_errors(thread, there);
        return COOPDL_PEACE;
    }
    bool on_the_way = coopdl_py_under_way(thread);
    if (!on_the_way)
        thread->insist = atomic_load(&owner->raised);
    coopdl_py_watch_errors(atomic_load(&coopdl_py_main_module), thread, there);
    /* A thread that does not stand still may have an exception at work that is not seen from here:
     * what it finds itself counts. */
    bool calm = !OTHERS_STAND && atomic_exchange(&thread->calm, false);
    if (thread->kind == KIND_MAIN && (calm || !by_exception(thread, owner))) {
        /* The place that it is on its way to stays: nothing else would be seen before that. */
        if (thread->pending)
            coopdl_py_take_back(state, thread);
        PyErr_SetInterruptEx(atomic_load(&coopdl_py_signal));
        return calm ? COOPDL_KICK : COOPDL_CUT;
    }
    if (OTHERS_STAND)
        coopdl_py_forget_place(thread, there);
    if (!on_the_way || !OTHERS_STAND)
        raise_in(state, thread, owner, there);
    return COOPDL_CUT;
}

static void look_around(void)
{
    struct module_state *state = atomic_load(&coopdl_py_main_state);
    coopdl_py_lock();
    for (struct thread *t = coopdl_py_next(NULL); state && t; t = coopdl_py_next(t))
        if (atomic_exchange(&t->wanted, false) && t->kind != KIND_FOREIGN) {
            atomic_store(&t->told, look_at(state, t));
            atomic_store(&t->unheard, 0);
        }
    coopdl_py_unlock();
}

/* With the mutex: until it is asked, for a while if `pause` is one. */
static void wait_to_be_asked(int64_t pause)
{
    struct timespec until;
    if (!pause) {
        pthread_cond_wait(&asking, &mutex);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t nanoseconds = until.tv_nsec + pause;
    until.tv_sec += nanoseconds / COOPDL_SECOND;
    until.tv_nsec = nanoseconds % COOPDL_SECOND;
    pthread_cond_timedwait(&asking, &mutex, &until);
}

/* It keeps one thread state, since who dumps all threads (faulthandler) or counts all memory
 * (tracemalloc) does not expect them to come and go. */
static void *raise_for_others(void *unused)
{
    PyGILState_STATE before = PyGILState_Ensure();
    PyThreadState *here = PyEval_SaveThread();
    pthread_mutex_lock(&mutex);
    int64_t pause = 0;
    while (running) {
        if (!asked)
            wait_to_be_asked(pause);
        if (!running || (!asked && !pause))
            continue;
        bool was_asked = asked;
        asked = false;
        pthread_mutex_unlock(&mutex);
        PyEval_RestoreThread(here);
        if (was_asked)
            look_around();
        bool again = coopdl_py_lower_flag();
        PyEval_SaveThread();
        pthread_mutex_lock(&mutex);
        pause = !again ? 0 : was_asked ? FIRST_PAUSE : pause < 8 * FIRST_PAUSE ? 2 * pause : 0;
    }
    pthread_mutex_unlock(&mutex);
    PyEval_RestoreThread(here);
    PyGILState_Release(before);
    return unused;
}

int coopdl_py_raiser_start(void)
{
    sigset_t all, mask;
    pthread_mutex_lock(&mutex);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    int error = running ? 0 : pthread_create(&raiser, NULL, raise_for_others, NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    running = !error;
    pthread_mutex_unlock(&mutex);
    return error;
}

void coopdl_py_raiser_stop(void)
{
    pthread_mutex_lock(&mutex);
    bool join = running;
    running = false;
    pthread_cond_signal(&asking);
    pthread_mutex_unlock(&mutex);
    if (join)
        pthread_join(raiser, NULL);
}

void coopdl_py_raiser_forked(void)
{
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    asking = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
#ifdef Py_GIL_DISABLED
    apart = (PyMutex){0};
#endif
    running = asked = false;
}

void coopdl_py_cancel(struct thread *thread)
{
    struct module_state *state = atomic_load(&coopdl_py_main_state);
    coopdl_py_lock();
    if (thread->pending && state)
        coopdl_py_take_back(state, thread);
    coopdl_py_forget_place(thread, PyThreadState_Get());
    coopdl_py_ignore_errors(thread, PyThreadState_Get());
    thread->pending = NULL;
    thread->hold.since = 0;
    atomic_store(&thread->wanted, false);
    atomic_store(&thread->told, COOPDL_PEACE);
    coopdl_py_unlock();
}
