/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raise.c -- how an expiry becomes an exception in the thread that it is for.
 *
 * The main thread is told by a signal of Python's, which every place in CPython
 * that waits or computes for long looks for; a C function is its handler and
 * raises.  Only Python's side of the signal is used: what the kernel does with
 * that signal stays as it was.  Any other thread gets an asynchronous exception,
 * for which the interpreter's lock is needed.
 *
 * The library's thread, which runs the hook, never waits for that lock: a
 * thread that holds it for long (a regular expression) may itself be what the
 * next deadline is to end.  A thread of ours, the raiser, does the waiting; the
 * hook wakes it and answers with what the raiser found the last time.  So a
 * scope may be left with the lock held.
 *
 * What must hold:
 * - Nothing is raised for an entry that was left: the main thread's handler and
 *   the raiser look at the list first, the one in the thread itself, the other
 *   under the lock that the thread needs to leave; and who leaves takes back
 *   what is on its way.
 * - A thread is cut only when its exception has been set, and no more once it
 *   is at work: being handled, or the context of what is.
 * - An exception that was swallowed is raised again, now as DeadlineInsists.
 */
#include "raise.h"

#include "budget.h"
#include "code.h"
#include "place.h"
#include "work.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How often the raiser may fail to answer for the main thread: it is visited after 1, 2, 4 ms. */
enum { PATIENCE = 3 };

#define WAITS (2 * COOPDL_MILLISECOND)
#define COMPUTES (10 * COOPDL_MILLISECOND)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asking = PTHREAD_COND_INITIALIZER;
static pthread_t raiser;
static bool running, asked, stopping;

static _Atomic bool hooked;
static _Atomic bool due;          /* the main thread is to be told in its next kick */
static _Atomic int expiry_signal; /* 0: the main thread cannot be told yet */

/* The main interpreter's, while it lives. */
static struct module_state *_Atomic main_state;
static PyObject *_Atomic main_module;

#ifdef Py_GIL_DISABLED
static pthread_mutex_t apart = PTHREAD_MUTEX_INITIALIZER;

void coopdl_py_lock(void)
{
    pthread_mutex_lock(&apart);
}

void coopdl_py_unlock(void)
{
    pthread_mutex_unlock(&apart);
}
#endif

PyObject *coopdl_py_scope(const struct entry *owner)
{
    return owner && owner->owner ? owner->owner : Py_None;
}

/* The interpreter's own record of a thread; null if that is gone. */
static PyThreadState *state_there(const struct thread *thread)
{
    PyThreadState *there = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    while (there && there->thread_id != thread->ident)
        there = PyThreadState_Next(there);
    return there;
}

#ifdef Py_GIL_DISABLED
/* Nobody can tell here whether the thread has taken it: it is set again, which does no harm. */
static bool under_way(const struct thread *Py_UNUSED(thread))
{
    return false;
}
#else
static PyObject **slot_of(const struct thread *thread)
{
    PyThreadState *there = state_there(thread);
    return there ? &there->async_exc : NULL;
}

static bool under_way(const struct thread *thread)
{
    PyObject **slot = slot_of(thread);
    return thread->pending && slot && *slot;
}
#endif

static void take_back(struct module_state *state, struct thread *thread)
{
    thread->pending = NULL;
#ifdef Py_GIL_DISABLED
    (void)state;
#else
    PyObject **slot = slot_of(thread); /* it may hold somebody else's by now */
    if (!state || (slot && *slot != state->exceeded && *slot != state->insists))
        return;
#endif
    PyThreadState_SetAsyncExc(thread->ident, NULL);
}

void coopdl_py_raised(struct thread *thread, struct entry *owner, PyObject *error)
{
    /* Memory may have been collected as it was made, and the raiser have come in between. */
    if (thread->pending)
        take_back(atomic_load(&main_state), thread);
    thread->bad_since = 0;
    thread->error = error;
    thread->raised_at = coopdl_now();
    /* Its errors stay watched: a destructor may eat this while the error of a cut call is made. */
    thread->insist = true;
    atomic_store(&owner->raised, true);
    atomic_store(&thread->told, COOPDL_PEACE);
    if (owner != &coopdl_py_budget)
        coopdl_deliver(&owner->scope);
}

/* A new exception for this entry, which is raised now; null, with another one set, if that fails.
 */
