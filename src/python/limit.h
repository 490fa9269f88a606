/* SPDX-License-Identifier: Apache-2.0 */
/* limit.h -- what a scope is asked for. */
#ifndef COOPDL_PYTHON_LIMIT_H
#define COOPDL_PYTHON_LIMIT_H

#include "module.h"

/* A function that makes scopes. */
struct coopdl_py_maker {
    const char *name;
    const char *argument; /* the name of the one that it must be given */
    bool absolute;        /* that is a deadline, not a duration */
    bool silent;          /* the end of the scope raises nothing */
};

struct limit {
    const struct coopdl_py_maker *maker; /* null for a shield */
    int64_t time;                        /* a duration, or a deadline */
    int64_t grace;
    bool absolute; /* `time` is a deadline */
    bool stays;    /* a forked child is not inside */
};

/* Reads the arguments into a limit that is all 0; -1 with an exception set if they are wrong. */
int coopdl_py_read_limit(struct limit *limit, const struct coopdl_py_maker *maker,
                         PyObject *const *arguments, Py_ssize_t count, PyObject *names);

#endif
