/* SPDX-License-Identifier: Apache-2.0 */
/* expiry.h -- how an expiry becomes an exception.  All with the GIL. */
#ifndef COOPDL_PYTHON_EXPIRY_H
#define COOPDL_PYTHON_EXPIRY_H

#include "explain.h"
#include "watch.h"

/* The main interpreter's module and its state, while it lives. */
extern struct module_state *_Atomic coopdl_py_main_state;
extern PyObject *_Atomic coopdl_py_main_module;

/* What watch.h calls. */
extern const struct watcher coopdl_py_watcher;

/* The outermost entry of the calling thread for which an exception is to be raised: it has expired,
 * and none is being handled for it, or its grace is over; null if there is none. */
struct entry *coopdl_py_due(struct thread *thread);

/* Raises DeadlineReached in the calling thread, at once; `owner` null: for a deadline that was not
 * set from Python. */
void coopdl_py_raise(struct module_state *state, struct entry *owner);

/* Raises what a scope's end raises, an exception of this class about the scope that is left;
 * `cause` may be null, and so may what is known of its end. */
void coopdl_py_raise_at_end(PyObject *class, PyObject *scope, PyObject *cause,
                            const struct explanation *explanation);

/* What becomes of a wait for another thread that has not got what it waits for. */
enum wait_end {
    WAIT_GOES_ON,
    WAIT_RAISED, /* an exception is set */
    WAIT_ENDS    /* as if its own time-out had run out */
};

/* The calling thread is in a wait that has lasted for `waited` ns after a deadline. */
enum wait_end coopdl_py_end_wait(struct thread *thread, int64_t waited);

/* Looks at a thread that stands still, and brings its expiry one step further: what the library is
 * to do about it. */
enum coopdl_verdict coopdl_py_look(struct module_state *state, struct thread *thread);

/* An entry has been left, moved, or covered by a shield: nothing is watched any more. */
void coopdl_py_settle(struct thread *thread, struct entry *entry);

/* For the module: Python's signal handler. */
PyObject *coopdl_py_on_signal(PyObject *module, PyObject *arguments);

#endif
