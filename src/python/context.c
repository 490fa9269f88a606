/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.c -- timeout, timeout_at and shield: scopes as Python sees them.
 *
 * The object holds a limit; entered, it has an entry on its thread's list.  What
 * must hold: the list and the library's own stack are the same, innermost first.
 * A scope that is left out of order, or dies entered, is taken out from between:
 * the library leaves those inside it too, so they are entered again.
 *
 * Whether a scope has expired is decided by one look at the clock, when it is
 * left: a body that ends behind its deadline has not ended in time, whether or
 * not anybody has acted on that yet.  Nothing is raised or cut before the
 * deadline, so nothing that was is missed by this.
 */
#include "raise.h"

#include "clock.h"
#include "hooks.h"
#include "raiser.h"

#include <structmember.h>

struct context {
    PyObject_HEAD int64_t limit; /* a duration, or a deadline */
    int64_t deadline;
    struct thread *thread;
    struct entry *entry; /* null: not entered */
    bool absolute, shield;
    bool used, expired;
};

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
        PyErr_SetFromErrno(PyExc_OSError);
    return result;
}

/* Whether something is on its way to the thread for an entry, or may be.  To be asked when the list
 * says already that it is not due any more: until then the raiser may look at it. */
static bool is_told(const struct thread *thread, const struct entry *entry)
{
    return thread->pending == entry || thread->awaited || thread->watched;
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
    self->deadline =
        self->absolute || self->limit == COOPDL_NEVER ? self->limit : coopdl_after(self->limit);
    self->thread = thread;
    self->expired = false;
    self->used = true;
    atomic_store_explicit(&entry->deadline, self->deadline, memory_order_relaxed);
    atomic_store_explicit(&entry->raised, false, memory_order_relaxed);
    entry->owner = (PyObject *)self;
    entry->shield = self->shield;
    coopdl_py_lock();
    coopdl_py_push(thread, entry);
    coopdl_py_unlock();
    if (unlikely(self->shield && (thread->pending || is_told(thread, entry))))
        coopdl_py_cancel(thread);
    if (unlikely(enter_library(self, entry) < 0)) {
        coopdl_py_drop(thread, entry);
        return -1;
    }
    self->entry = entry;
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

/* Takes the scope off, wherever it is on the list. */
static void take_off(struct context *self)
{
    bool expired = coopdl_passed(self->deadline);
    struct entry *entry = self->entry, *outer = atomic_load(&entry->outer);
    struct thread *thread = self->thread;
    struct entry *top = atomic_load(&thread->top);
    coopdl_leave(&entry->scope);
    self->entry = NULL;
    self->expired = expired;
    entry->owner = NULL;
    coopdl_py_lock();
    coopdl_py_drop(thread, entry);
    coopdl_py_unlock();
    if (unlikely(is_told(thread, entry)))
        coopdl_py_cancel(thread);
    if (unlikely(expired))
        atomic_store(&thread->told, COOPDL_PEACE);
    if (unlikely(top != entry))
        enter_again(atomic_load(&thread->top), outer);
}

/* Whether this error is to be left as it is: one that is about that scope, or none of ours to
 * replace. */
static bool stands(struct module_state *state, PyObject *error, PyObject *scope)
{
    if (!PyObject_TypeCheck(error, (PyTypeObject *)PyExc_Exception) &&
        !PyObject_TypeCheck(error, (PyTypeObject *)state->insists))
        return true;
    if (!PyObject_TypeCheck(error, (PyTypeObject *)state->exceeded))
        return false;
    PyObject *about = PyObject_GetAttrString(error, "scope");
    bool same = about == scope;
    PyErr_Clear();
    Py_XDECREF(about);
    return same;
}

/* The scope has expired and is left: with `error`, or null. */
static int conclude(struct context *self, PyObject *error)
{
    struct module_state *state = state_of((PyObject *)self);
    /* An outer one that has expired too owns the expiry. */
    struct entry *owner = coopdl_py_owner(self->thread, coopdl_now());
    PyObject *scope = owner ? coopdl_py_scope(owner) : (PyObject *)self;
    if (error && (stands(state, error, scope) ||
                  (owner && PyObject_TypeCheck(error, (PyTypeObject *)state->insists))))
        return 0;
    if (owner) {
        coopdl_py_raise(state, owner, error);
        return -1;
    }
    PyObject *exception = PyObject_CallFunction(state->exceeded, "s", "deadline exceeded");
    if (exception && PyObject_SetAttrString(exception, "scope", scope) == 0) {
        if (error)
            PyException_SetCause(exception, Py_NewRef(error));
        PyErr_SetObject(state->exceeded, exception);
    }
    Py_XDECREF(exception);
    return -1;
}

static int leave(struct context *self, PyObject *error)
{
    if (unlikely(!self->entry))
        return fail("this scope is not entered");
    if (unlikely(self->thread != coopdl_py_self()))
        return fail("a scope is left by the thread that entered it");
    bool ordered = atomic_load(&self->thread->top) == self->entry;
    take_off(self);
    if (unlikely(!ordered))
        return fail("a scope was left before one that was entered inside it");
    return unlikely(self->expired) ? conclude(self, error) : 0;
}

static PyObject *context_enter(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return enter((struct context *)object) < 0 ? NULL : Py_NewRef(object);
}

static PyObject *context_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *error = count > 1 && arguments[1] != Py_None ? arguments[1] : NULL;
    if (leave((struct context *)object, error) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *context_when(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct context *self = (struct context *)object;
    return coopdl_py_time(self->used || self->absolute ? self->deadline : COOPDL_NEVER);
}

static PyObject *context_expired(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct context *self = (struct context *)object;
    return PyBool_FromLong(self->entry ? self->deadline <= coopdl_now() : self->expired);
}

static PyObject *context_reschedule(PyObject *object, PyObject *when)
{
    struct context *self = (struct context *)object;
    int64_t deadline = coopdl_py_read_deadline(when);
    if (deadline < 0)
        return NULL;
    if (self->entry ? self->thread != coopdl_py_self() : self->used) {
        fail(self->entry ? "a scope is rescheduled by the thread that entered it"
                         : "this scope was left already");
        return NULL;
    }
    self->deadline = deadline;
    if (!self->entry) {
        self->absolute = true;
        self->limit = deadline;
        Py_RETURN_NONE;
    }
    coopdl_move(&self->entry->scope, deadline);
    coopdl_py_lock();
    atomic_store(&self->entry->deadline, deadline);
    atomic_store(&self->entry->raised, false);
    coopdl_py_unlock();
    if (is_told(self->thread, self->entry))
        coopdl_py_cancel(self->thread);
    Py_RETURN_NONE;
}

static PyObject *context_call(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    PyObject *function;
    if (keywords && PyDict_GET_SIZE(keywords))
        return PyErr_Format(PyExc_TypeError, "a decorator takes one function");
    if (!PyArg_ParseTuple(arguments, "O:decorator", &function))
        return NULL;
    return coopdl_py_limit(state_of(object), object, function);
}

static PyObject *context_repr(PyObject *object)
{
    struct context *self = (struct context *)object;
    PyObject *limit = coopdl_py_time(self->limit);
    const char *state = self->entry     ? "entered"
                        : self->expired ? "expired"
                        : self->used    ? "left"
                                        : "new";
    PyObject *text = self->shield ? PyUnicode_FromFormat("<coopdl.shield() %s>", state)
                                  : PyUnicode_FromFormat("<coopdl.%s(%S) %s>",
                                                         self->absolute ? "timeout_at" : "timeout",
                                                         limit, state);
    Py_XDECREF(limit);
    return text;
}

static void context_dealloc(PyObject *object)
{
    struct context *self = (struct context *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->entry && self->thread == coopdl_py_self())
        take_off(self);
    else if (self->entry)
        /* In another thread: the entry stands until an outer one is left, but limits nothing. */
        self->entry->owner = NULL;
    type->tp_free(object);
    Py_DECREF(type);
}

static struct context *make(PyTypeObject *type)
{
    return (struct context *)type->tp_alloc(type, 0);
}

PyObject *coopdl_py_renew(PyObject *context)
{
    const struct context *old = (const struct context *)context;
    struct context *self = make(Py_TYPE(context));
    if (self) {
        self->limit = old->limit;
        self->deadline = old->limit;
        self->absolute = old->absolute;
        self->shield = old->shield;
    }
    return (PyObject *)self;
}

/* The one argument, by position or by name. */
static PyObject *the_argument(const char *function, const char *name, PyObject *const *arguments,
                              size_t flags, PyObject *names)
{
    Py_ssize_t count = PyVectorcall_NARGS(flags), named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count + named == 1 &&
        (!named || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), name) == 0))
        return arguments[0];
    return PyErr_Format(PyExc_TypeError, "%s() takes one argument, %s", function, name);
}

