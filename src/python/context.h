/* SPDX-License-Identifier: Apache-2.0 */
/* context.h -- the life of a scope of Python: the object behind `with`. */
#ifndef COOPDL_PYTHON_CONTEXT_H
#define COOPDL_PYTHON_CONTEXT_H

#include "limit.h"
#include "method.h"
#include "thread.h"

struct context {
    struct entered entered;
    struct limit limit;
    int64_t deadline;
    struct thread *thread;
    struct entry *entry; /* while it is entered */
    PyObject *instead;   /* of DeadlineReached, or null */
    bool shield;
    bool used, expired;
    bool cancelled; /* before it was entered */
};

/* What a `with` statement calls. */
extern const struct coopdl_py_methods coopdl_py_context_methods;

/* All is zero but the object's head; null with an exception set. */
struct context *coopdl_py_context_new(PyTypeObject *type);
void coopdl_py_context_dealloc(PyObject *object);

/* From any thread.  Gives the scope another deadline; why that cannot be, or null. */
const char *coopdl_py_reschedule(struct context *self, int64_t deadline);

/* From any thread.  A cancel may always come too late, so that is no error. */
void coopdl_py_cancel(struct context *self);

#endif
