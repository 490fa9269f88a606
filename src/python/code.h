/* SPDX-License-Identifier: Apache-2.0 */
/* code.h -- what compiled code says: jumps, calls, handlers.  Offsets are in units of two bytes. */
#ifndef COOPDL_PYTHON_CODE_H
#define COOPDL_PYTHON_CODE_H

#include "module.h"

struct code {
    PyCodeObject *object; /* not counted */
    PyObject *bytes;      /* as they were compiled; counted */
    const uint8_t *units;
    int count;
};

/* False, without an exception, if memory is out. */
bool coopdl_py_code_read(struct code *code, PyCodeObject *object);
void coopdl_py_code_done(struct code *code);

/* The instruction that a frame has executed last, or is executing; below 0 if none yet. */
int coopdl_py_code_at(PyFrameObject *frame);

int coopdl_py_code_opcode(const struct code *code, int at);

/* What follows an instruction, behind the units of its inline cache. */
int coopdl_py_code_next(const struct code *code, int at);

bool coopdl_py_code_is_backward(const struct code *code, int at);
bool coopdl_py_code_is_call(const struct code *code, int at);
bool coopdl_py_code_is_with(const struct code *code, int at);

/* Where a jump goes. */
int coopdl_py_code_target(const struct code *code, int at);

/* Where the handler begins that covers an instruction; -1 for none, or if no table says it. */
int coopdl_py_code_handler(const struct code *code, int at);

#endif
