/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.c -- timeout, timeout_at, move_on_after and shield: scopes as Python sees them.
 *
 * The object holds a limit.  While the scope is entered, the object has an entry on the list of its
 * thread.  What must hold: this list and the library's own stack have the same scopes in the same
 * order, innermost first.  A scope that is left out of order, or is destroyed while it is entered,
 * is removed from the middle.  The library then leaves the scopes inside it as well, so these are
 * entered again.
 *
 * Another thread may reschedule an entered scope, or cancel it, which sets its deadline to now.
 * That thread holds the GIL, and no scope is entered, left or delivered without the GIL.  This
 * works only while nothing has been raised for the scope.  Once the deadline has passed, no other
 * thread can know that: then a cancel changes nothing, and only the scope's own thread may set a
 * new deadline.  Our list is changed first and the library's stack second.  If the library's
 * deadline expires in between, nothing is due by our list and nothing is cut (hooks.c).
 *
 * One look at the clock, when the scope is left, decides whether it has expired.  A body that ends
 * after its deadline is late, whether or not anything was raised or cut.  Nothing is raised or cut
 * before the deadline, so this look misses no expiry.
 */
#include "context.h"

#include "clock.h"
#include "error.h"
#include "expiry.h"
#include "explain.h"
#include "frame_id.h"
#include "handling.h"
#include "hooks.h"
#include "limit.h"
#include "method.h"
#include "pool.h"

#include <string.h>
#include <unistd.h>

struct context {
    struct entered entered;
    struct limit limit;
    int64_t deadline;
    struct thread *thread;
    struct entry *entry; /* while it is entered */
    PyObject *instead;   /* of DeadlineReached, or null */
    bool shield;
    bool used, expired;
    bool cancelled; /* before it was entered */
};

static _Thread_local struct pool pool;

static struct module_state *state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

static int fail(const char *message)
{
    PyErr_SetString(PyExc_RuntimeError, message);
    return -1;
}

static int enter_library(struct context *self, struct entry *entry)
{
    int result =
        self->shield ? coopdl_shield(&entry->scope) : coopdl_enter(&entry->scope, self->deadline);
    if (unlikely(result < 0))
        coopdl_py_set_errno();
    return result;
}

static int64_t later(int64_t time, int64_t by)
{
    return time >= COOPDL_NEVER - by ? COOPDL_NEVER : time + by;
}

static bool is_watched(const struct thread *thread)
{
    return thread->watch.errors || thread->watch.code.object;
}

static void fill(struct context *self, const struct thread *thread, struct entry *entry)
{
    atomic_store_explicit(&entry->deadline, self->deadline, memory_order_relaxed);
    atomic_store_explicit(&entry->overdue, later(self->deadline, self->limit.grace),
                          memory_order_relaxed);
    atomic_store_explicit(&entry->life, LIFE_ARMED, memory_order_relaxed);
    entry->length = self->cancelled                                            ? CANCELLED
                    : self->limit.absolute || self->limit.time == COOPDL_NEVER ? NO_LENGTH
                                                                               : self->limit.time;
    entry->owner = (PyObject *)self;
    /* The frame that keeps `__exit__` lives as long as the scope is entered (method.c). */
    entry->frame = self->entered.exit ? coopdl_py_frame_id_now(thread->attached.state) : NULL;
    entry->instead = self->instead;
    entry->shield = self->shield;
    entry->stays = self->limit.stays;
    entry->inherited = false;
    entry->lent_until = 0;
}

static int enter(struct context *self)
{
    if (unlikely(self->entry))
        return fail("this scope is entered already");
    struct thread *thread = coopdl_py_thread();
    if (unlikely(!thread || coopdl_py_prepare(thread) < 0))
        return -1;
    struct entry *entry = coopdl_py_entry(thread);
    if (unlikely(!entry))
        return -1;
    self->deadline = self->limit.absolute || self->limit.time == COOPDL_NEVER
                         ? self->limit.time
                         : coopdl_after(self->limit.time);
    self->thread = thread;
    self->expired = false;
    self->used = true;
    fill(self, thread, entry);
    coopdl_py_push(thread, entry);
    if (unlikely(self->shield && is_watched(thread)))
        coopdl_py_settle(thread, entry);
    if (unlikely(enter_library(self, entry) < 0)) {
        coopdl_py_drop(thread, entry);
        return -1;
    }
    self->entry = entry;
    self->entered.entered = true;
    return 0;
}

