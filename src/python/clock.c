/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c -- Python's seconds and the library's nanoseconds. */
#include "clock.h"

#include <math.h>

/* The library keeps times in multiples of 8 ns: what it gives back for `never` is this or more. */
static const int64_t never = COOPDL_NEVER & ~(int64_t)7;

/* Rounded up: nothing ends early. */
static int64_t nanoseconds(double seconds)
{
    double exact = seconds * 1e9;
    if (unlikely(exact >= 9.2e18))
        return COOPDL_NEVER;
    int64_t whole = (int64_t)exact;
    return whole + ((double)whole < exact);
}

/* A number that is one; -1 and an exception if not. */
static int read_number(PyObject *number, double *value)
{
    if (PyFloat_CheckExact(number))
        *value = PyFloat_AS_DOUBLE(number);
    else if (PyLong_CheckExact(number)) /* without a float object in between */
        *value = PyLong_AsDouble(number);
    else
        *value = PyFloat_AsDouble(number);
    if (unlikely(*value == -1.0 && PyErr_Occurred())) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError,
                         "a number of seconds, a timedelta or None is expected, not %s",
                         Py_TYPE(number)->tp_name);
        return -1;
    }
    if (unlikely(isnan(*value))) {
        PyErr_SetString(PyExc_ValueError, "a number of seconds is expected, not nan");
        return -1;
    }
    return 0;
}

/* The seconds of a datetime.timedelta, a new reference; null, without an exception, for anything
 * else. */
static PyObject *seconds_of_timedelta(PyObject *object)
{
    PyObject *module = PyImport_ImportModule("datetime"), *seconds = NULL;
    PyObject *type = module ? PyObject_GetAttrString(module, "timedelta") : NULL;
    if (type && PyObject_IsInstance(object, type) == 1)
        seconds = PyObject_CallMethod(object, "total_seconds", NULL);
    Py_XDECREF(type);
    Py_XDECREF(module);
    PyErr_Clear();
    return seconds;
}

int64_t coopdl_py_read_duration(PyObject *seconds)
{
    double value;
    int overflow = -1;
    long whole = PyLong_CheckExact(seconds) ? PyLong_AsLongAndOverflow(seconds, &overflow) : -1;
    if (likely(!overflow && whole >= 0 && whole < COOPDL_NEVER / COOPDL_SECOND))
        return whole * COOPDL_SECOND;
    if (seconds == Py_None)
        return COOPDL_NEVER;
    if (unlikely(!PyNumber_Check(seconds))) {
        PyObject *number = seconds_of_timedelta(seconds);
        int64_t duration = number ? coopdl_py_read_duration(number) : -1;
        Py_XDECREF(number);
        if (number)
            return duration;
    }
    if (unlikely(read_number(seconds, &value) < 0))
        return -1;
    if (unlikely(value < 0)) {
        PyErr_Format(PyExc_ValueError, "a timeout is not negative: %R", seconds);
        return -1;
    }
    return nanoseconds(value);
}

int64_t coopdl_py_read_deadline(PyObject *when)
{
    double value;
    if (when == Py_None)
        return COOPDL_NEVER;
    if (unlikely(read_number(when, &value) < 0))
        return -1;
    return value < 0 ? 0 : nanoseconds(value);
}

PyObject *coopdl_py_time(int64_t ns)
{
    if (ns >= never)
        Py_RETURN_NONE;
    return PyFloat_FromDouble((double)ns / 1e9);
}
