/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c -- a wait of one thread for another ends at the deadline.
 *
 * In a worker thread the interpreter looks at no signals while it waits for a lock, and takes any
 * error of that wait for "acquired".  So nothing may end the wait from outside.  Instead, the C
 * functions of the methods that wait are replaced where the descriptors find them: those of locks,
 * of multiprocessing's locks, of SimpleQueue, and from 3.13 on of the object that Thread.join waits
 * for.  The replacement calls the original with the time that is left.  All other waits of the
 * standard library use these methods.
 *
 * What must hold:
 * 1. A thread in no scope gets the original with the very arguments of its call, and so does a call
 *    whose arguments are not plain.  The method's name, signature and flags stay.
 * 2. If the original has acquired, the caller has acquired, whatever the time is.  An exception is
 *    raised only after the original has returned "not acquired".  A deadline that passes while the
 *    original returns with the lock is raised at the next safe point, as everywhere.
 * 3. Never early: the clock is read each time that the original returns without the lock.
 * 4. An exception that must not be raised yet (one is being handled; defer.c) is considered again
 *    after 1, 2, 4 ms and so on.  In between the wait is for the lock itself.  The same holds from
 *    the budget's end on, until the library has asked about the thread (thread.c).
 * 5. A deadline may come nearer during the wait (context.c).  The wait is cut then and reads the
 *    clock, since the original was called with a time-out.  Without the preload nothing cuts the
 *    wait, and from 3.13 on Thread.join reads the clock itself: in both cases the wait ends every
 *    100 ms to read the clock.
 * 6. The end of Condition.wait takes back the lock that it has released, and is not ended: the
 *    caller would release a lock that another thread has.
 *
 * Up to 3.12 Thread.join takes an exception in its acquire for success, and marks the thread as
 * ended.  So there, in any thread, the acquire returns "not acquired", as after a time-out, and the
 * exception is raised after the call of join (expiry.c).
 *
 * Up to 3.12 SimpleQueue.get computes its time-out anew after a signal, and takes a time-out that
 * has run out for none.  Without the preload no wrapper ends that wait, and kicks come at any time
 * once a deadline has passed or a scope is cancelled: one just after the time-out would make the
 * call wait for ever.  So no kick comes while the original waits there: it is blocked
 * (ask_queue_unkicked), and arrives behind the wait.
 *
 * The methods' definitions are static: all interpreters share them, and they outlive each of them.
 */
#include "wait.h"

#include "defer.h"
#include "expiry.h"
#include "frames.h"

#include <pthread.h>
#include <signal.h>

#define SHORTEST COOPDL_MILLISECOND
#define LONGEST_PAUSE (100 * COOPDL_MILLISECOND)
/* The original overflows with none of these. */
#define LONGEST_WAIT (1000000 * COOPDL_SECOND)

typedef PyObject *(*semaphore_function)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

/* One call of a method, in a scope. */
struct wait {
    struct thread *thread;
    int64_t until;   /* the end of the caller's own time-out */
    int64_t since;   /* when it was first found to wait past a deadline; 0: it has not been */
    int64_t pause;   /* until it is looked at next, from then on */
    int64_t longest; /* that the original is asked to wait for */
    double seconds;  /* for how long the original is to wait next */
};

/* What the method was called with; null: not given. */
struct call {
    PyObject *blocking, *timeout;
};

static PyCFunctionWithKeywords lock_original, rlock_original;
static PyCMethod get_original;
static semaphore_function semaphore_original;
static PyCFunction semaphore_enter_original;
#if PY_VERSION_HEX >= 0x030D0000
static PyCFunction join_original;
#endif

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The calling thread's record; null if it has none, and is not inside the budget either. */
static struct thread *limited(void)
{
    struct thread *thread = coopdl_py_self();
    if (likely(thread ? thread->kind != KIND_UNKNOWN
                      : atomic_load_explicit(&coopdl_py_budget, memory_order_relaxed) ==
                            COOPDL_NEVER) ||
        !atomic_load(&coopdl_py_main_state))
        return thread;
    if (!(thread = coopdl_py_thread()))
        PyErr_Clear();
    return thread;
}