static PyObject *make(PyObject *class, struct entry *owner)
{
    struct thread *thread = coopdl_py_self();
    PyObject *exception = PyObject_CallFunction(class, "s", "deadline exceeded");
    if (exception && PyObject_SetAttrString(exception, "scope", coopdl_py_scope(owner)) < 0)
        Py_CLEAR(exception);
    if (exception && owner && thread)
        coopdl_py_raised(thread, owner, exception);
    return exception;
}

static void raise_as(PyObject *class, struct entry *owner, PyObject *cause)
{
    PyObject *exception = make(class, owner);
    if (!exception)
        return;
    if (cause)
        PyException_SetCause(exception, Py_NewRef(cause));
    PyErr_SetObject(class, exception);
    Py_DECREF(exception);
}

void coopdl_py_raise(struct module_state *state, struct entry *owner, PyObject *cause)
{
    raise_as(state->exceeded, owner, cause);
}

/* What is due in the calling thread: the entry, or null. */
static struct entry *due_here(struct module_state *state)
{
    struct thread *thread = coopdl_py_self();
    struct entry *owner = thread && state ? coopdl_py_owner(thread, coopdl_now()) : NULL;
    return owner && !coopdl_py_at_work(state, thread, PyThreadState_Get(), owner) ? owner : NULL;
}

static void raise_due(struct module_state *state, struct entry *owner)
{
    raise_as(atomic_load(&owner->raised) ? state->insists : state->exceeded, owner, NULL);
}

/* Whether a thread is where it was when it was looked at the last three times: it waits.  What was
 * found before it came to where nothing is to be raised counts for nothing.
 * A thread that looks itself may do so behind the call that waits, and have what it waited for: but
 * then its stack is shorter than in it. */
static bool stands(struct thread *thread, PyThreadState *there, const void *stack)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    PyCodeObject *code = frame ? PyFrame_GetCode(frame) : NULL;
    int at = frame ? coopdl_py_code_at(frame) : -1;
    bool same = thread->bad_since && thread->stood_in == code && thread->stood_at == at &&
                thread->stood_on == stack;
    thread->stood_in = code;
    thread->stood_at = at;
    thread->stood_on = stack;
    thread->stood = same ? thread->stood + 1 : 0;
    Py_XDECREF(code);
    Py_XDECREF(frame);
    return thread->stood >= 3;
}

/* The processor time that a thread has used. */
static int64_t work_of(const struct thread *thread)
{
    clockid_t clock;
    struct timespec time = {0};
    if (pthread_getcpuclockid((pthread_t)thread->ident, &clock) == 0)
        clock_gettime(clock, &time);
    return time.tv_sec * COOPDL_SECOND + time.tv_nsec;
}

/* It is where nothing is to be raised: how much it has worked since it was found there first. */
static int64_t worked(struct thread *thread)
{
    int64_t work = work_of(thread);
    if (!thread->bad_since) {
        thread->bad_since = coopdl_now();
        thread->bad_work = work;
    }
    return work - thread->bad_work;
}

/* Whether nothing is to be raised where the calling thread is.  In an `__enter__` or the like that
 * is so for a while: code that computes there is ended at last.  What waits there is ended sooner:
 * where it goes round a loop, since who waits with a time-out looks only behind each call, or,
 * still there the next time, in its wait. */
static bool is_bad_place(struct thread *thread, PyThreadState *here)
{
    bool waited = thread->waits, stood = stands(thread, here, __builtin_frame_address(0));
    thread->waits = false;
    if (!coopdl_py_between(here)) {
        thread->bad_since = 0;
        return coopdl_py_misplaced(here, true);
    }
    if (worked(thread) >= COMPUTES)
        return false;
    thread->waits = stood && coopdl_now() - thread->bad_since >= WAITS;
    return !thread->waits || !waited;
}

/* The same for another thread.  One that waits goes on as soon as it has its lock, and only then
 * would see an asynchronous exception; so its place is where it waits once more. */
static bool is_bad_place_there(struct thread *thread, PyThreadState *there)
{
    bool between = coopdl_py_between(there);
    thread->waits = between && stands(thread, there, NULL);
    if (!between && !coopdl_py_misplaced(there, false)) {
        thread->bad_since = 0;
        return false;
    }
    return worked(thread) < COMPUTES || (!between && coopdl_py_misplaced(there, true));
}

