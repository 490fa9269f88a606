/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caller.c -- which code has called a wrapper, by the return address.
 *
 * It is asked only after expiry, where the best result of a cut call is not the same for all
 * callers.
 *
 * What must hold: no lock, no allocation, no function of libc (core/maps.c).
 */
#include "preload/caller.h"

#include "core/maps.h"

#include <string.h>

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

bool coopdl_is_python(const void *address)
{
    char name[24];
    return coopdl_file_at(address, name, sizeof(name)) &&
           (begins(name, "python3") || begins(name, "libpython3") ||
            begins(name, "select.cpython-") || begins(name, "select.abi3."));
}
