/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.c -- which file an address lies in, by the dynamic loader or by /proc/self/maps.
 *
 * What must hold: no lock, no allocation, no function of libc. dladdr takes the dynamic loader's
 * lock.  glibc has _dl_find_object since 2.35, which takes none and needs less than 1 us.  Where
 * that is missing or does not know the address, the kernel is asked, which takes some 100 us in a
 * process such as Python's.  Without /proc nothing is known then.
 *
 * A library's own name (DT_SONAME) and the functions that it exports are read from its memory.
 * That memory stays mapped: the calling thread is going to return there.
 */
#include "core/maps.h"

#include "core/line.h"
#include "core/symbol.h"
#include "core/sys.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

enum { PAGE = 4096 };

/* A line of the map as it is read: "begin-end rights offset device inode path". */
struct mapping {
    uintptr_t bounds[2];
    unsigned int column; /* 0 and 1: the bounds; 2: what follows */
    bool readable;
    size_t length;
    char name[96];  /* what follows the last slash; its beginning, if that is too long */
    uintptr_t base; /* where the mappings of this file begin; 0: that cannot be read */
};

static void add(struct mapping *mapping, char c)
{
    if (mapping->column < 2 && c != '-' && c != ' ') {
        uintptr_t digit = (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        mapping->bounds[mapping->column] = mapping->bounds[mapping->column] * 16 + digit;
    } else if (mapping->column < 3) {
        mapping->readable = mapping->column == 2 && c == 'r';
        mapping->column++;
    } else if (c == '/') {
        mapping->length = 0;
        mapping->name[0] = '\0';
    } else if (mapping->length < sizeof(mapping->name) - 1) {
        mapping->name[mapping->length++] = c;
        mapping->name[mapping->length] = '\0';
    }
}

/* A whole line has been read; `before` is the one before it. */
static void complete(struct mapping *mapping, const struct mapping *before)
{
    if (before->length && strcmp(mapping->name, before->name) == 0)
        mapping->base = before->base;
    else if (mapping->readable)
        mapping->base = mapping->bounds[0];
}

static bool find(uintptr_t address, struct mapping *mapping)
{
    long fd = coopdl_sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC), size;
    char text[1024];
    bool found = false;
    struct mapping before = {0};
    *mapping = (struct mapping){0};
    while (!found && fd >= 0 && (size = coopdl_sys(SYS_read, fd, text, sizeof(text))) > 0)
        for (long at = 0; at < size && !found; at++) {
            if (text[at] != '\n') {
                add(mapping, text[at]);
                continue;
            }
            complete(mapping, &before);
            found = mapping->bounds[0] <= address && address < mapping->bounds[1];
            if (!found) {
                before = *mapping;
                *mapping = (struct mapping){0};
            }
        }
    if (fd >= 0)
        coopdl_sys(SYS_close, fd);
    return found;
}

/* Without a path the line has the rest of its columns for a name, which begin with the rights. */
static bool has_file(const struct mapping *mapping)
{
    return mapping->length && !strchr(mapping->name, ' ') && mapping->name[0] != '[';
}

static void copy(char *name, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);
    memcpy(name, text, length);
    name[length] = '\0';
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE

static int (*find_object)(void *, struct dl_find_object *);

void coopdl_maps_start(void)
{
    union {
        void *object;
        int (*function)(void *, struct dl_find_object *);
    } found = {.object = coopdl_next("_dl_find_object")};
    find_object = found.function;
}

/* The path of the program, of which the loader knows none; "" where there is no /proc. */
static const char *program(char *path, size_t size)
{
    long length = coopdl_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, size - 1);
    path[length > 0 ? length : 0] = '\0';
    return path;
}

/* What the calling thread's code lies in stays loaded. */
static bool ask_loader(uintptr_t address, struct mapping *mapping)
{
    struct dl_find_object object;
    char path[512];
    if (!find_object || find_object((void *)address, &object) != 0)
        return false;
    const char *name = object.dlfo_link_map->l_name;
    if (!*name)
        name = program(path, sizeof(path));
    const char *slash = strrchr(name, '/');
    *mapping = (struct mapping){.base = (uintptr_t)object.dlfo_map_start};
    copy(mapping->name, sizeof(mapping->name), slash ? slash + 1 : name);
    mapping->length = strlen(mapping->name);
    return mapping->length;
}

#else

void coopdl_maps_start(void)
{
}

static bool ask_loader(uintptr_t address, struct mapping *mapping)
{
    (void)address;
    (void)mapping;
    return false;
}

#endif

bool coopdl_file_at(const void *address, char *name, size_t size)
{
    struct mapping mapping;
    bool found = address && find((uintptr_t)address, &mapping) && has_file(&mapping);
    copy(name, size, found ? mapping.name : "");
    return found;
}