PyObject *coopdl_py_on_signal(PyObject *module, PyObject *Py_UNUSED(arguments))
{
    struct module_state *state = PyModule_GetState(module);
    struct thread *thread = coopdl_py_self();
    struct entry *owner = due_here(state);
    PyThreadState *here = PyThreadState_Get();
    if (!owner || under_way(thread) ||
        (is_bad_place(thread, here) && coopdl_py_await_place(module, thread, here)))
        Py_RETURN_NONE;
    coopdl_py_forget_place(thread, here);
    raise_due(state, owner);
    return NULL;
}

int coopdl_py_place_reached(void)
{
    struct module_state *state = atomic_load(&main_state);
    struct entry *owner = due_here(state);
    if (!owner)
        return 0;
    raise_due(state, owner);
    return -1;
}

/* For a thread of which the raiser is to make something: what it made of it the last time. */
static enum coopdl_verdict ask(struct thread *thread)
{
    atomic_store(&thread->wanted, true);
    atomic_fetch_add(&thread->unheard, 1);
    pthread_mutex_lock(&mutex);
    asked = true;
    pthread_cond_signal(&asking);
    pthread_mutex_unlock(&mutex);
    return (enum coopdl_verdict)atomic_load(&thread->told);
}

/* A budget cannot be delivered: what it cuts it goes on cutting until the next visit, clean-up
 * too.  So it mostly kicks, which is enough for Python, and only every fourth time cuts. */
static enum coopdl_verdict gently(enum coopdl_verdict verdict)
{
    static unsigned int visits;
    return verdict == COOPDL_CUT && ++visits % 4 ? COOPDL_KICK : verdict;
}

/* The main thread can be told at once.  Nothing is cut before its errors are watched, unless the
 * raiser does not get the lock: a call may be cut that was made with it. */
static enum coopdl_verdict verdict_on(struct thread *thread, const struct entry *owner)
{
    enum coopdl_verdict verdict = ask(thread);
    if (thread->kind == KIND_WORKER || atomic_load(&owner->raised))
        return verdict;
    PyErr_SetInterruptEx(atomic_load(&expiry_signal));
    atomic_store(&due, true);
    return verdict == COOPDL_CUT || atomic_load(&thread->unheard) > PATIENCE ? COOPDL_CUT
                                                                             : COOPDL_KICK;
}

/* The hook, on the library's thread. */
static enum coopdl_verdict on_expired(pid_t tid, coopdl_scope *Py_UNUSED(scope))
{
    struct thread *thread = coopdl_py_find(tid);
    struct entry *owner = thread ? coopdl_py_owner(thread, coopdl_now()) : NULL;
    if (thread && thread->kind == KIND_MAIN && !owner && coopdl_py_budget_is_held()) {
        ask(thread);
        return COOPDL_PEACE;
    }
    if (!owner || thread->kind == KIND_FOREIGN)
        return COOPDL_CUT;
    enum coopdl_verdict verdict = verdict_on(thread, owner);
    return owner == &coopdl_py_budget ? gently(verdict) : verdict;
}

/* In the kicked thread's signal handler.  Before 3.13 only the main thread itself can have a
 * signal of Python's noticed by code that computes; or else it is when the raiser has taken the
 * interpreter's lock from it. */
static void on_kicked(void)
{
    if (atomic_load(&due) && syscall(SYS_gettid) == getpid() && atomic_exchange(&due, false))
        PyErr_SetInterruptEx(atomic_load(&expiry_signal));
}

static const struct coopdl_hooks hooks = {.expired = on_expired, .kicked = on_kicked};

static void raise_in(struct module_state *state, struct thread *thread, struct entry *owner,
                     PyThreadState *there)
{
    if (is_bad_place_there(thread, there) &&
        coopdl_py_await_place(atomic_load(&main_module), thread, there))
        return;
    atomic_store(&owner->raised, true);
    thread->pending = owner;
    PyThreadState_SetAsyncExc(thread->ident, thread->insist ? state->insists : state->exceeded);
}

