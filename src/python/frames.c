/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.c -- where a thread is, and where an exception may be raised in it.
 *
 * Four kinds of places are not safe.
 * - From 3.11 on the interpreter finds handlers in a table, by the offset of the failing
 *   instruction.  It looks at its signals at a jump backwards too, but looks up an error raised
 *   there at the wrong offset: up to 3.12 at the instruction before the jump's target, from 3.13 on
 *   at the jump itself.  That offset may lie outside the `try` or `with` that the loop is in.
 * - From 3.14 on the interpreter looks at its signals after the call of `__enter__` too, before the
 *   `with` has begun.  An exception there skips `__exit__`.  The stack of the frame tells whether
 *   the call has returned: its result is in the place of the callable and its object.
 * - Critical functions (frames.h), and the functions that they call.  Until `__enter__` has
 *   returned, no code gives back a resource that it has taken; a resource that `__exit__` has not
 *   given back stays taken; a destructor throws its exceptions away; up to 3.12 an exception in
 *   Thread.join's function for a lock marks a running thread as ended.  One in Thread.start leaves
 *   a thread behind that the interpreter's end does not await: up to 3.12 that end frees the state
 *   that the new thread is about to use, and the process crashes.  A critical function in which the
 *   scope itself was entered does not count: the exception stops at the `with` statement of the
 *   scope, inside that function.
 * - The event loop's own code in asyncio, as long as it runs no coroutine or callback of the
 *   program's and does not wait in the selector.  The loop has taken a handle off its queue, or a
 *   future is done and calls call_soon, once.  After an exception there what awaits the future
 *   sleeps for ever, and asyncio.run waits for it.  The safe point is between two rounds of the
 *   loop.
 *
 * A safe point lies before an instruction of a frame that is in none of these places: at the target
 * of a jump backwards, at the beginning of a function, at the beginning of the body of a `with`,
 * and after a call that the same handler covers.  (From 3.14 on the beginning of the body is none:
 * an exception deferred at each `with` would come before the name after `as` is bound.)  The
 * interpreter itself might raise at each of these points.  It never raises between the body of a
 * `with` and `__exit__`, nor between `__exit__` and the next statement.
 *
 * A thread that waits for a lock in an `__enter__` again and again, with a time-out
 * (threading.Semaphore.acquire), does not return to its caller for long.  Where it repeats its loop
 * it does not have the lock, so that is a safe point too.
 *
 * What must hold: the caller has the GIL, so the other thread stands still.  That thread is in a
 * call of a C function, or between two instructions where the interpreter looks at its signals.
 */
#include "frames.h"

#include "argument.h"
#include "code.h"
#include "frame_id.h"

#include <frameobject.h>
#include <opcode.h>
#if PY_VERSION_HEX >= 0x030E0000
#include "internal_frame.h" /* PyGenObject */
#endif
#include <string.h>

static const char threading[] = "/threading.py";

/* How many frames are looked at, from the innermost one. */
enum { DEPTH = 100, ARGUMENTS = 4 };

/* In order of how they are looked for; the last ones in the middle of a name (`_acquireLock`). */
static const struct {
    const char *name;
    struct critical critical;
} critical_functions[] = {
    {"__enter__", {CRITICAL_ENTER, false, "in __enter__"}},
    {"__exit__", {CRITICAL_EXIT, false, "in __exit__"}},
    {"__del__", {CRITICAL_DESTROY, false, "in __del__"}},
    /* Futures and tasks in C call it of their loop as they are destroyed. */
    {"call_exception_handler", {CRITICAL_DESTROY, false, "in call_exception_handler"}},
    /* C code calls them as it destroys a coroutine that was never awaited, a file that is open. */
    {"_warn_unawaited_coroutine", {CRITICAL_DESTROY, false, "in _warn_unawaited_coroutine"}},
    {"_showwarnmsg", {CRITICAL_DESTROY, false, "in _showwarnmsg"}},
    {"_wait_for_tstate_lock", {CRITICAL_JOIN, false, "in Thread.join"}},
    /* The standard library's callbacks of os.fork, also where C code has called that. */
    {"_prepareFork", {CRITICAL_DESTROY, false, "in _prepareFork"}},
    {"_afterFork", {CRITICAL_DESTROY, false, "in _afterFork"}},
    {"_after_at_fork_child_reinit_locks",
     {CRITICAL_DESTROY, false, "in _after_at_fork_child_reinit_locks"}},
    {"_after_fork", {CRITICAL_DESTROY, false, "in _after_fork"}},
    {"enter_context", {CRITICAL_ENTER, false, "in enter_context"}},
    {"acquire", {CRITICAL_ENTER, true, "in acquire"}},
    {"release", {CRITICAL_EXIT, true, "in release"}},
    /* Futures in C call it of their loop once they are done: nobody would call it again. */
    {"call_soon", {CRITICAL_EXIT, true, "in call_soon"}},
};
static const struct critical other_destructor = {CRITICAL_DESTROY, false, "in a destructor"};
static const struct critical weak_callback = {CRITICAL_DESTROY, false,
                                              "in a weak reference's callback"};
