/* SPDX-License-Identifier: Apache-2.0 */
/* method.h -- the `__enter__` and `__exit__` of a scope. */
#ifndef COOPDL_PYTHON_METHOD_H
#define COOPDL_PYTHON_METHOD_H

#include "module.h"

/* What an object that has them begins with. */
struct entered {
    PyObject_HEAD struct bound *exit; /* the `__exit__` that was looked up last before it was
                                         entered; not counted */
    bool entered;
};

struct coopdl_py_methods {
    PyObject *(*enter)(PyObject *owner);
    PyObject *(*exit)(PyObject *owner, PyObject *const *arguments, Py_ssize_t count);
    void (*lost)(PyObject *owner); /* it is entered, and its `__exit__` will not be called */
};

/* Adds the types to the state; -1 with an exception set. */
int coopdl_py_add_methods(PyObject *module, struct module_state *state,
                          const struct coopdl_py_methods *methods);

/* Gives them to a type that nobody has seen yet; -1 with an exception set. */
int coopdl_py_set_methods(struct module_state *state, PyTypeObject *type);

#endif
