/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h -- a few objects of one type that a thread keeps for the next time.
 *
 * Entering and leaving a scope makes and destroys three small objects; most of what that costs is
 * the allocator.  The memory is the C library's, since a thread may go from one interpreter, which
 * has an allocator of its own, to another.
 */
#ifndef COOPDL_PYTHON_POOL_H
#define COOPDL_PYTHON_POOL_H

#include "module.h"

enum { POOL_ROOM = 4 };

struct pool {
    void *objects[POOL_ROOM];
    int count;
};

/* What PyObject_Init does, but for the counts of a debug build, for an object that is used again.
 * Memory that is new is not for this: from 3.12 on its count, never written, may be taken for that
 * of an immortal object, and stays as it is. */
static inline PyObject *coopdl_py_pool_again(PyObject *object, PyTypeObject *type)
{
#ifdef Py_REF_DEBUG
    return PyObject_Init(object, type);
#else
    Py_SET_TYPE(object, (PyTypeObject *)Py_NewRef(type));
    Py_SET_REFCNT(object, 1);
    return object;
#endif
}

/* A new object, with its fields as they were left; null, with an exception set, if memory is out.
 */
static inline PyObject *coopdl_py_pool_new(struct pool *pool, PyTypeObject *type)
{
    if (likely(pool->count))
        return coopdl_py_pool_again(pool->objects[--pool->count], type);
    void *object = PyMem_RawMalloc((size_t)type->tp_basicsize);
    return object ? PyObject_Init(object, type) : PyErr_NoMemory();
}

/* In place of tp_free. */
static inline void coopdl_py_pool_free(struct pool *pool, PyObject *object)
{
    if (likely(pool->count < POOL_ROOM))
        pool->objects[pool->count++] = object;
    else
        PyMem_RawFree(object);
}

#endif