static const struct critical closed_generator = {CRITICAL_DESTROY, false,
                                                 "in a generator that is closed"};
static const struct critical thread_start = {CRITICAL_START, false, "in Thread.start"};
static const struct critical event_loop = {CRITICAL_EXIT, false, "in the event loop"};
static const struct critical fork_callback = {CRITICAL_DESTROY, false, "in a callback of os.fork"};

enum { CRITICAL_FUNCTIONS = sizeof(critical_functions) / sizeof(*critical_functions) };

static bool is_dead_reference(PyObject *object)
{
    if (!PyWeakref_Check(object))
        return false;
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *alive = NULL;
    (void)PyWeakref_GetRef(object, &alive);
    Py_XDECREF(alive); /* its referent is held by whoever runs */
    return !alive;
#else
    return PyWeakref_GET_OBJECT(object) == Py_None;
#endif
}

/* A callback of a weak reference is called with the reference, whose object is gone. */
static bool is_weak_callback(PyFrameObject *frame)
{
    bool found = false;
    for (int i = 0; !found && i < ARGUMENTS; i++) {
        PyObject *argument = coopdl_py_argument(frame, i);
        if (!argument)
            break;
        found = is_dead_reference(argument);
        Py_DECREF(argument);
    }
    return found;
}

PyObject *coopdl_py_handled_in(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *generator = PyFrame_GetGenerator(frame);
    Py_XDECREF(generator); /* its frame is held */
#else
    PyObject *generator = frame->f_gen;
#endif
    /* 3.14 has None for a frame that is of no generator. */
    return generator && generator != Py_None ? ((PyGenObject *)generator)->gi_exc_state.exc_value
                                             : NULL;
}

/* The clean-up of a generator that is closed, perhaps by its destructor. */
static bool is_closed(PyFrameObject *frame)
{
    PyObject *exception = coopdl_py_handled_in(frame);
    for (int links = 0; exception && exception != Py_None && links < DEPTH; links++) {
        if (PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit))
            return true;
        exception = ((PyBaseExceptionObject *)exception)->context;
    }
    return false;
}

static bool is_named(const char *name, int i)
{
    return critical_functions[i].critical.by_name ? strstr(name, critical_functions[i].name) != NULL
                                                  : strcmp(name, critical_functions[i].name) == 0;
}

static bool is_of_file(const PyCodeObject *code, const char *file)
{
    Py_ssize_t length = 0, tail = (Py_ssize_t)strlen(file);
    const char *name = PyUnicode_AsUTF8AndSize(code->co_filename, &length);
    PyErr_Clear();
    return name && length >= tail && strcmp(name + length - tail, file) == 0;
}

/* The function itself is not looked for, since that might import. */
static bool is_method(PyFrameObject *frame, const char *method, const char *file)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    bool is =
        is_of_file(code, file) && PyUnicode_CompareWithASCIIString(code->co_name, method) == 0;
    Py_DECREF(code);
    return is;
}

/* Whether a frame is of asyncio's own code, and of no coroutine. */
static bool is_of_asyncio(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    const char *name = PyUnicode_AsUTF8(code->co_filename);
    bool is = name && strstr(name, "/asyncio/") && !(code->co_flags & CO_COROUTINE);
    PyErr_Clear();
    Py_DECREF(code);
    return is;
}

static const struct critical *critical_of(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    const char *name = PyUnicode_AsUTF8(code->co_name);
    int i = 0;
    while (name && i < CRITICAL_FUNCTIONS && !is_named(name, i))
        i++;
    Py_DECREF(code);
    PyErr_Clear();
    if (name && i < CRITICAL_FUNCTIONS)
        return &critical_functions[i].critical;
    if (is_method(frame, "start", threading))
        return &thread_start;
    return is_weak_callback(frame) ? &weak_callback : is_closed(frame) ? &closed_generator : NULL;
}

