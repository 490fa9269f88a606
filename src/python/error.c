/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.c -- DeadlineExceeded and DeadlineInsists.
 *
 * An asynchronous exception is a class: the instance is made in the thread that
 * it is raised in, when that gets to it.  So the constructor, called without
 * arguments while one is on its way, fills in what it is about and stops the
 * cutting.
 */
#include "raise.h"

PyDoc_STRVAR(exceeded_doc,
             "A deadline has passed.\n\n"
             "`scope` is the timeout whose deadline it was; None for the budget of the process.");
PyDoc_STRVAR(insists_doc,
             "A deadline has passed, and the DeadlineExceeded that said so was swallowed.\n\n"
             "Not an Exception, so that `except Exception` in a loop does not keep it.  The\n"
             "scope turns it into DeadlineExceeded at its end.  `scope` as there.");
PyDoc_STRVAR(reduce_doc, "For pickle: the scope stays behind.");

static int init(PyObject *self, PyObject *arguments, PyObject *keywords, PyObject *base)
{
    struct thread *thread = coopdl_py_self();
    struct entry *owner = thread ? thread->pending : NULL;
    if (!owner || PyTuple_GET_SIZE(arguments))
        return ((PyTypeObject *)base)->tp_init(self, arguments, keywords);
    PyObject *message = Py_BuildValue("(s)", "deadline exceeded");
    int result = message ? ((PyTypeObject *)base)->tp_init(self, message, keywords) : -1;
    Py_XDECREF(message);
    if (result == 0)
        result = PyObject_SetAttrString(self, "scope", coopdl_py_scope(owner));
    coopdl_py_raised(thread, owner, self);
    return result;
}

static int init_exceeded(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return init(self, arguments, keywords, PyExc_TimeoutError);
}

static int init_insists(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return init(self, arguments, keywords, PyExc_BaseException);
}

/* Who remembers it without holding it. */
static void finalize(PyObject *self)
{
    for (struct thread *t = coopdl_py_next(NULL); t; t = coopdl_py_next(t))
        if (t->error == self)
            t->error = NULL;
}

static PyObject *reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("OO", Py_TYPE(self), ((PyBaseExceptionObject *)self)->args);
}

static PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, reduce_doc}, {0}};

static PyObject *make(PyObject *module, const char *name, const char *doc, initproc constructor,
                      PyObject *base)
{
    PyType_Slot slots[] = {{Py_tp_doc, (void *)(uintptr_t)doc},
                           {Py_tp_init, (void *)constructor},
                           {Py_tp_finalize, (void *)finalize},
                           {Py_tp_methods, methods},
                           {0, NULL}};
    PyType_Spec spec = {
        .name = name, .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = slots};
    PyObject *class = PyType_FromModuleAndSpec(module, &spec, base);
    if (!class || PyObject_SetAttrString(class, "scope", Py_None) < 0 ||
        PyModule_AddType(module, (PyTypeObject *)class) < 0)
        Py_CLEAR(class);
    return class;
}

int coopdl_py_add_errors(PyObject *module, struct module_state *state)
{
    state->exceeded =
        make(module, "coopdl.DeadlineExceeded", exceeded_doc, init_exceeded, PyExc_TimeoutError);
    state->insists =
        make(module, "coopdl.DeadlineInsists", insists_doc, init_insists, PyExc_BaseException);
    return state->exceeded && state->insists ? 0 : -1;
}
