/* SPDX-License-Identifier: Apache-2.0 */
/*
 * got.c -- puts a function of ours in the place of one that the interpreter imports.
 *
 * The dynamic linker has a table of the functions that a file imports, the GOT, and the file calls
 * them through that table.  One entry is written here, so that other files in the process, and the
 * interpreter in other processes, are not affected.
 *
 * What must hold: the entry is one word, and is written at once.  A thread that calls at the same
 * time calls the one function or the other, so the replacement calls the original.
 */
#include "got.h"

#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct search {
    uintptr_t inside;
    const char *name;
    uintptr_t entry; /* its address; 0: not found */
    bool read_only;  /* the dynamic linker has made it so */
};

struct table {
    const ElfW(Rela) * rows;
    size_t size;
};

/* In some files the addresses are relative to where the file is loaded, and in some they are not.
 */
static uintptr_t address_of(const struct dl_phdr_info *file, uintptr_t value)
{
    return value < file->dlpi_addr ? file->dlpi_addr + value : value;
}

static void find_in(struct search *search, const struct dl_phdr_info *file,
                    const struct table *table, const ElfW(Sym) * symbols, const char *strings)
{
    for (size_t i = 0; i < table->size / sizeof(*table->rows) && !search->entry; i++) {
        const ElfW(Rela) *row = &table->rows[i];
#if __SIZEOF_POINTER__ == 8
        const ElfW(Sym) *symbol = &symbols[ELF64_R_SYM(row->r_info)];
#else
        const ElfW(Sym) *symbol = &symbols[ELF32_R_SYM(row->r_info)];
#endif
        if (row->r_addend == 0 && symbol->st_shndx == SHN_UNDEF && symbol->st_name &&
            strcmp(strings + symbol->st_name, search->name) == 0)
            search->entry = file->dlpi_addr + row->r_offset;
    }
}

static void look_at(struct search *search, const struct dl_phdr_info *file,
                    const ElfW(Dyn) * dynamic)
{
    struct table jumps = {0}, others = {0};
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        uintptr_t address = address_of(file, dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_SYMTAB)
            symbols = (const ElfW(Sym) *)address;
        else if (dynamic->d_tag == DT_STRTAB)
            strings = (const char *)address;
        else if (dynamic->d_tag == DT_JMPREL)
            jumps.rows = (const ElfW(Rela) *)address;
        else if (dynamic->d_tag == DT_PLTRELSZ)
            jumps.size = dynamic->d_un.d_val;
        else if (dynamic->d_tag == DT_RELA)
            others.rows = (const ElfW(Rela) *)address;
        else if (dynamic->d_tag == DT_RELASZ)
            others.size = dynamic->d_un.d_val;
        else if (dynamic->d_tag == DT_PLTREL && dynamic->d_un.d_val != DT_RELA)
            return;
    }
    if (symbols && strings && jumps.rows)
        find_in(search, file, &jumps, symbols, strings);
    if (symbols && strings && others.rows)
        find_in(search, file, &others, symbols, strings);
}

bool coopdl_py_is_inside(const struct dl_phdr_info *file, uintptr_t address)
{
    bool inside = false;
    for (int i = 0; i < file->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &file->dlpi_phdr[i];
        inside |=
            part->p_type == PT_LOAD && address - (file->dlpi_addr + part->p_vaddr) < part->p_memsz;
    }
    return inside;
}

static int look_for_file(struct dl_phdr_info *file, size_t size, void *argument)
{
    struct search *search = argument;
    const ElfW(Dyn) *dynamic = NULL;
    bool found = coopdl_py_is_inside(file, search->inside);
    (void)size;
    for (int i = 0; i < file->dlpi_phnum; i++)
        if (file->dlpi_phdr[i].p_type == PT_DYNAMIC)
            dynamic = (const ElfW(Dyn) *)(file->dlpi_addr + file->dlpi_phdr[i].p_vaddr);
    if (found && dynamic)
        look_at(search, file, dynamic);
    for (int i = 0; found && i < file->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &file->dlpi_phdr[i];
        search->read_only |= part->p_type == PT_GNU_RELRO &&
                             search->entry - (file->dlpi_addr + part->p_vaddr) < part->p_memsz;
    }
    return found;
}

static bool protect(uintptr_t entry, int protection)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = entry & ~(page - 1);
    return mprotect((void *)begin, page, protection) == 0;
}

bool coopdl_py_replace_import(void (*inside)(void), const char *name, void (*replacement)(void))
{
    struct search search = {.name = name};
    void *function;
    memcpy(&search.inside, &inside, sizeof(inside));
    memcpy(&function, &replacement, sizeof(replacement));
    dl_iterate_phdr(look_for_file, &search);
    if (!search.entry || (search.read_only && !protect(search.entry, PROT_READ | PROT_WRITE)))
        return false;
    atomic_store((void *_Atomic *)search.entry, function);
    if (search.read_only)
        protect(search.entry, PROT_READ);
    return true;
}