static PyObject *make_timeout(PyObject *type, PyObject *const *arguments, size_t flags,
                              PyObject *names)
{
    PyObject *argument = the_argument("timeout", "seconds", arguments, flags, names);
    int64_t limit = argument ? coopdl_py_read_duration(argument) : -1;
    struct context *self = limit < 0 ? NULL : make((PyTypeObject *)type);
    if (self) {
        self->limit = limit;
        self->deadline = COOPDL_NEVER;
    }
    return (PyObject *)self;
}

static PyObject *make_timeout_at(PyObject *type, PyObject *const *arguments, size_t flags,
                                 PyObject *names)
{
    PyObject *argument = the_argument("timeout_at", "when", arguments, flags, names);
    int64_t limit = argument ? coopdl_py_read_deadline(argument) : -1;
    struct context *self = limit < 0 ? NULL : make((PyTypeObject *)type);
    if (self) {
        self->limit = self->deadline = limit;
        self->absolute = true;
    }
    return (PyObject *)self;
}

static PyObject *make_shield(PyObject *type, PyObject *const *Py_UNUSED(arguments), size_t flags,
                             PyObject *names)
{
    if (PyVectorcall_NARGS(flags) || names)
        return PyErr_Format(PyExc_TypeError, "shield() takes no arguments");
    struct context *self = make((PyTypeObject *)type);
    if (self) {
        self->limit = self->deadline = COOPDL_NEVER;
        self->shield = true;
    }
    return (PyObject *)self;
}

