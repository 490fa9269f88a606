/* SPDX-License-Identifier: Apache-2.0 */
/*
 * environment.c -- fuzzer: the environment, which policy.c reads before main.
 *
 * The input is a list of entries, each ended by a newline; the first character of an
 * entry chooses the variable.  Held: the environment is refused or understood, and a
 * budget that is no duration is refused.  What policy.c would do to the system is left
 * out: it opens no file, and a refusal comes back here instead of ending the process.
 */
#include "core/policy.h"
#include "core/sys.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

static jmp_buf refused;

#undef SYS_exit_group
#define SYS_exit_group (longjmp(refused, 1), 0L)
#undef SYS_writev
#define SYS_writev (-1L)
#undef SYS_openat
#define SYS_openat (-1L)
#include "core/policy.c" /* NOLINT(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"COOPDL_BUDGET", "COOPDL_DEADLINE",   "COOPDL_HANGUP",
                                    "COOPDL_GRACE",  "COOPDL_KILL_AFTER", "COOPDL_COMMAND",
                                    "COOPDL_SIGNAL", "COOPDL_TRAP",       "COOPDL_READ",
                                    "COOPDL_LOG",    "COOPDL_LOG_FORMAT", "COOPDL_EXCLUDE_THREADS",
                                    "COOPDL_ERRNO"};

enum { NAMES = sizeof(names) / sizeof(names[0]), ENTRIES = 16, LONGEST = 6000 };

static char entries[ENTRIES][LONGEST + 64];
static char *list[ENTRIES + 1];

/* The entries that the input stands for, in `list`. */
static void make(const uint8_t *data, size_t size)
{
    int count = 0;
    for (size_t at = 0; at < size && count < ENTRIES;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t length = end ? (size_t)(end - data) - at : size - at;
        if (length > 0) {
            snprintf(entries[count], sizeof(entries[count]), "%s=%.*s", names[data[at] % NAMES],
                     (int)length - 1, (const char *)data + at + 1);
            list[count] = entries[count];
            count++;
        }
        at += length + 1;
    }
    list[count] = NULL;
}

static void check(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s, with\n", what);
    for (char **entry = list; *entry; entry++)
        fprintf(stderr, "  %s\n", *entry);
    abort();
}

static void check_understood(void)
{
    int64_t ns;
    const char *budget = get("COOPDL_BUDGET");
    check(coopdl_policy.deadline >= 0 && coopdl_policy.grace >= 0 && coopdl_policy.hangup >= 0 &&
              coopdl_policy.kill_after >= 0 && coopdl_policy.cleanup >= 0,
          "a time is negative");
    check(coopdl_policy.signal > 0 && coopdl_policy.signal <= SIGRTMAX, "no signal");
    if (budget && coopdl_policy.deadline == COOPDL_NEVER && !get("COOPDL_DEADLINE"))
        check(strcmp(budget, "off") == 0 || coopdl_duration(budget, &ns) != 0 || ns == 0 ||
                  ns == COOPDL_NEVER || coopdl_later(coopdl_clock(), ns) == COOPDL_NEVER,
              "a budget is lost");
    if (budget && strcmp(budget, "off") != 0 && coopdl_duration(budget, &ns) && errno == EINVAL)
        check(coopdl_policy.deadline == COOPDL_NEVER && get("COOPDL_DEADLINE") != NULL,
              "a budget that is no duration is understood");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > LONGEST)
        return -1;
    char **own = environ;
    make(data, size);
    environ = list;
    coopdl_policy = (struct coopdl_policy){.deadline = COOPDL_NEVER, .length = COOPDL_NEVER};
    if (setjmp(refused) == 0) {
        coopdl_policy_read();
        check_understood();
    }
    if (environ != list) /* put() has mapped another one */
        munmap(environ, (ENTRIES + 2) * sizeof(char *));
    environ = own;
    return 0;
}
