/* SPDX-License-Identifier: Apache-2.0 */
/* subject.h -- a process that is looked at from outside: what /proc and the kernel tell of it. */
#ifndef COOPDL_CLI_SUBJECT_H
#define COOPDL_CLI_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct subject {
    pid_t pid;
    int fd; /* stands for the process; negative: the kernel has none */
};

/* What there is in a file of the process's or of a thread's (0: none) in /proc; its length. */
size_t read_proc(const struct subject *of, pid_t thread, const char *name, char *text, size_t size);

/* The name of a thread, or of the process's first one (0); what is no text is left out. */
void name_of_thread(const struct subject *of, pid_t thread, char *name, size_t size);

/* Field `number` of a stat file, from the third on; null if there is none. */
const char *stat_field(const char *text, int number);

/* Copies of the process's memory; false if that cannot be had. */
bool peek(const struct subject *of, unsigned long address, void *to, size_t size);

/* A duplicate of a descriptor, ours to close; negative if that cannot be had. */
int duplicate_descriptor(const struct subject *of, int number);

/* When the process was started, of CLOCK_MONOTONIC, in steps of the kernel's ticks; 0: not known.
 */
int64_t started(const struct subject *of);

/* For how long a thread has not run, in ns; -1 where that is not known. */
int64_t idle_for(const struct subject *of, pid_t thread);

#endif
