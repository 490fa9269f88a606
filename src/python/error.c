/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.c -- the exceptions.
 *
 * Inside the body of a scope DeadlineReached is raised, which is no Exception, so that nothing
 * there takes it for a failure of its own; the scope's end turns it into DeadlineExceeded, a
 * TimeoutError. (asyncio does so with CancelledError and TimeoutError.)
 *
 * Outside of a scope it must be something that ends a program.  For a budget it is a subclass that
 * is a KeyboardInterrupt as well, with the same name.  In a forked child it is SystemExit, since
 * the end of the scope is in the parent.  Where it is raised again it is that KeyboardInterrupt
 * too: event loops (asyncio, uvloop) let nothing else out of a callback.
 */
#include "error.h"

#include <errno.h>
#include <string.h>

PyDoc_STRVAR(exceeded_doc,
             "A deadline has passed: what a scope raises at its end.\n\n"
             "`scope` is the timeout whose deadline it was; `call`, `target`, `library` and\n"
             "`waited` say what was ended first, as far as that is known.");
PyDoc_STRVAR(reached_doc,
             "A deadline has passed: what is raised inside the body of a scope.\n\n"
             "Not an Exception: no handler there takes it for an error.  The scope's end turns it\n"
             "into DeadlineExceeded.  It is raised again if it is swallowed, and is a\n"
             "KeyboardInterrupt as well then.  `scope` is the timeout whose deadline it was; None\n"
             "for the budget of the process, for which it is always one.");
PyDoc_STRVAR(reduce_doc, "For pickle: the scope stays behind.");

void coopdl_py_set_errno(void)
{
    if (errno == EAGAIN)
        PyErr_Format(PyExc_RuntimeError, "coopdl cannot start a thread: %s", strerror(errno));
    else
        PyErr_SetFromErrno(PyExc_OSError);
}

static int init_exceeded(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    if (((PyTypeObject *)PyExc_TimeoutError)->tp_init(self, arguments, keywords) < 0)
        return -1;
    PyObject *number = PyLong_FromLong(ETIMEDOUT);
    int result = number ? PyObject_SetAttrString(self, "errno", number) : -1;
    Py_XDECREF(number);
    return result;
}

/* The library remembers the exception that was raised last without holding it. */
static void finalize(PyObject *self)
{
    for (struct thread *t = coopdl_py_next(NULL); t; t = coopdl_py_next(t)) {
        PyObject *expected = self;
        atomic_compare_exchange_strong(&t->error, &expected, NULL);
    }
}

/* By the class that has this name in the package. */
static PyObject *reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *class = (PyObject *)Py_TYPE(self);
    struct module_state *state = PyType_GetModuleState(Py_TYPE(self));
    PyErr_Clear(); /* a class of the program's, derived from ours */
    if (state && coopdl_py_is_reached(state, self))
        class = state->reached;
    return Py_BuildValue("OO", class, ((PyBaseExceptionObject *)self)->args);
}

static PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, reduce_doc}, {0}};

static PyObject *make(PyObject *module, const char *name, const char *doc, PyObject *bases,
                      initproc init)
{
    PyType_Slot slots[] = {{Py_tp_doc, (void *)(uintptr_t)doc},
                           {Py_tp_finalize, (void *)finalize},
                           {Py_tp_methods, methods},
                           {init ? Py_tp_init : 0, (void *)init},
                           {0, NULL}};
    PyType_Spec spec = {
        .name = name, .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = slots};
    PyObject *class = bases ? PyType_FromModuleAndSpec(module, &spec, bases) : NULL;
    if (class && coopdl_py_set_no_facts(class) < 0)
        Py_CLEAR(class);
    return class;
}

int coopdl_py_add_errors(PyObject *module, struct module_state *state)
{
    state->exceeded =
        make(module, "coopdl.DeadlineExceeded", exceeded_doc, PyExc_TimeoutError, init_exceeded);
    state->reached = make(module, "coopdl.DeadlineReached", reached_doc, PyExc_BaseException, NULL);
    if (!state->exceeded || !state->reached)
        return -1;
    PyObject *bases = PyTuple_Pack(2, state->reached, PyExc_KeyboardInterrupt);
    state->interrupt = make(module, "coopdl.DeadlineReached", reached_doc, bases, NULL);
    Py_XDECREF(bases);
    if (!state->interrupt)
        return -1;
    return PyModule_AddType(module, (PyTypeObject *)state->exceeded) < 0
               ? -1
               : PyModule_AddType(module, (PyTypeObject *)state->reached);
}

PyObject *coopdl_py_scope(const struct entry *owner)
{
    return owner && owner->owner ? owner->owner : Py_None;
}

PyObject *coopdl_py_new_error(PyObject *class, PyObject *scope,
                              const struct explanation *explanation)
{
    PyObject *message = class == PyExc_SystemExit ? PyLong_FromLong(COOPDL_PY_STATUS)
                                                  : coopdl_py_message(explanation);
    PyObject *exception = message ? PyObject_CallOneArg(class, message) : NULL;
    Py_XDECREF(message);
    if (exception && (PyObject_SetAttrString(exception, "scope", scope) < 0 ||
                      (explanation && class != PyExc_SystemExit &&
                       coopdl_py_set_facts(exception, explanation) < 0)))
        Py_CLEAR(exception);
    return exception;
}

PyObject *coopdl_py_reached_class(struct module_state *state, const struct entry *owner)
{
    if (!owner)
        return state->reached;
    if (owner->inherited)
        return PyExc_SystemExit;
    if (owner->instead && atomic_load(&owner->life) != LIFE_SWALLOWED)
        return owner->instead;
    return owner->owner && atomic_load(&owner->life) != LIFE_SWALLOWED ? state->reached
                                                                       : state->interrupt;
}

bool coopdl_py_is_reached(struct module_state *state, PyObject *exception)
{
    return PyObject_TypeCheck(exception, (PyTypeObject *)state->reached);
}

bool coopdl_py_is_about(struct module_state *state, PyObject *exception, PyObject *scope)
{
    PyObject *dict = ((PyBaseExceptionObject *)exception)->dict;
    return (coopdl_py_is_reached(state, exception) ||
            Py_IS_TYPE(exception, (PyTypeObject *)PyExc_SystemExit) ||
            PyObject_TypeCheck(exception, (PyTypeObject *)state->exceeded)) &&
           dict && PyDict_GetItemString(dict, "scope") == scope;
}
