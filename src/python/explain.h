/* SPDX-License-Identifier: Apache-2.0 */
/* explain.h -- what a deadline has ended, for the exception that says so. */
#ifndef COOPDL_PYTHON_EXPLAIN_H
#define COOPDL_PYTHON_EXPLAIN_H

#include "thread.h"

struct explanation {
    int64_t length; /* of the deadline, in ns; -1: it is not known */
    bool known;     /* whether a call was ended */
    struct coopdl_cut cut;
    char text[1024]; /* " in recv() on ...", with what other threads were in, or "" */
};

/* Of a scope of the calling thread, or one that it has just left, and how long that was, -1 where
 * it has no length; null: of the budget, or a deadline that was lent. */
void coopdl_py_explain(struct explanation *explanation, const coopdl_scope *scope, int64_t length);

/* The message: "deadline of 5 s exceeded in recv() on tcp 10.0.0.7:5432, called by libpq.so.5";
 * without an explanation "deadline exceeded". */
PyObject *coopdl_py_message(const struct explanation *explanation);

/* Sets call, target, library and waited on an exception; -1 with another one set if that fails. */
int coopdl_py_set_facts(PyObject *exception, const struct explanation *explanation);

/* The same on the class, for those that know nothing: None. */
int coopdl_py_set_no_facts(PyObject *class);

#endif