/* The facts from the dynamic section of a file that is mapped from `load` to `end`. */
struct object {
    uintptr_t load, end;
    const char *names;
    const ElfW(Sym) * symbols;
    const uint32_t *gnu_hash, *hash;
    uintptr_t own_name; /* 0: none */
};

/* The address in memory: not every loader relocates the addresses in this section.  Null where it
 * lies outside. */
static const void *inside(const struct object *object, uintptr_t at)
{
    uintptr_t address = at < object->load ? object->load + at : at;
    return address - object->load < object->end - object->load ? (const void *)address : NULL;
}

static void read_dynamic(struct object *object, const ElfW(Dyn) * entry)
{
    for (; entry->d_tag; entry++)
        switch (entry->d_tag) {
        case DT_STRTAB:
            object->names = inside(object, entry->d_un.d_ptr);
            break;
        case DT_SYMTAB:
            object->symbols = inside(object, entry->d_un.d_ptr);
            break;
        case DT_GNU_HASH:
            object->gnu_hash = inside(object, entry->d_un.d_ptr);
            break;
        case DT_HASH:
            object->hash = inside(object, entry->d_un.d_ptr);
            break;
        case DT_SONAME:
            object->own_name = entry->d_un.d_val;
            break;
        default:
            break;
        }
}

/* Of what is mapped at `base`, and covers `address`. */
static bool read_object(uintptr_t base, uintptr_t address, struct object *object)
{
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)base;
    if (!base || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    /* Only the first page is known to be there. */
    if (header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr)) > PAGE)
        return false;
    const ElfW(Phdr) *segment = (const ElfW(Phdr) *)(base + header->e_phoff);
    uintptr_t first = UINTPTR_MAX, end = 0, dynamic = 0;
    for (int i = 0; i < header->e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD && segment[i].p_vaddr < first)
            first = segment[i].p_vaddr;
        if (segment[i].p_type == PT_LOAD && segment[i].p_vaddr + segment[i].p_memsz > end)
            end = segment[i].p_vaddr + segment[i].p_memsz;
        if (segment[i].p_type == PT_DYNAMIC)
            dynamic = segment[i].p_vaddr;
    }
    *object = (struct object){.load = base - first, .end = base - first + end};
    if (!dynamic || address - base >= object->end - base)
        return false;
    read_dynamic(object, (const ElfW(Dyn) *)(object->load + dynamic));
    return object->names;
}

/* The number of symbols, from the hash table. */
static uint32_t symbols_of(const struct object *object)
{
    enum { HEADER = 4 };
    const uint32_t *hash = object->gnu_hash;
    if (!hash)
        return object->hash ? object->hash[1] : 0;
    uint32_t buckets = hash[0], first = hash[1], words = hash[2], last = 0;
    const uint32_t *bucket = hash + HEADER + words * (sizeof(ElfW(Addr)) / sizeof(*hash)),
                   *chain = bucket + buckets;
    for (uint32_t i = 0; i < buckets; i++)
        if (bucket[i] > last)
            last = bucket[i];
    if (last < first)
        return 0;
    while (!(chain[last - first] & 1))
        last++;
    return last + 1;
}

/* "NAME+0x12" of the function that the address lies in, if the file exports it. */
static void find_function(const struct object *object, uintptr_t address, struct coopdl_line *line)
{
    uint32_t count = object->symbols ? symbols_of(object) : 0;
    for (uint32_t i = 1; i < count; i++) {
        const ElfW(Sym) *symbol = &object->symbols[i];
        uintptr_t into = address - (object->load + symbol->st_value);
        if ((symbol->st_info & 0xf) != STT_FUNC || !symbol->st_shndx || into >= symbol->st_size)
            continue;
        coopdl_add(line, object->names + symbol->st_name);
        coopdl_add(line, "+0x");
        coopdl_add_based(line, into, 16);
        return;
    }
}

bool coopdl_code_at(const void *address, char *library, size_t size, char *function,
                    size_t function_size)
{
    struct mapping mapping;
    struct object object;
    struct coopdl_line line = {.text = function, .size = function_size};
    bool found = address &&
                 (ask_loader((uintptr_t)address, &mapping) || find((uintptr_t)address, &mapping)) &&
                 has_file(&mapping);
    *function = '\0';
    copy(library, size, found ? mapping.name : "");
    if (!found || !read_object(mapping.base, (uintptr_t)address, &object))
        return found;
    if (object.own_name)
        copy(library, size, object.names + object.own_name);
    find_function(&object, (uintptr_t)address, &line);
    return true;
}