/* The code of a type's method; borrowed, null if it has none that is a function of Python's.  To
 * get the attribute could run code of the program's. */
static PyObject *code_of_method(PyTypeObject *type, PyObject *name)
{
    PyObject *mro = type->tp_mro, *found = NULL;
    for (Py_ssize_t i = 0; mro && i < PyTuple_GET_SIZE(mro) && !found; i++) {
        PyObject *dict = ((PyTypeObject *)PyTuple_GET_ITEM(mro, i))->tp_dict;
        found = dict ? PyDict_GetItemWithError(dict, name) : NULL;
        PyErr_Clear();
    }
    return found && PyFunction_Check(found) ? PyFunction_GET_CODE(found) : NULL;
}

/* Whether a method may have been called by one of its names, or through a variable. */
static bool is_called(PyFrameObject *frame, PyFrameObject *caller, PyTypeObject *type,
                      const PyObject *method)
{
    struct code code;
    if (!coopdl_py_frame_is_of_c(frame) || !coopdl_py_code_read(&code, caller))
        return true;
    int at = coopdl_py_code_calling(&code, coopdl_py_code_at(caller));
    PyObject *called = coopdl_py_code_called(&code, at);
    bool is = called ? code_of_method(type, called) == method : coopdl_py_code_passes_on(&code, at);
    coopdl_py_code_done(&code);
    return is;
}

/* Whether a frame is that of a destructor that is another method, too (`__del__ = close`), and
 * whose caller has not called that other method. */
static bool destroys(PyFrameObject *frame, PyFrameObject *caller)
{
    PyObject *self = coopdl_py_argument(frame, 0);
    PyTypeObject *type = self ? Py_TYPE(self) : NULL; /* the frame holds the object */
    Py_XDECREF(self);
    if (!type || !type->tp_finalize)
        return false;
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *name = PyUnicode_InternFromString("__del__");
    bool is = name && code_of_method(type, name) == (PyObject *)code &&
              !is_called(frame, caller, type, (PyObject *)code);
    PyErr_Clear();
    Py_XDECREF(name);
    Py_DECREF(code);
    return is;
}

/* What a frame is in that has called another one: the callbacks of os.fork, or the functions of a
 * `with` statement, whatever their names are. */
static const struct critical *critical_call(PyFrameObject *frame)
{
    static const struct critical enter = {CRITICAL_ENTER, false, "in __enter__"};
    static const struct critical exit = {CRITICAL_EXIT, false, "in __exit__"};
    struct code code;
    if (!coopdl_py_code_read(&code, frame))
        return NULL;
    int at = coopdl_py_code_calling(&code, coopdl_py_code_at(frame));
    enum with with = coopdl_py_code_with(&code, at);
    PyObject *called = with == WITH_NOTHING ? coopdl_py_code_called(&code, at) : NULL;
    bool forks = called && (PyUnicode_CompareWithASCIIString(called, "fork") == 0 ||
                            PyUnicode_CompareWithASCIIString(called, "forkpty") == 0);
    coopdl_py_code_done(&code);
    return with == WITH_ENTERS  ? &enter
           : with == WITH_EXITS ? &exit
           : forks              ? &fork_callback
                                : NULL;
}

/* What a frame is as its own function, or as the one that its caller is at.  What is thrown away
 * there rules: logging's callback of os.fork is called _acquireLock. */
static const struct critical *critical_frame(PyFrameObject *frame, PyFrameObject *back)
{
    const struct critical *own = critical_of(frame);
    if (own && own->kind == CRITICAL_DESTROY)
        return own;
    if (destroys(frame, back))
        return &other_destructor;
    const struct critical *call = critical_call(back);
    return call && (!own || own->by_name || call->kind == CRITICAL_DESTROY) ? call : own;
}

/* What a frame is that C code alone has called: what a thread destroys as it ends. */
static const struct critical *critical_alone(PyFrameObject *frame)
{
    const struct critical *own = critical_of(frame);
    return own && own->kind == CRITICAL_DESTROY ? own : NULL;
}

static int rank(const struct critical *critical)
{
    return critical->kind == CRITICAL_DESTROY ? 3
           : critical->kind == CRITICAL_START ? 2
           : !critical->by_name               ? 1
                                              : 0;
}

static bool rules(const struct critical *outer, const struct critical *inner)
{
    return !inner || rank(outer) >= rank(inner);
}

/* Whether a frame is outside the body of a scope: that of the `with` statement, or of the function
 * that is decorated by the scope, which is its body. */
