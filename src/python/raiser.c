/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raiser.c -- the thread that waits for the GIL in the place of the library's thread.
 *
 * The library's thread, which runs the hook (hooks.c), never waits for the GIL: the thread that
 * holds the GIL for long (in a regular expression) may be the one that the next deadline must end.
 * The raiser waits instead.  The hook wakes the raiser and answers with the result of the raiser's
 * last look, so a scope may be left while the GIL is held.
 *
 * What must hold: nothing of the program runs on this thread (rule 1 of expiry.c).  The raiser
 * evaluates nothing, so it holds the GIL from PyEval_RestoreThread to PyEval_SaveThread without a
 * break.  For that time the collector is off, since finalizers and callbacks run on whichever
 * thread allocates.  No other thread can see that the collector is off.
 */
#include "raiser.h"

#include "expiry.h"
#include "meet.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asking = PTHREAD_COND_INITIALIZER;
static pthread_t raiser;
static _Atomic pid_t raiser_tid;
static bool running, asked;

bool coopdl_py_is_raiser(pid_t tid)
{
    return tid == atomic_load(&raiser_tid);
}

enum coopdl_verdict coopdl_py_ask(struct thread *thread)
{
    atomic_store(&thread->wanted, true);
    atomic_fetch_add(&thread->unanswered, 1);
    pthread_mutex_lock(&mutex);
    asked = true;
    pthread_cond_signal(&asking);
    pthread_mutex_unlock(&mutex);
    return (enum coopdl_verdict)atomic_load(&thread->verdict);
}

/* The library has had the last answer already. */
static void answer(struct thread *thread, enum coopdl_verdict verdict)
{
    int last = atomic_exchange(&thread->verdict, (int)verdict);
    if (verdict == COOPDL_CUT && last != COOPDL_CUT)
        coopdl_ask_now(atomic_load(&thread->tid));
}

/* A thread that has ended while it was watched is watched no longer. */
static void look_around(void)
{
    struct module_state *state = atomic_load(&coopdl_py_main_state);
    for (struct thread *t = coopdl_py_next(NULL); state && t; t = coopdl_py_next(t)) {
        bool wanted = atomic_exchange(&t->wanted, false) && t->kind != KIND_FOREIGN;
        if (wanted && t->kind == KIND_UNKNOWN && !coopdl_py_meet(t)) {
            atomic_store(&t->verdict, COOPDL_CUT);
            continue;
        }
        if (!wanted && !t->watch.errors && !t->watch.code.object)
            continue;
        if (wanted)
            answer(t, coopdl_py_look(state, t));
        else if (!coopdl_py_state(t))
            coopdl_py_look(state, t);
        atomic_store(&t->unanswered, 0);
    }
}

static void look_with_gil(PyThreadState *here)
{
    PyEval_RestoreThread(here);
    int collects = PyGC_Disable();
    look_around();
    if (collects)
        PyGC_Enable();
    PyEval_SaveThread();
}

/* It keeps one thread state, since who dumps all threads (faulthandler) or counts all memory
 * (tracemalloc) does not expect them to come and go. */
static void *raise_for_others(void *unused)
{
    atomic_store(&raiser_tid, (pid_t)syscall(SYS_gettid));
    PyGILState_STATE before = PyGILState_Ensure();
    PyThreadState *here = PyEval_SaveThread();
    pthread_mutex_lock(&mutex);
    while (running) {
        if (!asked) {
            pthread_cond_wait(&asking, &mutex);
            continue;
        }
        asked = false;
        pthread_mutex_unlock(&mutex);
        look_with_gil(here);
        pthread_mutex_lock(&mutex);
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
    running = asked = false;
}
