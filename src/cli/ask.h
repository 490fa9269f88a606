/* SPDX-License-Identifier: Apache-2.0 */
/* ask.h -- starts a program and takes what it says, in bounded time. */
#ifndef COOPDL_CLI_ASK_H
#define COOPDL_CLI_ASK_H

#include <stdbool.h>
#include <stddef.h>

struct answer {
    int status;  /* as wait gives it; of one that was not started, or not in time: no clean exit */
    bool silent; /* it had not ended in time, and was killed */
    char text[1 << 16]; /* its standard output and error, as far as there is room */
};

/* What the child does before it becomes the program; it may as well never return. */
typedef void preparation(void *argument);

/* `program` is looked for in PATH, its standard input is empty.  Null: `prepare` is all there is,
 * and the child exits with 0 behind it. */
void ask(struct answer *answer, const char *const *program, preparation *prepare, void *argument);

/* Whether it has exited with 0. */
bool is_good(const struct answer *answer);

/* The first line of what it has said, in the answer itself; the rest is gone. */
char *first_line(struct answer *answer);

#endif