/* Enters again what the library left with an outer scope, the outermost first. */
static void enter_again(struct entry *entry, const struct entry *end)
{
    if (!entry || entry == end)
        return;
    enter_again(atomic_load(&entry->outer), end);
    if (entry->owner)
        enter_library((struct context *)entry->owner, entry);
}

/* Takes the scope off, wherever it is on the list.  What it has ended is explained if it has
 * expired. */
static void take_off(struct context *self, struct explanation *explanation)
{
    bool expired = coopdl_passed(self->deadline);
    struct entry *entry = self->entry, *outer = atomic_load(&entry->outer);
    struct thread *thread = self->thread;
    struct entry *top = atomic_load(&thread->top);
    coopdl_leave(&entry->scope);
    if (unlikely(expired && explanation))
        coopdl_py_explain(explanation, &entry->scope, entry->length);
    self->entry = NULL;
    self->entered.entered = false;
    self->expired = expired;
    entry->owner = NULL;
    coopdl_py_drop(thread, entry);
    if (unlikely(expired || is_watched(thread)))
        coopdl_py_settle(thread, entry);
    if (unlikely(top != entry))
        enter_again(atomic_load(&thread->top), outer);
}

/* Whether this error is to be left as it is: one that is about an outer scope that has expired
 * (`owner`), or that was set by the program and is no Exception. */
static bool stands(struct module_state *state, PyObject *error, const struct entry *owner)
{
    if (!coopdl_py_is_reached(state, error) && !PyErr_GivenExceptionMatches(error, PyExc_Exception))
        return true;
    return owner && coopdl_py_is_about(state, error, coopdl_py_scope(owner));
}

/* The scope has expired and is left: with `error`, or null.  -1 with another one set, 1 if nothing
 * is to be raised. */
static int conclude(struct context *self, PyObject *error, bool inherited,
                    const struct explanation *explanation)
{
    struct module_state *state = state_of((PyObject *)self);
    /* There a SystemExit ends the thread alone, and those of ours would keep the process. */
    if (inherited && coopdl_py_worker_child)
        _exit(COOPDL_PY_STATUS);
    if (error && stands(state, error, coopdl_py_owner(self->thread, coopdl_now())))
        return 0;
    /* An outer one that has expired too owns the expiry, but not in its clean-up. */
    struct entry *owner = coopdl_py_due(self->thread);
    if (owner) {
        coopdl_py_raise(state, owner);
        return -1;
    }
    if (self->limit.maker && self->limit.maker->silent && !inherited)
        return !error || coopdl_py_stems_from(state, error, (PyObject *)self);
    if (!inherited)
        coopdl_py_raise_at_end(state->exceeded, (PyObject *)self, error, explanation);
    else if (error && PyErr_GivenExceptionMatches(error, PyExc_SystemExit))
        return 0;
    else /* its parent has the scope's end */
        coopdl_py_raise_at_end(PyExc_SystemExit, (PyObject *)self, NULL, NULL);
    return -1;
}

static int leave(struct context *self, PyObject *error)
{
    if (unlikely(!self->entry))
        return fail("this scope is not entered");
    if (unlikely(self->thread != coopdl_py_self()))
        return fail("a scope is left by the thread that entered it");
    bool ordered = atomic_load(&self->thread->top) == self->entry;
    bool inherited = self->entry->inherited;
    struct explanation explanation;
    take_off(self, &explanation);
    if (unlikely(!ordered))
        return fail("a scope was left before one that was entered inside it");
    return unlikely(self->expired) ? conclude(self, error, inherited, &explanation) : 0;
}

/* Its `with` statement, or the last reference to it, is gone without an `__exit__`. */
static void abandon(PyObject *object)
{
    struct context *self = (struct context *)object;
    if (self->thread == coopdl_py_self()) {
        take_off(self, NULL);
    } else {
        /* In another thread: the entry stands until an outer one is left, but limits nothing. */
        self->entry->owner = NULL;
        self->entered.entered = false;
    }
}

static void on_lost(PyObject *object)
{
    coopdl_log(COOPDL_LOG_CUTS,
               "python: a with statement ended without calling __exit__: its scope "
               "has been left");
    abandon(object);
}