/* Whether the calling thread is in a scope, or inside the budget. */
static bool is_limited(struct wait *wait)
{
    struct thread *thread = limited();
    if (likely(!thread))
        return false;
    *wait = (struct wait){.thread = thread,
                          .pause = SHORTEST,
                          .longest = coopdl_preloaded() ? LONGEST_WAIT : LONGEST_PAUSE};
    return (atomic_load(&thread->top) || atomic_load(&thread->base) ||
            atomic_load(&coopdl_py_budget) != COOPDL_NEVER) &&
           thread->kind != KIND_FOREIGN && atomic_load(&coopdl_py_main_state) &&
           thread->attached.state == PyThreadState_Get();
}

/* A time-out in ns; -1: not one that is plain. */
static int64_t read_timeout(PyObject *timeout)
{
    double seconds = -1;
    if (PyFloat_CheckExact(timeout) || PyLong_CheckExact(timeout))
        seconds = PyFloat_AsDouble(timeout);
    PyErr_Clear();
    return seconds >= 0 && seconds < 9e9 ? (int64_t)(seconds * 1e9) : -1;
}

/* Any other number is left to the original, without an error for one that is too large. */
static bool is_number(PyObject *object, long number)
{
    bool is = PyLong_CheckExact(object) && PyLong_AsLong(object) == number && !PyErr_Occurred();
    PyErr_Clear();
    return is;
}

static bool is_minus_one(PyObject *timeout)
{
    return (PyFloat_CheckExact(timeout) && PyFloat_AS_DOUBLE(timeout) == -1) ||
           is_number(timeout, -1);
}

static bool is_true(PyObject *blocking)
{
    return blocking == Py_True || is_number(blocking, 1);
}

/* Whether the call waits, and its arguments are plain; `never` if it has no time-out. */
static bool waits(struct wait *wait, const struct call *call, bool never)
{
    int64_t own = never ? COOPDL_NEVER : read_timeout(call->timeout);
    if (own <= 0 || (call->blocking && !is_true(call->blocking)))
        return false;
    wait->until = own == COOPDL_NEVER ? own : coopdl_after(own);
    return true;
}

/* The original has come back with nothing, or has not been asked yet: what is to be done. */
static enum wait_end look(struct wait *wait)
{
    int64_t now = coopdl_now(), next = coopdl_py_next_time(wait->thread, now);
    int64_t budget = atomic_load(&coopdl_py_budget);
    bool expired = coopdl_py_owner(wait->thread, now) || budget <= now;
    next = budget > now ? min(next, budget) : next;
    if (expired && !wait->since)
        wait->since = now;
    enum wait_end end =
        expired ? coopdl_py_end_wait(wait->thread, now - wait->since) : WAIT_GOES_ON;
    if (end != WAIT_GOES_ON)
        return end;
    if (wait->until <= now)
        return WAIT_ENDS;
    if (expired) {
        next = min(next, now + wait->pause);
        wait->pause = min(2 * wait->pause, LONGEST_PAUSE);
    }
    next = min(min(next, wait->until), now + wait->longest);
    wait->seconds = (double)(next - now) / COOPDL_SECOND;
    return WAIT_GOES_ON;
}

static PyObject *ask_lock(PyCFunctionWithKeywords original, PyObject *self, bool blocking,
                          double seconds)
{
    PyObject *arguments =
        blocking ? Py_BuildValue("(Od)", Py_True, seconds) : PyTuple_Pack(1, Py_False);
    PyObject *got = arguments ? original(self, arguments, NULL) : NULL;
    Py_XDECREF(arguments);
    return got;
}

/* Whether an acquire waits, with arguments that are plain. */
static bool acquire_waits(struct wait *wait, PyObject *arguments, PyObject *keywords)
{
    static const char *names[] = {"blocking", "timeout", NULL};
    struct call call = {0};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|OO", (char **)(uintptr_t)names,
                                     &call.blocking, &call.timeout)) {
        PyErr_Clear();
        return false;
    }
    return waits(wait, &call, !call.timeout || is_minus_one(call.timeout));
}