int coopdl_py_error_seen(struct thread *thread, PyObject *error, PyObject *traceback)
{
    struct module_state *state = atomic_load(&main_state);
    if (!thread->watched || !PyExceptionInstance_Check(error) || !state ||
        !PyErr_GivenExceptionMatches(error, PyExc_Exception) ||
        PyErr_GivenExceptionMatches(error, PyExc_StopIteration) ||
        PyErr_GivenExceptionMatches(error, PyExc_StopAsyncIteration) ||
        PyErr_GivenExceptionMatches(error, state->exceeded))
        return 0;
    struct entry *owner = due_here(state);
    if (!owner || (coopdl_py_between(PyThreadState_Get()) &&
                   !PyErr_GivenExceptionMatches(error, PyExc_TimeoutError)))
        return 0;
    take_back(state, thread);
    coopdl_py_forget_place(thread, PyThreadState_Get());
    PyObject *exception = make(thread->insist ? state->insists : state->exceeded, owner);
    if (exception) {
        /* It was raised where the error was. */
        PyException_SetTraceback(exception, traceback);
        PyException_SetTraceback(error, traceback);
        PyException_SetContext(exception, Py_NewRef(error));
        PyException_SetCause(exception, Py_NewRef(error));
        PyErr_Restore(Py_NewRef(Py_TYPE(exception)), exception, Py_NewRef(traceback));
    }
    return -1;
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
    PyThreadState *there = state_there(thread);
    if (!owner || !there || coopdl_py_at_work(state, thread, there, owner)) {
        coopdl_py_forget_place(thread, there);
        coopdl_py_ignore_errors(thread, there);
        return COOPDL_PEACE;
    }
    bool on_the_way = under_way(thread);
    if (!on_the_way)
        thread->insist = atomic_load(&owner->raised);
    coopdl_py_watch_errors(atomic_load(&main_module), thread, there);
    if (thread->kind == KIND_MAIN && !by_exception(thread, owner)) {
        /* The place that it is on its way to stays: nothing else would be seen before that. */
        if (thread->pending)
            take_back(state, thread);
        PyErr_SetInterruptEx(atomic_load(&expiry_signal));
        return COOPDL_CUT;
    }
    coopdl_py_forget_place(thread, there);
    if (!on_the_way)
        raise_in(state, thread, owner, there);
    return COOPDL_CUT;
}

static void look_around(void)
{
    struct module_state *state = atomic_load(&main_state);
    coopdl_py_lock();
    for (struct thread *t = coopdl_py_next(NULL); state && t; t = coopdl_py_next(t))
        if (atomic_exchange(&t->wanted, false) && t->kind != KIND_FOREIGN) {
            atomic_store(&t->told, look_at(state, t));
            atomic_store(&t->unheard, 0);
        }
    coopdl_py_unlock();
}

/* It keeps one thread state, since who dumps all threads (faulthandler) or counts all memory
 * (tracemalloc) does not expect them to come and go. */
static void *raise_for_others(void *unused)
{
    PyGILState_STATE before = PyGILState_Ensure();
    PyThreadState *here = PyEval_SaveThread();
    pthread_mutex_lock(&mutex);
    while (!stopping) {
        if (!asked) {
            pthread_cond_wait(&asking, &mutex);
            continue;
        }
        asked = false;
        pthread_mutex_unlock(&mutex);
        PyEval_RestoreThread(here);
        look_around();
        PyEval_SaveThread();
        pthread_mutex_lock(&mutex);
    }
    pthread_mutex_unlock(&mutex);
    PyEval_RestoreThread(here);
    PyGILState_Release(before);
    return unused;
}

