/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emulator.h -- what is left out where the tests run under the emulator of
 * another architecture (qemu-user 7.2): it stands between the program and the
 * kernel, and lacks some of that.
 */
#ifndef COOPDL_TESTS_EMULATOR_H
#define COOPDL_TESTS_EMULATOR_H

#include <criterion/criterion.h>

#ifndef EMULATED
#define EMULATED 0
#endif

/* For the flags of a case in a table. */
#define UNEMULATED (EMULATED ? 1 << 16 : 0)

/* For the whole of a test. */
#define SKIP_IF_EMULATED(what)                                                                     \
    do {                                                                                           \
        if (EMULATED)                                                                              \
            cr_skip_test("qemu-user " what);                                                       \
    } while (0)

#endif