/* Whether the calling thread is at the end of Condition.wait. */
static bool takes_back(void)
{
    return coopdl_py_executes(PyThreadState_Get(), "_acquire_restore", "/threading.py");
}

/* The main thread looks at its signals while it waits: only Thread.join is to be kept from raising
 * in that wait. */
static bool may_be_join(PyObject *arguments)
{
    return PyTuple_GET_SIZE(arguments) == 2 && coopdl_py_joins_by_lock(PyThreadState_Get());
}

static PyObject *wait_for_lock(PyCFunctionWithKeywords original, PyObject *self,
                               PyObject *arguments, PyObject *keywords, struct wait *wait)
{
    if ((wait->thread->kind == KIND_MAIN && !may_be_join(arguments)) ||
        !acquire_waits(wait, arguments, keywords))
        return original(self, arguments, keywords);
    PyObject *got = ask_lock(original, self, false, 0);
    if (got == Py_False && takes_back()) {
        Py_DECREF(got);
        return original(self, arguments, keywords);
    }
    while (got == Py_False) {
        enum wait_end end = look(wait);
        if (end == WAIT_ENDS)
            return got;
        Py_DECREF(got);
        got = end == WAIT_GOES_ON ? ask_lock(original, self, true, wait->seconds) : NULL;
    }
    return got;
}

static PyObject *acquire(PyCFunctionWithKeywords original, PyObject *self, PyObject *arguments,
                         PyObject *keywords)
{
    struct wait wait;
    if (likely(!is_limited(&wait)))
        return original(self, arguments, keywords);
    coopdl_py_wait_begins(wait.thread);
    PyObject *got = wait_for_lock(original, self, arguments, keywords, &wait);
    coopdl_py_wait_is_over(wait.thread);
    return got;
}

static PyObject *lock_acquire(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return acquire(lock_original, self, arguments, keywords);
}

static PyObject *rlock_acquire(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return acquire(rlock_original, self, arguments, keywords);
}

/* Whether a call that takes `block` and `timeout` waits, with arguments that are plain. */
static bool blocks(struct wait *wait, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *given[2] = {NULL, NULL};
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count + named > 2)
        return false;
    for (Py_ssize_t i = 0; i < count; i++)
        given[i] = arguments[i];
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        bool blocking = PyUnicode_CompareWithASCIIString(name, "block") == 0;
        if ((!blocking && PyUnicode_CompareWithASCIIString(name, "timeout") != 0) ||
            given[!blocking])
            return false;
        given[!blocking] = arguments[count + i];
    }
    struct call call = {given[0], given[1]};
    return waits(wait, &call, !call.timeout || call.timeout == Py_None);
}

static PyObject *ask_queue(PyObject *self, PyTypeObject *class, bool blocking, double seconds)
{
    PyObject *arguments[] = {blocking ? Py_True : Py_False, PyFloat_FromDouble(seconds)};
    PyObject *got = arguments[1] ? get_original(self, class, arguments, 2, NULL) : NULL;
    Py_XDECREF(arguments[1]);
    return got;
}

