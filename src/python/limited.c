/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limited.c -- a decorated function: each call is made inside a scope of its
 * own.
 *
 * What only makes an object that computes later (a coroutine, a generator) is
 * refused: the scope would be left before anything is done.
 */
#include "module.h"

#include <structmember.h>

struct limited {
    PyObject_HEAD PyObject *context;
    PyObject *function;
    PyObject *dict;
};

static PyObject *call_inside(PyObject *context, PyObject *function, PyObject *arguments,
                             PyObject *keywords)
{
    PyObject *entered = PyObject_CallMethod(context, "__enter__", NULL);
    if (!entered)
        return NULL;
    Py_DECREF(entered);
    PyObject *result = PyObject_Call(function, arguments, keywords);
    PyObject *type = NULL, *error = NULL, *traceback = NULL;
    if (!result) {
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        if (traceback)
            PyException_SetTraceback(error, traceback);
    }
    PyObject *left = PyObject_CallMethod(context, "__exit__", "OOO", type ? type : Py_None,
                                         error ? error : Py_None, traceback ? traceback : Py_None);
    if (!left) {
        Py_CLEAR(result);
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
        return NULL;
    }
    Py_DECREF(left);
    if (type)
        PyErr_Restore(type, error, traceback);
    return result;
}

static PyObject *limited_call(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    struct limited *self = (struct limited *)object;
    PyObject *context = coopdl_py_renew(self->context);
    PyObject *result = context ? call_inside(context, self->function, arguments, keywords) : NULL;
    Py_XDECREF(context);
    return result;
}

/* As a function does: looked up in an instance it is a method. */
static PyObject *limited_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    return instance && instance != Py_None ? PyMethod_New(self, instance) : Py_NewRef(self);
}

static int limited_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct limited *self = (struct limited *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->context);
    Py_VISIT(self->function);
    Py_VISIT(self->dict);
    return 0;
}

static int limited_clear(PyObject *object)
{
    struct limited *self = (struct limited *)object;
    Py_CLEAR(self->context);
    Py_CLEAR(self->function);
    Py_CLEAR(self->dict);
    return 0;
}

static void limited_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    limited_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct limited, dict), READONLY, NULL}, {0}};

static PyGetSetDef getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL}, {0}};

PyDoc_STRVAR(limited_doc, "A function of which each call has a deadline of its own.");

int coopdl_py_add_limited(PyObject *module, struct module_state *state)
{
    PyType_Slot slots[] = {{Py_tp_doc, (void *)(uintptr_t)limited_doc},
                           {Py_tp_call, (void *)limited_call},
                           {Py_tp_descr_get, (void *)limited_get},
                           {Py_tp_traverse, (void *)limited_traverse},
                           {Py_tp_clear, (void *)limited_clear},
                           {Py_tp_dealloc, (void *)limited_dealloc},
                           {Py_tp_members, members},
                           {Py_tp_getset, getset},
                           {0, NULL}};
    PyType_Spec spec = {.name = "coopdl._limited",
                        .basicsize = sizeof(struct limited),
                        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                                 Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        .slots = slots};
    state->limited = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->limited ? 0 : -1;
}

/* What inspect.`test` says of the function; -1 with an exception set. */
static int is(PyObject *inspect, const char *test, PyObject *function)
{
    PyObject *answer = PyObject_CallMethod(inspect, test, "O", function);
    int yes = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return yes;
}

static int refuse(PyObject *function)
{
    if (!PyCallable_Check(function)) {
        PyErr_Format(PyExc_TypeError, "a function is expected, not %s", Py_TYPE(function)->tp_name);
        return -1;
    }
    PyObject *inspect = PyImport_ImportModule("inspect");
    if (!inspect)
        return -1;
    int async = is(inspect, "iscoroutinefunction", function);
    if (async == 0)
        async = is(inspect, "isasyncgenfunction", function);
    int generator = async == 0 ? is(inspect, "isgeneratorfunction", function) : 0;
    Py_DECREF(inspect);
    if (async > 0)
        PyErr_Format(PyExc_TypeError,
                     "%R is an `async def` function, which coopdl.timeout cannot limit: use "
                     "asyncio.timeout inside it",
                     function);
    if (generator > 0)
        PyErr_Format(PyExc_TypeError,
                     "%R is a generator function: its call ends before its body begins; use "
                     "`with coopdl.timeout(...)` where it is iterated over",
                     function);
    return async || generator ? -1 : 0;
}

PyObject *coopdl_py_limit(struct module_state *state, PyObject *context, PyObject *function)
{
    if (refuse(function) < 0)
        return NULL;
    struct limited *self = PyObject_GC_New(struct limited, state->limited);
    if (!self)
        return NULL;
    self->context = coopdl_py_renew(context);
    self->function = Py_NewRef(function);
    self->dict = PyDict_New();
    PyObject_GC_Track(self);
    PyObject *functools = PyImport_ImportModule("functools"), *updated = NULL;
    if (functools && self->context && self->dict)
        updated = PyObject_CallMethod(functools, "update_wrapper", "OO", self, function);
    Py_XDECREF(functools);
    Py_DECREF(self);
    return updated;
}
