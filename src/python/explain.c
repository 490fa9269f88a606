/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain.c -- what a deadline has ended, as text and as attributes of the exception.
 *
 * The explanation is composed when the exception is made, because the library keeps the facts only
 * until another scope is entered at the same depth.  All threads are inside a budget, so the error
 * of a budget also says what the other threads were doing.
 */
#include "explain.h"

#include <stdio.h>
#include <string.h>

enum { MOST_THREADS = 8 };

static void add_others(struct explanation *explanation)
{
    const struct coopdl_cut *own = explanation->known ? &explanation->cut : NULL;
    struct coopdl_cut cuts[MOST_THREADS];
    int count = coopdl_cuts_of_budget(cuts, MOST_THREADS);
    for (int i = 0; i < count && i < MOST_THREADS; i++) {
        size_t length = strlen(explanation->text);
        const struct coopdl_cut *cut = &cuts[i];
        if (!own || cut->thread != own->thread)
            snprintf(explanation->text + length, sizeof(explanation->text) - length,
                     "; thread %d (%s) in %s()%s%s%s%s", (int)cut->thread, cut->name, cut->call,
                     *cut->target ? " on " : "", cut->target, *cut->library ? ", called by " : "",
                     cut->library);
    }
}

void coopdl_py_explain(struct explanation *explanation, const coopdl_scope *scope, int64_t length)
{
    explanation->text[0] = '\0';
    explanation->length = length;
    explanation->known = coopdl_cut_of(scope, &explanation->cut) == 1;
    if (explanation->known) {
        explanation->text[0] = ' ';
        coopdl_describe(scope, explanation->text + 1, sizeof(explanation->text) - 1);
        if (explanation->cut.owner == COOPDL_OWNER_BUDGET)
            explanation->length = explanation->cut.length;
    }
    if (!scope)
        add_others(explanation);
}

PyObject *coopdl_py_message(const struct explanation *explanation)
{
    char length[40] = "deadline exceeded";
    if (!explanation)
        return PyUnicode_FromString(length);
    if (explanation->length > 0)
        snprintf(length, sizeof(length), "deadline of %g s exceeded",
                 (double)explanation->length / COOPDL_SECOND);
    else if (explanation->length == CANCELLED)
        snprintf(length, sizeof(length), "cancelled");
    /* What a file is called may be no UTF-8. */
    PyObject *text = PyUnicode_DecodeFSDefault(explanation->text);
    PyObject *message = text ? PyUnicode_FromFormat("%s%U", length, text) : NULL;
    Py_XDECREF(text);
    return message;
}

/* Takes the value over. */
static int set(PyObject *object, const char *name, PyObject *value)
{
    int result = value ? PyObject_SetAttrString(object, name, value) : -1;
    Py_XDECREF(value);
    return result;
}

static PyObject *text_or_none(const char *text)
{
    return *text ? PyUnicode_DecodeFSDefault(text) : Py_NewRef(Py_None);
}

int coopdl_py_set_facts(PyObject *exception, const struct explanation *explanation)
{
    const struct coopdl_cut *cut = &explanation->cut;
    if (!explanation->known)
        return 0;
    if (set(exception, "call", text_or_none(cut->call)) < 0 ||
        set(exception, "target", text_or_none(cut->target)) < 0 ||
        set(exception, "library", text_or_none(cut->library)) < 0)
        return -1;
    return cut->waited < 0
               ? 0
               : set(exception, "waited", PyFloat_FromDouble((double)cut->waited / COOPDL_SECOND));
}

int coopdl_py_set_no_facts(PyObject *class)
{
    static const char *const names[] = {"scope", "call", "target", "library", "waited"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (PyObject_SetAttrString(class, names[i], Py_None) < 0)
            return -1;
    return 0;
}