static bool ends_body(PyFrameObject *frame, PyFrameObject *back, const struct entry *scope)
{
    if (!scope || !scope->frame)
        return false;
    if (coopdl_py_frame_id(frame) == scope->frame)
        return true;
    return back && coopdl_py_frame_id(back) == scope->frame &&
           is_method(back, "limited", "/coopdl/_limited.py");
}

/* The caller of the outermost critical function in the body of a scope, a new reference; null if
 * there is no such function, or C code alone has called it. */
static PyFrameObject *outside(PyThreadState *there, const struct entry *scope,
                              const struct critical **critical)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there), *found = NULL;
    bool is_loop = true; /* all frames so far are of the event loop's own code */
    *critical = NULL;
    for (int depth = 0; frame && depth < DEPTH; depth++) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        if (ends_body(frame, back, scope)) {
            Py_XDECREF(back);
            break;
        }
        const struct critical *here = back ? critical_frame(frame, back) : critical_alone(frame);
        is_loop = is_loop && is_of_asyncio(frame);
        if (is_loop && !here && is_method(frame, "_run_once", "/asyncio/base_events.py"))
            here = &event_loop;
        if (here) {
            Py_XSETREF(found, (PyFrameObject *)Py_XNewRef(back));
            if (rules(here, *critical))
                *critical = here;
        }
        Py_SETREF(frame, back);
    }
    Py_XDECREF(frame);
    return found;
}

const struct critical *coopdl_py_critical(PyThreadState *there, const struct entry *scope)
{
    const struct critical *critical;
    PyFrameObject *frame = outside(there, scope, &critical);
    Py_XDECREF(frame);
    return critical;
}

/* Whether an instruction is in a loop. */
static bool is_in_loop(const struct code *code, int at)
{
    for (int i = 0; i < code->count; i = coopdl_py_code_next(code, i))
        if (i >= at && coopdl_py_code_is_backward(code, i) && coopdl_py_code_target(code, i) <= at)
            return true;
    return false;
}

static bool goes_round(PyFrameObject *frame)
{
    struct code code;
    if (!coopdl_py_code_read(&code, frame))
        return false;
    bool does = is_in_loop(&code, coopdl_py_code_at(frame));
    coopdl_py_code_done(&code);
    return does;
}

/* The innermost frame that is in a loop, in a function that takes something or below one; a new
 * reference, or null. */
static PyFrameObject *taker(PyThreadState *there, const struct entry *scope)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there), *found = NULL;
    const struct critical *critical = NULL;
    for (int depth = 0; frame && depth < DEPTH && !ends_body(frame, NULL, scope); depth++) {
        if (!found && goes_round(frame))
            found = (PyFrameObject *)Py_NewRef(frame);
        if ((critical = critical_of(frame)))
            break;
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    if (!critical || critical->kind != CRITICAL_ENTER)
        Py_CLEAR(found);
    Py_XDECREF(frame);
    return found;
}

/* The frame whose instructions are to be watched, a new reference; null if there is none. */
static PyFrameObject *choose(struct thread *thread, PyThreadState *there)
{
    const struct critical *critical;
    PyFrameObject *frame = thread->deferral.waits ? taker(there, thread->due) : NULL;
    thread->watch.around = frame;
    if (!frame && !thread->deferral.over) {
        frame = outside(there, thread->due, &critical);
        if (!frame && critical)
            return NULL;
    }
    return frame ? frame : PyThreadState_GetFrame(there);
}

PyFrameObject *coopdl_py_aim(struct watch *watch, PyFrameObject *frame)
{
    if (frame && !coopdl_py_code_read(&watch->code, frame))
        Py_CLEAR(frame);
    if (frame)
        watch->last = coopdl_py_code_calling(&watch->code, coopdl_py_code_at(frame));
    watch->frame = frame;
    return frame;
}

PyFrameObject *coopdl_py_choose_frame(struct thread *thread, PyThreadState *there)
{
    return coopdl_py_aim(&thread->watch, choose(thread, there));
}

#if PY_VERSION_HEX >= 0x030B0000

/* Whether that jump is one where handlers are skipped. */
static bool skips(const struct code *code, int at)
{
    int target = coopdl_py_code_target(code, at);
#if PY_VERSION_HEX >= 0x030D0000
    int looked_up = coopdl_py_code_next(code, at) - 1;
#else
    int looked_up = target - 1;
#endif
    return coopdl_py_code_handler(code, looked_up) != coopdl_py_code_handler(code, target);
}

