/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method.c -- the `__enter__` and `__exit__` of a scope.
 *
 * A `with` statement looks up both methods, calls `__enter__`, and keeps `__exit__` on the stack of
 * its frame until it calls that.  The call may never come: the interpreter has raised where the
 * handler does not apply (cpython issue 130279), or a tool has unwound the frame.  Then the method
 * is destroyed with the frame.
 *
 * So the method is an object of our own.  What must hold: an `__exit__` that was looked up before
 * its scope was entered, and that is destroyed without a call, belonged to a `with` statement that
 * is over.  The scope is left at that moment, in the thread of the statement.
 *
 * Code that enters a scope without looking up `__exit__` first (ExitStack, the set-up of a test, a
 * call of `__enter__`) is no `with` statement, and may leave the scope at any time.
 */
#include "method.h"

#include "pool.h"

#include <structmember.h>

/* A method that has been looked up in an object. */
struct bound {
    PyObject_HEAD vectorcallfunc vectorcall;
    PyObject *owner;
    bool called;
};

/* What stands in the type. */
struct method {
    PyObject_HEAD PyObject *function; /* for a call with the object as an argument */
    PyTypeObject *bound;
    vectorcallfunc vectorcall;
};

static const struct coopdl_py_methods *methods;
static _Thread_local struct pool pool;

PyDoc_STRVAR(bound_doc, "A method of a scope, looked up in it.");
PyDoc_STRVAR(method_doc, "A method of scopes.");
PyDoc_STRVAR(enter_doc, "Enters the scope; returns it.");
PyDoc_STRVAR(exit_doc, "Leaves the scope; raises DeadlineExceeded if it has expired.");

static PyObject *call_enter(PyObject *object, PyObject *const *Py_UNUSED(arguments), size_t flags,
                            PyObject *names)
{
    if (unlikely(PyVectorcall_NARGS(flags) || names))
        return PyErr_Format(PyExc_TypeError, "__enter__() takes no arguments");
    return methods->enter(((struct bound *)object)->owner);
}

static PyObject *call_exit(PyObject *object, PyObject *const *arguments, size_t flags,
                           PyObject *names)
{
    struct bound *self = (struct bound *)object;
    if (unlikely(names))
        return PyErr_Format(PyExc_TypeError, "__exit__() takes no keyword arguments");
    self->called = true;
    return methods->exit(self->owner, arguments, PyVectorcall_NARGS(flags));
}

static void bound_dealloc(PyObject *object)
{
    struct bound *self = (struct bound *)object;
    struct entered *owner = (struct entered *)self->owner;
    PyTypeObject *type = Py_TYPE(object);
    if (owner->exit == self) {
        owner->exit = NULL;
        if (unlikely(owner->entered && !self->called))
            methods->lost(self->owner);
    }
    Py_DECREF(owner);
    coopdl_py_pool_free(&pool, object);
    Py_DECREF(type);
}

static PyMemberDef bound_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct bound, vectorcall), READONLY, NULL},
    {"__self__", T_OBJECT, offsetof(struct bound, owner), READONLY, NULL},
    {0}};

static PyObject *method_get(PyObject *object, PyObject *instance, PyObject *Py_UNUSED(type))
{
    struct method *self = (struct method *)object;
    if (unlikely(!instance || instance == Py_None))
        return Py_NewRef(self->function);
    struct entered *owner = (struct entered *)instance;
    struct bound *bound = (struct bound *)coopdl_py_pool_new(&pool, self->bound);
    if (unlikely(!bound))
        return NULL;
    bound->vectorcall = self->vectorcall;
    bound->owner = Py_NewRef(instance);
    bound->called = false;
    if (self->vectorcall == call_exit && !owner->entered)
        owner->exit = bound;
    return (PyObject *)bound;
}

static int method_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct method *self = (struct method *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->function);
    Py_VISIT(self->bound);
    return 0;
}

static int method_clear(PyObject *object)
{
    struct method *self = (struct method *)object;
    Py_CLEAR(self->function);
    Py_CLEAR(self->bound);
    return 0;
}

static void method_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    method_clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyObject *enter_of(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return methods->enter(object);
}

static PyObject *exit_of(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    return methods->exit(object, arguments, count);
}

static PyMethodDef enter_function = {"__enter__", enter_of, METH_NOARGS, enter_doc};
static PyMethodDef exit_function = {"__exit__", (PyCFunction)(void (*)(void))exit_of, METH_FASTCALL,
                                    exit_doc};

static PyTypeObject *add(PyObject *module, const char *name, size_t size, PyType_Slot *slots,
                         unsigned long flags)
{
    PyType_Spec spec = {
        .name = name,
        .basicsize = (int)size,
        .flags = (unsigned int)(Py_TPFLAGS_DEFAULT | flags | Py_TPFLAGS_DISALLOW_INSTANTIATION),
        .slots = slots};
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}

int coopdl_py_add_methods(PyObject *module, struct module_state *state,
                          const struct coopdl_py_methods *table)
{
    PyType_Slot bound_slots[] = {{Py_tp_doc, (void *)(uintptr_t)bound_doc},
                                 {Py_tp_dealloc, (void *)bound_dealloc},
                                 {Py_tp_call, (void *)PyVectorcall_Call},
                                 {Py_tp_members, bound_members},
                                 {0, NULL}};
    PyType_Slot method_slots[] = {
        {Py_tp_doc, (void *)(uintptr_t)method_doc}, {Py_tp_dealloc, (void *)method_dealloc},
        {Py_tp_descr_get, (void *)method_get},      {Py_tp_traverse, (void *)method_traverse},
        {Py_tp_clear, (void *)method_clear},        {0, NULL}};
    methods = table;
    state->bound =
        add(module, "coopdl._bound", sizeof(struct bound), bound_slots, Py_TPFLAGS_HAVE_VECTORCALL);
    state->method =
        add(module, "coopdl._method", sizeof(struct method), method_slots, Py_TPFLAGS_HAVE_GC);
    return state->bound && state->method ? 0 : -1;
}

static int set(struct module_state *state, PyTypeObject *type, PyMethodDef *function,
               vectorcallfunc vectorcall)
{
    struct method *method = PyObject_GC_New(struct method, state->method);
    if (!method)
        return -1;
    method->bound = (PyTypeObject *)Py_NewRef(state->bound);
    method->vectorcall = vectorcall;
    method->function = PyDescr_NewMethod(type, function);
    /* The type is immutable, but nobody has seen it yet. */
    int result = method->function
                     ? PyDict_SetItemString(type->tp_dict, function->ml_name, (PyObject *)method)
                     : -1;
    PyObject_GC_Track(method);
    Py_DECREF(method);
    return result;
}

int coopdl_py_set_methods(struct module_state *state, PyTypeObject *type)
{
    int result = set(state, type, &enter_function, call_enter);
    if (result == 0)
        result = set(state, type, &exit_function, call_exit);
    PyType_Modified(type);
    return result;
}
