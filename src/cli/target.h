/* SPDX-License-Identifier: Apache-2.0 */
/* target.h -- whether LD_PRELOAD reaches the program that a command starts. */
#ifndef COOPDL_CLI_TARGET_H
#define COOPDL_CLI_TARGET_H

#include <limits.h>
#include <stdbool.h>

/*
 * Why LD_PRELOAD does not reach it, as the rest of a sentence ("is statically
 * linked"); `program` is then the file in question, the interpreter where the
 * command is a script.  Null if it does, or if that cannot be told: then exec
 * will say what is wrong.
 */
const char *preload_obstacle(const char *command, char program[PATH_MAX]);

/* The file that exec starts for this name; false if there is none. */
bool find_program(const char *name, char path[PATH_MAX]);

/* The dynamic loader that this command was started by; false if there is none. */
bool own_loader(char path[PATH_MAX]);

#endif