/* Whether a `with` has called `__enter__` and that has returned; before 3.14 the interpreter looks
 * at nothing there. */
static bool has_entered(PyFrameObject *frame, const struct code *code, int at)
{
#if PY_VERSION_HEX >= 0x030E0000
    int called = coopdl_py_code_depth(code, coopdl_py_code_next(code, at)) + 2;
    return coopdl_py_code_is_with(code, at) && coopdl_py_frame_stack(frame) != called;
#else
    (void)frame, (void)code, (void)at;
    return false;
#endif
}

bool coopdl_py_misplaced(PyThreadState *there)
{
    struct code code;
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    int at = frame ? coopdl_py_code_at(frame) : -1;
    bool misplaced = false;
    if (frame && coopdl_py_code_read(&code, frame)) {
        misplaced = at >= 0 && ((coopdl_py_code_is_backward(&code, at) && skips(&code, at)) ||
                                has_entered(frame, &code, at));
        coopdl_py_code_done(&code);
    }
    Py_XDECREF(frame);
    return misplaced;
}

bool coopdl_py_enters(PyThreadState *there)
{
#if PY_VERSION_HEX >= 0x030E0000
    struct code code;
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    bool enters = false;
    if (frame && coopdl_py_code_read(&code, frame)) {
        enters = coopdl_py_code_is_with(&code, coopdl_py_code_at(frame));
        coopdl_py_code_done(&code);
    }
    Py_XDECREF(frame);
    return enters;
#else
    (void)there;
    return false;
#endif
}

#else

/* The interpreter looks at its signals before the first instruction of a handler too, which may be
 * the call of `__exit__`.  The handler's exception says where it was caught. */
bool coopdl_py_misplaced(PyThreadState *there)
{
    PyObject *trace = there->exc_info->exc_traceback;
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    bool misplaced = frame && trace && PyTraceBack_Check(trace) &&
                     ((PyTracebackObject *)trace)->tb_frame == frame &&
                     ((PyTracebackObject *)trace)->tb_lasti == 2 * coopdl_py_code_at(frame);
    Py_XDECREF(frame);
    return misplaced;
}

bool coopdl_py_enters(PyThreadState *Py_UNUSED(there))
{
    return false;
}

#endif

/* With the instruction at `before` executed last. */
static bool is_safe(const struct code *code, int before, int now, bool around)
{
    if (before >= 0 && coopdl_py_code_is_backward(code, before))
        return now == coopdl_py_code_target(code, before);
    if (around)
        return false;
    if (before < 0)
        return now == 0;
    if (now != coopdl_py_code_after(code, before))
        return false;
    return (coopdl_py_code_is_with(code, before) && PY_VERSION_HEX < 0x030E0000) ||
           (coopdl_py_code_is_call(code, before) &&
            coopdl_py_code_handler(code, before) == coopdl_py_code_handler(code, now));
}

bool coopdl_py_is_safe(struct watch *watch, int now)
{
    int before = watch->last;
    watch->last = now;
    return is_safe(&watch->code, before, now, watch->around);
}

PyObject *coopdl_py_in_method(PyThreadState *there, const char *method, const char *file)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    PyObject *object = NULL;
    for (int depth = 0; frame && depth < DEPTH && !object; depth++) {
        if (is_method(frame, method, file))
            object = coopdl_py_argument(frame, 0);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    return object;
}

bool coopdl_py_shuts_down(PyThreadState *there)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    bool does = false;
    for (int depth = 0; frame && depth < DEPTH && !does; depth++) {
        does = is_method(frame, "_shutdown", threading);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    return does;
}

/* Whether a frame may be that of a thread's run(), which a program may have put another in place
 * of. */
static bool may_be_run(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    bool may = !is_of_file(code, threading);
    Py_DECREF(code);
    return may || is_method(frame, "run", threading);
}

bool coopdl_py_is_outside_run(PyThreadState *there)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    bool begins = false, runs = false;
    for (int depth = 0; frame && depth < DEPTH && !begins; depth++) {
        begins = is_method(frame, "_bootstrap_inner", threading) ||
                 is_method(frame, "_bootstrap", threading);
        runs = begins ? runs : may_be_run(frame);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    return begins && !runs;
}

bool coopdl_py_executes(PyThreadState *there, const char *function, const char *file)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    bool executes = frame && is_method(frame, function, file);
    Py_XDECREF(frame);
    return executes;
}
