/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c -- the clock as the public API shows it. */
#include "core/clock.h"

int64_t coopdl_now(void)
{
    return coopdl_clock();
}

int64_t coopdl_after(int64_t nanoseconds)
{
    int64_t now = coopdl_clock();
    return nanoseconds <= 0 ? now : coopdl_later(now, nanoseconds);
}

const char *coopdl_version(void)
{
    return COOPDL_VERSION;
}
