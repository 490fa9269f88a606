/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marks.c -- the interpreter's marks of the signals that wait for the main thread.
 *
 * The interpreter has a table with a mark and a Python handler for each signal.  From 3.12 on the
 * table is a part of _PyRuntime.  Before, it is a static variable, which has no name in the file:
 * it is found by its contents, the handlers of all signals in the order of their numbers.
 *
 * What must hold: exactly one place in the interpreter's variables has these contents, or the table
 * is not found.  Only the holder of the GIL changes a handler.
 */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE
#endif
#include "marks.h"

#if PY_VERSION_HEX >= 0x030C0000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#include <internal/pycore_runtime.h>
#pragma GCC diagnostic pop
#else
#include "got.h"
#endif
#include <stdatomic.h>
#include <string.h>

/* As the interpreter declares it. */
struct row {
    int mark;
    PyObject *handler;
};

static volatile struct row *table; /* of SIGNALS + 1 */

#if PY_VERSION_HEX >= 0x030C0000

bool coopdl_py_marks_find(int signal, PyObject *handler)
{
    table = (volatile struct row *)(volatile void *)_PyRuntime.signals.handlers;
    return sizeof(*table) == sizeof(*_PyRuntime.signals.handlers) &&
           table[signal].handler == handler;
}

#else

struct search {
    uintptr_t inside; /* an address in the interpreter's file */
    PyObject *handlers[SIGNALS + 1];
    int signal;
    int found;
};

/* Whether the handlers are those of the table that begins here. */
static bool matches(const struct search *search, const struct row *rows)
{
    if (rows[search->signal].handler != search->handlers[search->signal])
        return false;
    for (int i = 1; i <= SIGNALS; i++)
        if (rows[i].handler != search->handlers[i] &&
            !(rows[i].handler == NULL && search->handlers[i] == Py_None))
            return false;
    return true;
}

static void search_part(struct search *search, uintptr_t begin, uintptr_t end)
{
    const uintptr_t step = _Alignof(struct row), size = sizeof(struct row[SIGNALS + 1]);
    for (uintptr_t at = (begin + step - 1) / step * step; at + size <= end; at += step)
        if (matches(search, (const struct row *)at)) {
            table = (volatile struct row *)at;
            search->found++;
        }
}

static int search_file(struct dl_phdr_info *file, size_t size, void *argument)
{
    struct search *search = argument;
    bool is_it = coopdl_py_is_inside(file, search->inside);
    (void)size;
    for (int i = 0; is_it && i < file->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &file->dlpi_phdr[i];
        uintptr_t begin = file->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && part->p_flags & PF_W)
            search_part(search, begin, begin + part->p_memsz);
    }
    return is_it;
}

/* Handlers that Python knows; the references are borrowed from the interpreter's table. */
static bool read_handlers(struct search *search)
{
    PyObject *module = PyImport_ImportModule("_signal");
    for (int i = 1; module && i <= SIGNALS; i++) {
        search->handlers[i] = PyObject_CallMethod(module, "getsignal", "i", i);
        if (!search->handlers[i])
            Py_CLEAR(module);
        Py_XDECREF(search->handlers[i]);
    }
    Py_XDECREF(module);
    return module;
}

bool coopdl_py_marks_find(int signal, PyObject *handler)
{
    struct search search = {.signal = signal};
    PyThreadState *(*function)(void) = PyEval_SaveThread;
    memcpy(&search.inside, &function, sizeof(function));
    if (!read_handlers(&search)) {
        PyErr_Clear();
        return false;
    }
    if (search.handlers[signal] != handler)
        return false;
    dl_iterate_phdr(search_file, &search);
    return search.found == 1;
}

#endif

bool coopdl_py_mark_exchange(int signal, bool set)
{
    return __atomic_exchange_n(&table[signal].mark, set, __ATOMIC_SEQ_CST);
}