static PyObject *context_enter(PyObject *object)
{
    return enter((struct context *)object) < 0 ? NULL : Py_NewRef(object);
}

static PyObject *context_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *error = count > 1 && arguments[1] != Py_None ? arguments[1] : NULL;
    int silent = leave((struct context *)object, error);
    return silent < 0 ? NULL : PyBool_FromLong(silent);
}

static const struct coopdl_py_methods scope_methods = {
    .enter = context_enter, .exit = context_exit, .lost = on_lost};

static PyObject *context_async(PyObject *object, PyObject *const *Py_UNUSED(arguments),
                               Py_ssize_t Py_UNUSED(count))
{
    return PyErr_Format(
        PyExc_TypeError,
        "%R is no asynchronous context manager: use `async with asyncio.timeout(...)` "
        "in a coroutine, or `with` around asyncio.run",
        object);
}

static PyObject *context_when(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct context *self = (struct context *)object;
    if (self->entry)
        return coopdl_py_time(atomic_load(&self->entry->deadline));
    return coopdl_py_time(self->used || self->limit.absolute ? self->deadline : COOPDL_NEVER);
}

static PyObject *context_expired(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct context *self = (struct context *)object;
    return PyBool_FromLong(self->entry ? self->deadline <= coopdl_now() : self->expired);
}

static void set_deadline(struct context *self, int64_t deadline)
{
    self->deadline = deadline;
    atomic_store(&self->entry->deadline, deadline);
    atomic_store(&self->entry->overdue, later(deadline, self->limit.grace));
}

/* Gives an entered scope another deadline; false if its thread has ended inside it: that may have
 * been the last use of its entry. */
static bool move(struct context *self, int64_t deadline)
{
    int64_t before = self->deadline;
    if (self->entry->owner != (PyObject *)self)
        return false;
    set_deadline(self, deadline);
    if (coopdl_move(&self->entry->scope, deadline) == 0)
        return true;
    set_deadline(self, before);
    return false;
}

/* For a scope that is not entered yet. */
static void move_limit(struct context *self, int64_t deadline)
{
    self->deadline = self->limit.time = deadline;
    self->limit.absolute = true;
}

static PyObject *context_reschedule(PyObject *object, PyObject *when)
{
    struct context *self = (struct context *)object;
    int64_t deadline = coopdl_py_read_deadline(when);
    bool here = self->thread == coopdl_py_self();
    if (deadline < 0)
        return NULL;
    if (!self->used) {
        self->cancelled = false;
        move_limit(self, deadline);
        Py_RETURN_NONE;
    }
    const char *error = NULL;
    if (self->entry && !here && coopdl_passed(self->deadline))
        error = "the deadline of this scope has passed: only its own thread reschedules it now";
    else if (!self->entry || !move(self, deadline))
        error = "this scope was left already";
    if (error) {
        fail(error);
        return NULL;
    }
    self->entry->length = NO_LENGTH;
    if (here)
        atomic_store(&self->entry->life, LIFE_ARMED);
    if (here && is_watched(self->thread))
        coopdl_py_settle(self->thread, self->entry);
    Py_RETURN_NONE;
}

/* What cancels may always come too late; so it is no error. */
static PyObject *context_cancel(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct context *self = (struct context *)object;
    int64_t now = coopdl_now();
    if (self->entry ? self->deadline <= now : self->used)
        Py_RETURN_NONE;
    if (self->entry && move(self, now))
        self->entry->length = CANCELLED;
    if (!self->entry) {
        move_limit(self, now);
        self->cancelled = true;
    }
    Py_RETURN_NONE;
}

static struct context *make(PyTypeObject *type)
{
    PyObject *object = coopdl_py_pool_new(&pool, type);
    if (likely(object))
        memset((char *)object + sizeof(PyObject), 0, sizeof(struct context) - sizeof(PyObject));
    return (struct context *)object;
}

/* A new one with the same limit, for each call of a decorated function. */
static PyObject *context_renew(PyObject *object, PyObject *Py_UNUSED(unused))
{
    const struct context *old = (const struct context *)object;
    struct context *self = make(Py_TYPE(object));
    if (self) {
        self->limit = old->limit;
        self->deadline = old->limit.time;
        self->shield = old->shield;
    }
    return (PyObject *)self;
}

