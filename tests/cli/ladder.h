/* SPDX-License-Identifier: Apache-2.0 */
/* ladder.h -- what the tests of the ladder share. */
#ifndef COOPDL_TESTS_LADDER_H
#define COOPDL_TESTS_LADDER_H

#include "process.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PASSED "coopdl: deadline passed for command '"
#define SENDING "coopdl: sending signal "

/* The number behind `word` in what the program deaf has said. */
static int64_t said(const struct process *process, const char *word)
{
    const char *at = strstr(process->out.text, word);
    int64_t number = 0;
    cr_assert(at && sscanf(at + strlen(word), "%" SCNd64, &number) == 1, "no '%s' in '%s'", word,
              process->out.text);
    return number;
}

#endif