static int start_raiser(void)
{
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    int error = pthread_create(&raiser, NULL, raise_for_others, NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    running = !error;
    return error;
}

/* A realtime signal that nobody uses. */
static int free_signal(struct sigaction *before)
{
    for (int number = SIGRTMAX - 6; number > SIGRTMIN; number--)
        if (sigaction(number, NULL, before) == 0 && !(before->sa_flags & SA_SIGINFO) &&
            before->sa_handler == SIG_DFL)
            return number;
    PyErr_SetString(PyExc_RuntimeError, "coopdl: every realtime signal is in use");
    return 0;
}

static int install_signal(void)
{
    struct sigaction before;
    int number = free_signal(&before);
    if (!number)
        return -1;
    PyObject *module = PyImport_ImportModule("signal");
    PyObject *handler = PyObject_GetAttrString(atomic_load(&main_module), "_on_signal");
    PyObject *old =
        module && handler ? PyObject_CallMethod(module, "signal", "iO", number, handler) : NULL;
    Py_XDECREF(handler);
    Py_XDECREF(module);
    if (!old)
        return -1;
    Py_DECREF(old);
    sigaction(number, &before, NULL);
    atomic_store(&expiry_signal, number);
    return 0;
}

static int install_hooks(void)
{
    pthread_mutex_lock(&mutex);
    int error = running ? 0 : start_raiser();
    pthread_mutex_unlock(&mutex);
    if (!error && coopdl_set_hooks(&hooks) < 0)
        error = errno;
    if (error) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    atomic_store(&hooked, true);
    return 0;
}

int coopdl_py_prepare(struct thread *thread)
{
    if (unlikely(!atomic_load_explicit(&hooked, memory_order_relaxed)) && !stopping &&
        atomic_load(&main_module) && install_hooks() < 0)
        return -1;
    if (unlikely(thread->kind == KIND_MAIN &&
                 !atomic_load_explicit(&expiry_signal, memory_order_relaxed)))
        return install_signal();
    return 0;
}

void coopdl_py_cancel(struct thread *thread)
{
    struct module_state *state = atomic_load(&main_state);
    coopdl_py_lock();
    if (thread->pending && state)
        take_back(state, thread);
    coopdl_py_forget_place(thread, PyThreadState_Get());
    coopdl_py_ignore_errors(thread, PyThreadState_Get());
    thread->pending = NULL;
    thread->bad_since = 0;
    atomic_store(&thread->wanted, false);
    atomic_store(&thread->told, COOPDL_PEACE);
    coopdl_py_unlock();
}

/* The interpreter ends: from here on expiries cut, as they do without a hook. */
PyObject *coopdl_py_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    atomic_store(&hooked, false);
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&mutex);
    bool join = running;
    stopping = true;
    running = false;
    pthread_cond_signal(&asking);
    pthread_mutex_unlock(&mutex);
    coopdl_set_hooks(NULL);
    if (join)
        pthread_join(raiser, NULL);
    Py_END_ALLOW_THREADS
    atomic_store(&main_state, NULL);
    atomic_store(&main_module, NULL);
    Py_RETURN_NONE;
}

/* A child that was forked inside a scope, or under a budget, goes on with it. */
PyObject *coopdl_py_after_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct thread *thread = coopdl_py_self();
    if (thread &&
        (atomic_load(&thread->top) || atomic_load(&coopdl_py_budget.deadline) != COOPDL_NEVER)) {
        thread->ident = PyThread_get_thread_ident();
        if (coopdl_py_prepare(thread) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static void in_child(void)
{
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    asking = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
#ifdef Py_GIL_DISABLED
    apart = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
#endif
    running = asked = false;
    atomic_store(&hooked, false);
}

static int call_with(const char *module, const char *function, const char *keyword,
                     PyObject *callback)
{
    PyObject *from = PyImport_ImportModule(module), *result = NULL;
    PyObject *target = from ? PyObject_GetAttrString(from, function) : NULL;
    PyObject *positional = keyword ? PyTuple_New(0) : PyTuple_Pack(1, callback);
    PyObject *named = keyword ? Py_BuildValue("{sO}", keyword, callback) : NULL;
    if (target && positional && (named || !keyword))
        result = PyObject_Call(target, positional, named);
    Py_XDECREF(named);
    Py_XDECREF(positional);
    Py_XDECREF(target);
    Py_XDECREF(from);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int coopdl_py_start(PyObject *module, struct module_state *state)
{
    static bool forks;
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        return 0;
    PyObject *stop = PyObject_GetAttrString(module, "_stop");
    PyObject *after = PyObject_GetAttrString(module, "_after_fork");
    int result = stop && after ? call_with("atexit", "register", NULL, stop) : -1;
    if (result == 0)
        result = call_with("os", "register_at_fork", "after_in_child", after);
    Py_XDECREF(after);
    Py_XDECREF(stop);
    if (result < 0)
        return -1;
    if (!forks)
        pthread_atfork(NULL, NULL, in_child);
    forks = true;
    stopping = false;
    atomic_store(&main_state, state);
    atomic_store(&main_module, module);
    return 0;
}
