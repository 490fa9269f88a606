/* SPDX-License-Identifier: Apache-2.0 */
/* limit.c -- what a scope is asked for: the arguments of timeout, timeout_at and move_on_after. */
#include "limit.h"

#include "clock.h"

#define GRACE (5 * COOPDL_SECOND)

/* Reads `*, grace=5.0, inherit=True`, one of them; -1 with an exception set. */
static int read_option(struct limit *limit, const char *function, PyObject *name, PyObject *value)
{
    if (PyUnicode_CompareWithASCIIString(name, "grace") == 0) {
        limit->grace = coopdl_py_read_duration(value);
        return limit->grace < 0 ? -1 : 0;
    }
    if (PyUnicode_CompareWithASCIIString(name, "inherit") == 0) {
        int inherit = PyObject_IsTrue(value);
        limit->stays = !inherit;
        return inherit < 0 ? -1 : 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() has no argument '%U'; it takes one, and the keywords grace and inherit",
                 function, name);
    return -1;
}

/* The one argument that there must be, by position or by name, after the options have been read. */
static PyObject *read_all(struct limit *limit, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names)
{
    const struct coopdl_py_maker *maker = limit->maker;
    PyObject *time = count == 1 ? arguments[0] : NULL;
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (!time && PyUnicode_CompareWithASCIIString(name, maker->argument) == 0)
            time = arguments[count + i];
        else if (read_option(limit, maker->name, name, arguments[count + i]) < 0)
            return NULL;
    }
    if (count > 1 || !time)
        return PyErr_Format(PyExc_TypeError, "%s() takes one argument, %s, not %zd", maker->name,
                            maker->argument, count);
    return time;
}

int coopdl_py_read_limit(struct limit *limit, const struct coopdl_py_maker *maker,
                         PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    limit->maker = maker;
    limit->grace = GRACE;
    limit->absolute = maker->absolute;
    PyObject *time =
        likely(count == 1 && !names) ? arguments[0] : read_all(limit, arguments, count, names);
    if (unlikely(!time))
        return -1;
    limit->time = maker->absolute ? coopdl_py_read_deadline(time) : coopdl_py_read_duration(time);
    return limit->time < 0 ? -1 : 0;
}