/* With the kick's signal blocked, whichever it is.  SIGSYS is the trap's. */
static PyObject *ask_queue_unkicked(PyObject *self, PyTypeObject *class, double seconds)
{
    static const int kept[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
        sigdelset(&blocked, kept[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    PyObject *got = ask_queue(self, class, true, seconds);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return got;
}

static PyObject *poll_queue(PyObject *self, PyTypeObject *class, const struct wait *wait)
{
    return PY_VERSION_HEX >= 0x030D0000 || coopdl_preloaded()
               ? ask_queue(self, class, true, wait->seconds)
               : ask_queue_unkicked(self, class, wait->seconds);
}

static bool is_empty(PyObject *got)
{
    struct module_state *state = atomic_load(&coopdl_py_main_state);
    return !got && state && PyErr_ExceptionMatches(state->empty);
}

static PyObject *wait_for_item(PyObject *self, PyTypeObject *class, PyObject *const *arguments,
                               size_t count, PyObject *names, struct wait *wait)
{
    if (wait->thread->kind == KIND_MAIN || !blocks(wait, arguments, (Py_ssize_t)count, names))
        return get_original(self, class, arguments, count, names);
    PyObject *got = ask_queue(self, class, false, 0);
    while (is_empty(got)) {
        PyObject *type, *empty, *trace;
        PyErr_Fetch(&type, &empty, &trace);
        enum wait_end end = look(wait);
        if (end == WAIT_ENDS) {
            PyErr_Restore(type, empty, trace);
            return NULL;
        }
        Py_XDECREF(type);
        Py_XDECREF(empty);
        Py_XDECREF(trace);
        got = end == WAIT_GOES_ON ? poll_queue(self, class, wait) : NULL;
    }
    return got;
}

static PyObject *queue_get(PyObject *self, PyTypeObject *class, PyObject *const *arguments,
                           size_t count, PyObject *names)
{
    struct wait wait;
    if (likely(!is_limited(&wait)))
        return get_original(self, class, arguments, count, names);
    coopdl_py_wait_begins(wait.thread);
    PyObject *got = wait_for_item(self, class, arguments, count, names, &wait);
    coopdl_py_wait_is_over(wait.thread);
    return got;
}

static PyObject *ask_semaphore(PyObject *self, bool blocking, double seconds)
{
    PyObject *arguments[] = {blocking ? Py_True : Py_False, PyFloat_FromDouble(seconds)};
    PyObject *got = arguments[1] ? semaphore_original(self, arguments, 2, NULL) : NULL;
    Py_XDECREF(arguments[1]);
    return got;
}

/* Condition.wait takes its lock back by a call without arguments, and waits to be notified by one
 * with two. */
static bool takes_back_by(Py_ssize_t count)
{
    return count == 0 &&
           coopdl_py_executes(PyThreadState_Get(), "wait", "/multiprocessing/synchronize.py");
}

static PyObject *wait_for_semaphore(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                    PyObject *names, struct wait *wait)
{
    if (wait->thread->kind == KIND_MAIN || !blocks(wait, arguments, count, names) ||
        takes_back_by(count))
        return semaphore_original(self, arguments, count, names);
    PyObject *got = ask_semaphore(self, false, 0);
    while (got == Py_False) {
        enum wait_end end = look(wait);
        if (end == WAIT_ENDS)
            return got;
        Py_DECREF(got);
        got = end == WAIT_GOES_ON ? ask_semaphore(self, true, wait->seconds) : NULL;
    }
    return got;
}

static PyObject *semaphore_acquire(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                   PyObject *names)
{
    struct wait wait;
    if (likely(!is_limited(&wait)))
        return semaphore_original(self, arguments, count, names);
    coopdl_py_wait_begins(wait.thread);
    PyObject *got = wait_for_semaphore(self, arguments, count, names, &wait);
    coopdl_py_wait_is_over(wait.thread);
    return got;
}

static PyObject *semaphore_enter(PyObject *self, PyObject *unused)
{
    struct wait wait;
    return likely(!is_limited(&wait)) ? semaphore_enter_original(self, unused)
                                      : semaphore_acquire(self, NULL, 0, NULL);
}

#if PY_VERSION_HEX >= 0x030D0000

/* Whether a join waits, with arguments that are plain. */
static bool join_waits(struct wait *wait, PyObject *arguments)
{
    struct call call = {0};
    if (PyTuple_GET_SIZE(arguments) == 1)
        call.timeout = PyTuple_GET_ITEM(arguments, 0);
    wait->longest = LONGEST_PAUSE;
    return PyTuple_GET_SIZE(arguments) <= 1 &&
           waits(wait, &call, !call.timeout || call.timeout == Py_None);
}

/* Joins: 1 if the thread has ended, 0 if it has not yet, -1 with an exception set. */
static int ask_thread(PyObject *self, double seconds)
{
    PyObject *arguments = Py_BuildValue("(d)", seconds);
    PyObject *done = arguments ? join_original(self, arguments) : NULL;
    Py_XDECREF(arguments);
    if (done)
        Py_SETREF(done, PyObject_CallMethod(self, "is_done", NULL));
    int is_done = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    return is_done;
}

static PyObject *wait_for_thread(PyObject *self, PyObject *arguments, struct wait *wait)
{
    if (wait->thread->kind == KIND_MAIN || !join_waits(wait, arguments))
        return join_original(self, arguments);
    enum wait_end end = WAIT_GOES_ON;
    int done = ask_thread(self, 0);
    while (done == 0 && (end = look(wait)) == WAIT_GOES_ON)
        done = ask_thread(self, wait->seconds);
    if (done < 0 || end == WAIT_RAISED)
        return NULL;
    /* One that has ended since the last wait is joined now. */
    return done ? join_original(self, arguments) : Py_NewRef(Py_None);
}

static PyObject *thread_join(PyObject *self, PyObject *arguments)
{
    struct wait wait;
    if (likely(!is_limited(&wait)))
        return join_original(self, arguments);
    coopdl_py_wait_begins(wait.thread);
    PyObject *got = wait_for_thread(self, arguments, &wait);
    coopdl_py_wait_is_over(wait.thread);
    return got;
}

#endif

/* Puts `ours` behind a method of this type, and notes what was there. */
static void replace(PyObject *type, const char *method, int flags, PyCFunction ours,
                    PyCFunction *original)
{
    PyObject *descriptor = type ? PyObject_GetAttrString(type, method) : NULL;
    PyMethodDef *definition = descriptor && Py_IS_TYPE(descriptor, &PyMethodDescr_Type)
                                  ? ((PyMethodDescrObject *)descriptor)->d_method
                                  : NULL;
    if (definition && definition->ml_meth != ours && definition->ml_flags == flags &&
        (!*original || *original == definition->ml_meth)) {
        *original = definition->ml_meth;
        definition->ml_meth = ours;
    }
    if (!definition || definition->ml_meth != ours) {
        char text[120];
        snprintf(text, sizeof(text),
                 "python: %s of a lock or a queue ends late in worker threads: it is not as in the "
                 "Pythons that are known",
                 method);
        coopdl_log(COOPDL_LOG_CUTS, text);
    }
    PyErr_Clear();
    Py_XDECREF(descriptor);
}

static PyObject *fetch(const char *module, const char *name)
{
    PyObject *from = PyImport_ImportModule(module);
    PyObject *found = from ? PyObject_GetAttrString(from, name) : NULL;
    Py_XDECREF(from);
    return found;
}

#define FUNCTION(function) ((PyCFunction)(void (*)(void))(function))

static void replace_acquire(const char *type, const char *method, PyCFunctionWithKeywords ours,
                            PyCFunctionWithKeywords *original)
{
    PyObject *class = fetch("_thread", type);
    replace(class, method, METH_VARARGS | METH_KEYWORDS, FUNCTION(ours), (PyCFunction *)original);
    Py_XDECREF(class);
}

void coopdl_py_replace_waits(struct module_state *state)
{
    replace_acquire("LockType", "acquire", lock_acquire, &lock_original);
    replace_acquire("LockType", "acquire_lock", lock_acquire, &lock_original);
    replace_acquire("LockType", "__enter__", lock_acquire, &lock_original);
    replace_acquire("RLock", "acquire", rlock_acquire, &rlock_original);
    replace_acquire("RLock", "__enter__", rlock_acquire, &rlock_original);
    PyObject *queue = fetch("_queue", "SimpleQueue");
    if (!state->empty)
        state->empty = fetch("_queue", "Empty");
    replace(state->empty ? queue : NULL, "get", METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
            FUNCTION(queue_get), (PyCFunction *)&get_original);
    Py_XDECREF(queue);
    PyObject *semaphore = fetch("_multiprocessing", "SemLock");
    replace(semaphore, "acquire", METH_FASTCALL | METH_KEYWORDS, FUNCTION(semaphore_acquire),
            (PyCFunction *)&semaphore_original);
    if (semaphore_original)
        replace(semaphore, "__enter__", METH_NOARGS, semaphore_enter, &semaphore_enter_original);
    Py_XDECREF(semaphore);
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *thread = fetch("_thread", "_ThreadHandle");
    replace(thread, "join", METH_VARARGS, thread_join, &join_original);
    Py_XDECREF(thread);
#endif
}