/* For limits that programs know by a class of their own, as Celery's. */
static PyObject *context_instead(PyObject *object, PyObject *class)
{
    struct context *self = (struct context *)object;
    PyObject *reached = state_of(object)->reached;
    if (!PyType_Check(class) || !PyType_IsSubtype((PyTypeObject *)class, (PyTypeObject *)reached))
        return PyErr_Format(PyExc_TypeError,
                            "a class derived from DeadlineReached is wanted, not %R", class);
    if (self->used)
        return PyErr_Format(PyExc_RuntimeError, "this scope has been entered already");
    Py_XSETREF(self->instead, Py_NewRef(class));
    return Py_NewRef(object);
}

static PyObject *context_call(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    PyObject *function;
    if (keywords && PyDict_GET_SIZE(keywords))
        return PyErr_Format(PyExc_TypeError, "a decorator takes one function");
    if (!PyArg_ParseTuple(arguments, "O:decorator", &function))
        return NULL;
    PyObject *module = PyImport_ImportModule("coopdl._limited");
    PyObject *limited =
        module ? PyObject_CallMethod(module, "limit", "OO", object, function) : NULL;
    Py_XDECREF(module);
    return limited;
}

static PyObject *context_repr(PyObject *object)
{
    struct context *self = (struct context *)object;
    PyObject *limit = coopdl_py_time(self->limit.time);
    const char *state = self->entry     ? "entered"
                        : self->expired ? "expired"
                        : self->used    ? "left"
                                        : "new";
    PyObject *text = self->shield ? PyUnicode_FromFormat("<coopdl.shield() %s>", state)
                                  : PyUnicode_FromFormat("<coopdl.%s(%S) %s>",
                                                         self->limit.maker->name, limit, state);
    Py_XDECREF(limit);
    return text;
}

static void context_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (((struct context *)object)->entry)
        abandon(object);
    Py_XDECREF(((struct context *)object)->instead);
    coopdl_py_pool_free(&pool, object);
    Py_DECREF(type);
}

/* Any scope but a shield. */
static PyObject *make_scope(PyTypeObject *type, const struct coopdl_py_maker *maker,
                            PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    struct context *self = make(type);
    if (unlikely(!self))
        return NULL;
    if (unlikely(coopdl_py_read_limit(&self->limit, maker, arguments, count, names) < 0)) {
        Py_DECREF(self);
        return NULL;
    }
    self->deadline = maker->absolute ? self->limit.time : COOPDL_NEVER;
    return (PyObject *)self;
}

static const struct coopdl_py_maker makes_timeout = {"timeout", "seconds", false, false};
static const struct coopdl_py_maker makes_timeout_at = {"timeout_at", "when", true, false};
static const struct coopdl_py_maker makes_move_on_after = {"move_on_after", "seconds", false, true};

static PyObject *make_timeout(PyObject *type, PyObject *const *arguments, size_t flags,
                              PyObject *names)
{
    return make_scope((PyTypeObject *)type, &makes_timeout, arguments, PyVectorcall_NARGS(flags),
                      names);
}

PyObject *coopdl_py_timeout_at(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                               PyObject *names)
{
    struct module_state *state = PyModule_GetState(module);
    return make_scope(state->timeout, &makes_timeout_at, arguments, count, names);
}

PyObject *coopdl_py_move_on_after(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                                  PyObject *names)
{
    struct module_state *state = PyModule_GetState(module);
    return make_scope(state->timeout, &makes_move_on_after, arguments, count, names);
}

static PyObject *make_shield(PyObject *type, PyObject *const *Py_UNUSED(arguments), size_t flags,
                             PyObject *names)
{
    if (PyVectorcall_NARGS(flags) || names)
        return PyErr_Format(PyExc_TypeError, "shield() takes no arguments");
    struct context *self = make((PyTypeObject *)type);
    if (self) {
        self->limit.time = self->deadline = COOPDL_NEVER;
        self->shield = true;
    }
    return (PyObject *)self;
}

/* For a caller that does not use the vectorcall protocol. */
static PyObject *context_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    return PyVectorcall_Call((PyObject *)type, arguments, keywords);
}

