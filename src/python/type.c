/* SPDX-License-Identifier: Apache-2.0 */
/*
 * type.c -- the types timeout and shield as Python sees them: how scopes are made, their methods,
 * and what help() says of them.
 */
#include "type.h"

#include "clock.h"
#include "context.h"
#include "limit.h"
#include "method.h"

static struct module_state *state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

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

static PyObject *context_reschedule(PyObject *object, PyObject *when)
{
    int64_t deadline = coopdl_py_read_deadline(when);
    if (deadline < 0)
        return NULL;
    const char *error = coopdl_py_reschedule((struct context *)object, deadline);
    if (error)
        return PyErr_Format(PyExc_RuntimeError, "%s", error);
    Py_RETURN_NONE;
}

static PyObject *context_cancel(PyObject *object, PyObject *Py_UNUSED(unused))
{
    coopdl_py_cancel((struct context *)object);
    Py_RETURN_NONE;
}

/* A new one with the same limit, for each call of a decorated function. */
static PyObject *context_renew(PyObject *object, PyObject *Py_UNUSED(unused))
{
    const struct context *old = (const struct context *)object;
    struct context *self = coopdl_py_context_new(Py_TYPE(object));
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

/* Any scope but a shield. */
static PyObject *make_scope(PyTypeObject *type, const struct coopdl_py_maker *maker,
                            PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    struct context *self = coopdl_py_context_new(type);
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
    struct context *self = coopdl_py_context_new((PyTypeObject *)type);
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
                           {Py_tp_dealloc, (void *)coopdl_py_context_dealloc},
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

int coopdl_py_add_types(PyObject *module, struct module_state *state)
{
    if (coopdl_py_add_methods(module, state, &coopdl_py_context_methods) < 0)
        return -1;
    state->timeout = add(module, "coopdl.timeout", timeout_doc, timeout_methods, make_timeout);
    state->shield = add(module, "coopdl.shield", shield_doc, shield_methods, make_shield);
    return state->timeout && state->shield ? 0 : -1;
}
