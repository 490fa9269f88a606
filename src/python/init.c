/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init.c -- coopdl._coopdl: the functions, and the module itself.
 *
 * Each interpreter has a module state of its own.  What belongs to threads and to the process is in
 * static variables (thread.c, expiry.c).  Exceptions are raised in threads of the main interpreter
 * alone.
 */
#include "module.h"

#include "clock.h"
#include "error.h"
#include "expiry.h"
#include "hooks.h"
#include "type.h"

PyDoc_STRVAR(module_doc, "Deadlines for code that has none: see the package.");
PyDoc_STRVAR(remaining_doc, "remaining($module, /)\n--\n\n"
                            "The seconds that are left to the calling thread, 0.0 once its\n"
                            "deadline has passed; None if it has none.");
PyDoc_STRVAR(deadline_doc, "deadline($module, /)\n--\n\n"
                           "The deadline that rules the calling thread, on the clock of\n"
                           "time.monotonic(); None if it has none.");
PyDoc_STRVAR(check_doc, "check($module, /)\n--\n\n"
                        "Raises DeadlineReached if the calling thread's deadline has passed.");
PyDoc_STRVAR(preloaded_doc, "preloaded($module, /)\n--\n\n"
                            "Whether the calls that libraries make are cut too, as they are when\n"
                            "the library is preloaded.");
PyDoc_STRVAR(budget_doc, "_install_budget($module, held, /)\n--\n\n"
                         "Has the budget of the process, if there is one, raised; if it is\n"
                         "held, from _begin on.");
PyDoc_STRVAR(begin_doc, "_begin($module, /)\n--\n\n"
                        "The program begins: a budget that was held may be raised.");
PyDoc_STRVAR(on_signal_doc, "What Python calls in the main thread when a deadline has passed.");
#ifdef MONITORED
PyDoc_STRVAR(on_instruction_doc, "What sys.monitoring calls where a place to raise is looked for.");
PyDoc_STRVAR(on_raise_doc, "What sys.monitoring calls where an error is to be replaced.");
#endif
PyDoc_STRVAR(stop_doc, "For atexit.");
PyDoc_STRVAR(after_fork_doc, "For os.register_at_fork.");

static PyObject *remaining(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return coopdl_py_time(coopdl_remaining());
}

static PyObject *deadline(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return coopdl_py_time(coopdl_deadline());
}

static PyObject *check(PyObject *module, PyObject *Py_UNUSED(unused))
{
    int64_t now = coopdl_now();
    struct thread *thread = coopdl_py_self();
    struct entry *owner = thread ? coopdl_py_owner(thread, now) : NULL;
    if (!owner && coopdl_deadline() > now)
        Py_RETURN_NONE;
    coopdl_py_raise(PyModule_GetState(module), owner);
    return NULL;
}

static PyObject *preloaded(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(coopdl_preloaded());
}

static PyMethodDef methods[] = {
    {"remaining", remaining, METH_NOARGS, remaining_doc},
    {"deadline", deadline, METH_NOARGS, deadline_doc},
    {"check", check, METH_NOARGS, check_doc},
    {"preloaded", preloaded, METH_NOARGS, preloaded_doc},
    {"timeout_at", (PyCFunction)(void (*)(void))coopdl_py_timeout_at, METH_FASTCALL | METH_KEYWORDS,
     coopdl_py_timeout_at_doc},
    {"move_on_after", (PyCFunction)(void (*)(void))coopdl_py_move_on_after,
     METH_FASTCALL | METH_KEYWORDS, coopdl_py_move_on_after_doc},
    {"_install_budget", coopdl_py_install_budget, METH_O, budget_doc},
    {"_begin", coopdl_py_begin, METH_NOARGS, begin_doc},
    {"_on_signal", coopdl_py_on_signal, METH_VARARGS, on_signal_doc},
#ifdef MONITORED
    {"_on_instruction", (PyCFunction)(void (*)(void))coopdl_py_on_instruction, METH_FASTCALL,
     on_instruction_doc},
    {"_on_raise", (PyCFunction)(void (*)(void))coopdl_py_on_raise, METH_FASTCALL, on_raise_doc},
#endif
    {"_stop", coopdl_py_stop, METH_NOARGS, stop_doc},
    {"_after_fork", coopdl_py_after_fork, METH_NOARGS, after_fork_doc},
    {0}};

static int execute(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);
#ifdef Py_GIL_DISABLED
    /* All of this looks at threads that stand still because they do not have the GIL. */
    PyErr_SetString(PyExc_ImportError,
                    "coopdl: builds of Python without the GIL are not supported");
    return -1;
#endif
    if (coopdl_py_add_errors(module, state) < 0 || coopdl_py_add_types(module, state) < 0)
        return -1;
    return coopdl_py_start(module, state);
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = PyModule_GetState(module);
    Py_VISIT(state->timeout);
    Py_VISIT(state->shield);
    Py_VISIT(state->bound);
    Py_VISIT(state->method);
    Py_VISIT(state->exceeded);
    Py_VISIT(state->reached);
    Py_VISIT(state->interrupt);
    Py_VISIT(state->empty);
    return 0;
}

static int clear(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->timeout);
    Py_CLEAR(state->shield);
    Py_CLEAR(state->bound);
    Py_CLEAR(state->method);
    Py_CLEAR(state->exceeded);
    Py_CLEAR(state->reached);
    Py_CLEAR(state->interrupt);
    Py_CLEAR(state->empty);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL}};

static struct PyModuleDef definition = {.m_base = PyModuleDef_HEAD_INIT,
                                        .m_name = "coopdl._coopdl",
                                        .m_doc = module_doc,
                                        .m_size = sizeof(struct module_state),
                                        .m_methods = methods,
                                        .m_slots = slots,
                                        .m_traverse = traverse,
                                        .m_clear = clear};

PyMODINIT_FUNC PyInit__coopdl(void);

PyMODINIT_FUNC PyInit__coopdl(void)
{
    return PyModuleDef_Init(&definition);
}
