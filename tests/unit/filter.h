/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h -- filters of system calls (seccomp) that answer one call, or a prctl
 * with one certain option, and let everything else pass.
 *
 * By hand, since neither the kernel's headers nor libseccomp are there for every
 * libc.
 */
#ifndef COOPDL_TESTS_FILTER_H
#define COOPDL_TESTS_FILTER_H

#include <criterion/criterion.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Answers: an error, and the end of the process. */
#define FILTER_ERROR(error) (0x00050000U | (uint32_t)(error))
#define FILTER_KILL 0x80000000U

enum { LOAD = 0x20, UNLESS = 0x15, RETURN = 0x06, NUMBER = 0, FIRST_ARGUMENT = 16 };

struct filter_step {
    uint16_t code;
    uint8_t if_equal, if_not;
    uint32_t value;
};

static inline void filter_install(struct filter_step *steps, size_t count)
{
    struct {
        unsigned short length;
        void *steps;
    } program = {(unsigned short)count, steps};
    enum { SECCOMP = 22, FILTER = 2, NO_NEW_PRIVILEGES = 38 };
    cr_assert(prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0);
    cr_assert(prctl(SECCOMP, FILTER, &program) == 0);
}

static inline void filter_call(long number, uint32_t answer)
{
    struct filter_step steps[] = {
        {LOAD, 0, 0, NUMBER},
        {UNLESS, 0, 1, (uint32_t)number},
        {RETURN, 0, 0, answer},
        {RETURN, 0, 0, 0x7fff0000U /* let pass */},
    };
    filter_install(steps, sizeof(steps) / sizeof(steps[0]));
}

static inline void filter_prctl(uint32_t option, uint32_t answer)
{
    struct filter_step steps[] = {
        {LOAD, 0, 0, NUMBER},         {UNLESS, 0, 3, SYS_prctl},
        {LOAD, 0, 0, FIRST_ARGUMENT}, {UNLESS, 0, 1, option},
        {RETURN, 0, 0, answer},       {RETURN, 0, 0, 0x7fff0000U /* let pass */},
    };
    filter_install(steps, sizeof(steps) / sizeof(steps[0]));
}

#endif
