/* SPDX-License-Identifier: Apache-2.0 */
/*
 * symbol.c -- finds libc's functions by name, before main.
 *
 * For each name dlsym takes the dynamic loader's lock, finds out its caller, compares versions,
 * and allocates where it finds nothing. dlopen always allocates.  For all the names of the table
 * that would be most of the library's cost in a short program, and a program may count its
 * allocations.  So this file looks names up in the hash tables of the objects on the loader's
 * list, in the order of that list.  All objects that the program is linked to are on it before a
 * constructor runs.
 *
 * What must hold: the result is the same as dlsym's.
 * - Of a symbol with versions it is the default version, or else the one without a version.
 * - A symbol that is not a plain function is left to dlsym, such as an indirect one, whose code
 *   libc chooses at run time.
 * - All names are left to dlsym where the libc is not glibc.  So they are where libc does not lie
 *   behind this library on the list, as in a program that has loaded the library by dlopen, and
 *   where an object there has no such hash table.
 */
#include "core/symbol.h"

#include <dlfcn.h>
#include <stddef.h>
#ifdef __GLIBC__
#include <link.h>
#include <stdint.h>
#include <string.h>

/* The addresses in it are relocated by the loader on most architectures, and in all but the vDSO.
 */
struct object {
    ElfW(Addr) base;
    const uint32_t *hashes;
    const ElfW(Sym) * symbols;
    const char *names;
    const ElfW(Half) * versions; /* null: none */
};

static const void *at(const struct link_map *map, ElfW(Addr) address)
{
    return (const void *)(address < map->l_addr ? address + map->l_addr : address);
}

static bool read_object(const struct link_map *map, struct object *object)
{
    *object = (struct object){.base = map->l_addr};
    for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++)
        switch (entry->d_tag) {
        case DT_GNU_HASH:
            object->hashes = at(map, entry->d_un.d_ptr);
            break;
        case DT_SYMTAB:
            object->symbols = at(map, entry->d_un.d_ptr);
            break;
        case DT_STRTAB:
            object->names = at(map, entry->d_un.d_ptr);
            break;
        case DT_VERSYM:
            object->versions = at(map, entry->d_un.d_ptr);
            break;
        default:
            break;
        }
    return object->hashes && object->symbols && object->names;
}

static uint32_t hash_of(const char *name)
{
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = 33 * hash + (unsigned char)*name;
    return hash;
}

/* The symbol in this object; null if it has none that would be taken. */
static const ElfW(Sym) * find(const struct object *object, const char *name, uint32_t hash)
{
    enum { BITS = 8 * sizeof(ElfW(Addr)), HIDDEN = 0x8000, HEADER = 4 };
    uint32_t buckets = object->hashes[0], first = object->hashes[1], words = object->hashes[2],
             shift = object->hashes[3];
    const ElfW(Addr) *filter = (const void *)(object->hashes + HEADER);
    const uint32_t *bucket = (const void *)(filter + words), *chain = bucket + buckets;
    ElfW(Addr) word = filter[hash / BITS % words];
    if (!buckets || !(word >> hash % BITS & word >> (hash >> shift) % BITS & 1))
        return NULL;
    uint32_t i = bucket[hash % buckets];
    if (i < first)
        return NULL;
    for (;; i++) {
        uint32_t link = chain[i - first];
        const ElfW(Sym) *symbol = &object->symbols[i];
        bool named = (link | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
                     strcmp(object->names + symbol->st_name, name) == 0;
        if (named && !(object->versions && object->versions[i] & HIDDEN))
            return symbol;
        if (link & 1)
            return NULL;
    }
}

enum { OBJECTS = 256 };

/* The objects behind this library. */
static struct object behind[OBJECTS];
static int count = -1; /* -1: not yet looked; 0: dlsym is asked */
static struct object libc;

static bool is_libc(const struct link_map *map)
{
    const char *slash = strrchr(map->l_name, '/');
    return slash && strcmp(slash, "/libc.so.6") == 0;
}

static void look(void)
{
    const struct link_map *map = _r_debug.r_map;
    int n = 0;
    count = 0;
    while (map && map->l_ld != _DYNAMIC)
        map = map->l_next;
    if (!map)
        return;
    for (map = map->l_next; map; map = map->l_next, n++) {
        if (n == OBJECTS || !read_object(map, &behind[n]))
            return;
        if (is_libc(map))
            libc = behind[n];
    }
    count = libc.symbols ? n : 0;
}

static bool can_look(void)
{
    if (count < 0)
        look();
    return count > 0;
}

static void *function(const struct object *object, const ElfW(Sym) * symbol)
{
    bool simple = symbol && (symbol->st_info & 0xf) == STT_FUNC;
    return simple ? (void *)(object->base + symbol->st_value) : NULL;
}

void *coopdl_next(const char *name)
{
    if (!can_look())
        return dlsym(RTLD_NEXT, name);
    uint32_t hash = hash_of(name);
    for (int i = 0; i < count; i++) {
        const ElfW(Sym) *symbol = find(&behind[i], name, hash);
        void *found = function(&behind[i], symbol);
        if (symbol)
            return found ? found : dlsym(RTLD_NEXT, name);
    }
    return NULL;
}

void *coopdl_in_libc(const char *name)
{
    void *found = can_look() ? function(&libc, find(&libc, name, hash_of(name))) : NULL;
    void *handle = found ? NULL : dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    return handle ? dlsym(handle, name) : found;
}

bool coopdl_is_first(const char *name)
{
    uint32_t hash = hash_of(name);
    struct object object;
    for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        if (read_object(map, &object) && find(&object, name, hash))
            return map->l_ld == _DYNAMIC;
    return false;
}

#else

void *coopdl_next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

void *coopdl_in_libc(const char *name)
{
    (void)name;
    return NULL;
}

bool coopdl_is_first(const char *name)
{
    static const char here;
    Dl_info program, ours;
    return dladdr(dlsym(RTLD_DEFAULT, name), &program) && dladdr(&here, &ours) &&
           program.dli_fbase == ours.dli_fbase;
}

#endif