PyDoc_STRVAR(
    timeout_doc,
    "timeout(seconds, *, grace=5.0, inherit=True)\n--\n\n"
    "A scope that ends what is done in it `seconds` after it was entered.\n\n"
    "A context manager and a decorator.  None: no limit; a timedelta is taken too.  Where\n"
    "the deadline passes, DeadlineReached is raised in the body, and DeadlineExceeded at\n"
    "the scope's end.  What still runs or waits in clean-up `grace` seconds after that is\n"
    "cut and raised in as well (None: never).  A process that is forked inside the scope\n"
    "has 50 ms more, and ends with status 124; inherit=False: it has no deadline.");
const char coopdl_py_move_on_after_doc[] =
    "move_on_after($module, /, seconds, *, grace=5.0, inherit=True)\n--\n\n"
    "A timeout whose end raises nothing: expired() tells whether its deadline has passed.";
const char coopdl_py_timeout_at_doc[] =
    "timeout_at($module, /, when, *, grace=5.0, inherit=True)\n--\n\n"
    "A timeout with a deadline, on the clock of time.monotonic().";
PyDoc_STRVAR(shield_doc, "shield()\n--\n\n"
                         "A stretch of code that no deadline from outside it cuts.");
PyDoc_STRVAR(async_doc, "Raises TypeError: a scope is no asynchronous context manager.");
PyDoc_STRVAR(when_doc, "The deadline on the clock of time.monotonic(), or None.");
PyDoc_STRVAR(expired_doc, "Whether the deadline has passed while the scope was entered.");
PyDoc_STRVAR(reschedule_doc,
             "reschedule($self, when, /)\n--\n\n"
             "Gives the scope another deadline, or none (None); from any thread, until\n"
             "its deadline has passed.");
PyDoc_STRVAR(cancel_doc,
             "cancel($self, /)\n--\n\n"
             "Ends what is done in the scope as if its deadline were now; from any thread.\n"
             "Of one that is not entered yet: as soon as it is.  Of one that has expired or\n"
             "was left: nothing.");
PyDoc_STRVAR(instead_doc,
             "The class, derived from DeadlineReached, that is raised in the body, and only once\n"
             "until the grace is over.  Returns the scope.");
PyDoc_STRVAR(renew_doc, "A new scope with the same arguments.");

#define COMMON_METHODS                                                                             \
    {"__aenter__", (PyCFunction)(void (*)(void))context_async, METH_FASTCALL, async_doc},          \
        {"__aexit__", (PyCFunction)(void (*)(void))context_async, METH_FASTCALL, async_doc},       \
    {                                                                                              \
        "_renew", context_renew, METH_NOARGS, renew_doc                                            \
    }

static PyMethodDef timeout_methods[] = {COMMON_METHODS,
                                        {"when", context_when, METH_NOARGS, when_doc},
                                        {"expired", context_expired, METH_NOARGS, expired_doc},
                                        {"reschedule", context_reschedule, METH_O, reschedule_doc},
                                        {"cancel", context_cancel, METH_NOARGS, cancel_doc},
                                        {"_instead", context_instead, METH_O, instead_doc},
                                        {0}};

static PyMethodDef shield_methods[] = {COMMON_METHODS, {0}};

static PyTypeObject *add(PyObject *module, const char *name, const char *doc, PyMethodDef *methods,
                         vectorcallfunc constructor)
{
    PyType_Slot slots[] = {{Py_tp_doc, (void *)(uintptr_t)doc},
                           {Py_tp_new, (void *)context_new},
                           {Py_tp_dealloc, (void *)context_dealloc},
                           {Py_tp_repr, (void *)context_repr},
                           {Py_tp_call, (void *)context_call},
                           {Py_tp_methods, methods},
                           {0, NULL}};
    PyType_Spec spec = {.name = name,
                        .basicsize = sizeof(struct context),
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                        .slots = slots};
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (!type)
        return NULL;
    type->tp_vectorcall = constructor;
    if (coopdl_py_set_methods(PyModule_GetState(module), type) < 0 ||
        PyModule_AddType(module, type) < 0)
        Py_CLEAR(type);
    return type;
}

int coopdl_py_add_contexts(PyObject *module, struct module_state *state)
{
    if (coopdl_py_add_methods(module, state, &scope_methods) < 0)
        return -1;
    state->timeout = add(module, "coopdl.timeout", timeout_doc, timeout_methods, make_timeout);
    state->shield = add(module, "coopdl.shield", shield_doc, shield_methods, make_shield);
    return state->timeout && state->shield ? 0 : -1;
}