/* For whoever calls the type without the vectorcall protocol. */
static PyObject *context_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    return PyVectorcall_Call((PyObject *)type, arguments, keywords);
}

PyDoc_STRVAR(timeout_doc,
             "timeout(seconds)\n--\n\n"
             "A scope that ends what is done in it `seconds` after it was entered.\n\n"
             "A context manager and a decorator.  None: no limit.  Where the deadline passes,\n"
             "DeadlineExceeded is raised.");
PyDoc_STRVAR(timeout_at_doc, "timeout_at(when)\n--\n\n"
                             "The same with a deadline, on the clock of time.monotonic().");
PyDoc_STRVAR(shield_doc, "shield()\n--\n\n"
                         "A stretch of code that no deadline from outside it cuts.");
PyDoc_STRVAR(enter_doc, "Enters the scope; returns it.");
PyDoc_STRVAR(exit_doc, "Leaves the scope; raises DeadlineExceeded if it has expired.");
PyDoc_STRVAR(when_doc, "The deadline on the clock of time.monotonic(), or None.");
PyDoc_STRVAR(expired_doc, "Whether the deadline has passed while the scope was entered.");
PyDoc_STRVAR(reschedule_doc, "reschedule($self, when, /)\n--\n\n"
                             "Gives the scope another deadline, or none (None).");

static PyMethodDef timeout_methods[] = {
    {"__enter__", context_enter, METH_NOARGS, enter_doc},
    {"__exit__", (PyCFunction)(void (*)(void))context_exit, METH_FASTCALL, exit_doc},
    {"when", context_when, METH_NOARGS, when_doc},
    {"expired", context_expired, METH_NOARGS, expired_doc},
    {"reschedule", context_reschedule, METH_O, reschedule_doc},
    {0}};

static PyMethodDef shield_methods[] = {
    {"__enter__", context_enter, METH_NOARGS, enter_doc},
    {"__exit__", (PyCFunction)(void (*)(void))context_exit, METH_FASTCALL, exit_doc},
    {0}};

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
    if (PyModule_AddType(module, type) < 0)
        Py_CLEAR(type);
    return type;
}

int coopdl_py_add_contexts(PyObject *module, struct module_state *state)
{
    state->timeout = add(module, "coopdl.timeout", timeout_doc, timeout_methods, make_timeout);
    if (!state->timeout)
        return -1;
    state->timeout_at =
        add(module, "coopdl.timeout_at", timeout_at_doc, timeout_methods, make_timeout_at);
    if (!state->timeout_at)
        return -1;
    state->shield = add(module, "coopdl.shield", shield_doc, shield_methods, make_shield);
    return state->shield ? 0 : -1;
}
