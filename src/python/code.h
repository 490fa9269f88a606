/* SPDX-License-Identifier: Apache-2.0 */
/* code.h -- what compiled code says: jumps, calls, handlers.  Offsets are in units of two bytes. */
#ifndef COOPDL_PYTHON_CODE_H
#define COOPDL_PYTHON_CODE_H

#include "module.h"

struct code {
    PyCodeObject *object; /* counted; null: no code */
    PyObject *bytes;      /* as the compiler made them; counted */
    const uint8_t *units;
    int count;
};

/* The code of a frame; false, without an exception, if memory is out. */
bool coopdl_py_code_read(struct code *code, PyFrameObject *frame);
void coopdl_py_code_done(struct code *code);

/* The instruction that a frame has executed last, or is executing; below 0 if none yet. */
int coopdl_py_code_at(PyFrameObject *frame);

int coopdl_py_code_opcode(const struct code *code, int at);

/* The instruction that a frame is at which has called a function.  From 3.11 on the interpreter
 * makes a call of a function of Python's by itself, and the frame is then at the end of the inline
 * cache of that call. */
int coopdl_py_code_calling(const struct code *code, int at);

/* What follows an instruction, behind the units of its inline cache. */
int coopdl_py_code_next(const struct code *code, int at);

/* The same, but behind the whole of a call, which in 3.11 is two instructions. */
int coopdl_py_code_after(const struct code *code, int at);

bool coopdl_py_code_is_backward(const struct code *code, int at);
bool coopdl_py_code_is_with(const struct code *code, int at);

/* Whether it ends the frame, or suspends it. */
bool coopdl_py_code_is_return(const struct code *code, int at);

/* Whether it is a call, or something else that may run code or wait (an operator, an attribute), or
 * the beginning of a function: but nothing that only moves values, as what a `with` statement does
 * between its body and the call of `__exit__`. */
bool coopdl_py_code_is_call(const struct code *code, int at);

/* What a `with` statement does at an instruction while a function runs that this called. */
enum with { WITH_NOTHING, WITH_ENTERS, WITH_EXITS };
enum with coopdl_py_code_with(const struct code *code, int at);

/* The name of what a call without arguments calls, borrowed; null for any other instruction. */
PyObject *coopdl_py_code_called(const struct code *code, int at);

/* Whether it is a call of whatever the program has put in a variable or argument, which the
 * interpreter makes by way of C code. */
bool coopdl_py_code_passes_on(const struct code *code, int at);

/* Where a jump goes. */
int coopdl_py_code_target(const struct code *code, int at);

/* Where the handler begins that covers an instruction; -1 for none, or if no table says it. */
int coopdl_py_code_handler(const struct code *code, int at);

/* How many values of the frame's stack that handler keeps; -1 likewise.  From 3.11 on. */
int coopdl_py_code_depth(const struct code *code, int at);

#endif
