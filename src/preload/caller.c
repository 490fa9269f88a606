/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caller.c -- who has called a wrapper, told by its return address.
 *
 * Only asked after expiry, where the gentlest answer is not the same for all.
 *
 * What must hold: no lock.  dladdr takes the dynamic loader's; libc's own unwinder
 * has _dl_find_object (glibc 2.35), which takes none.  Elsewhere nobody is known.
 * The record that it gives stays, as the caller's object is in use.
 */
#include "preload/caller.h"

#include "core/sys.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

#ifdef DLFO_STRUCT_HAS_EH_DBASE /* <dlfcn.h> has it */

static __typeof__(_dl_find_object) *find_object;

__attribute__((constructor(101))) static void resolve(void)
{
    void *found = dlsym(RTLD_DEFAULT, "_dl_find_object");
    *(void **)(void *)&find_object = found;
}

/* The path of the file that is mapped there; empty if that is not known, or too long. */
static const char *path_of(const void *address, char *room, size_t size)
{
    struct dl_find_object found;
    if (!find_object || find_object((void *)(uintptr_t)address, &found) != 0)
        return "";
    if (*found.dlfo_link_map->l_name)
        return found.dlfo_link_map->l_name;
    /* The program itself, whose name is not there. */
    long length = coopdl_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", room, size);
    if (length < 0 || (size_t)length >= size)
        return "";
    room[length] = '\0';
    return room;
}

#else

static const char *path_of(const void *address, char *room, size_t size)
{
    (void)address;
    (void)room;
    (void)size;
    return "";
}

#endif

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

bool coopdl_is_python(const void *address)
{
    char room[512];
    const char *path = address ? path_of(address, room, sizeof(room)) : "";
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    return begins(file, "python3") || begins(file, "libpython3") || begins(file, "select.cpython-");
}
