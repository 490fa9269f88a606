/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imports.c -- what a program's file says of it: the functions that it imports, and Go.
 *
 * By the tables that a stripped file still has: the section of dynamic symbols, and
 * the segments of notes, in which Go's linker puts its build id.
 *
 * What must hold: the file may be anything.  Every offset, size and index in it is held
 * against the size of the file before it is followed; a string ends within its table.
 * Tables of another word size have another shape, and are not looked at.  A file that is cut
 * short while it is looked at ends us, as it ends any reader of a map.
 */
#include "imports.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct image {
    const char *bytes;
    size_t size;
};

/* The part of the file, aligned as `align` asks; null where the file has no such part. */
static const void *part(const struct image *image, uint64_t offset, uint64_t size, size_t align)
{
    if (offset > image->size || size > image->size - offset || offset % align)
        return NULL;
    return image->bytes + offset;
}

static const ElfW(Ehdr) * header_of(const struct image *image)
{
    const ElfW(Ehdr) *header = part(image, 0, sizeof(*header), 1);
    unsigned char class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    return header && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
                   header->e_ident[EI_CLASS] == class
               ? header
               : NULL;
}

static struct image map(const char *path)
{
    struct image image = {NULL, 0};
    struct stat file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return image;
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes != MAP_FAILED)
            image = (struct image){bytes, (size_t)file.st_size};
    }
    close(fd);
    return image;
}

static void unmap(const struct image *image)
{
    if (image->bytes)
        munmap((void *)(uintptr_t)image->bytes, image->size);
}

static void names_in(const struct image *image, const ElfW(Shdr) * symbols,
                     const ElfW(Shdr) * strings, void (*found)(const char *, void *),
                     void *argument)
{
    const ElfW(Sym) *symbol =
        part(image, symbols->sh_offset, symbols->sh_size, _Alignof(ElfW(Sym)));
    const char *text = part(image, strings->sh_offset, strings->sh_size, 1);
    if (!symbol || !text || strings->sh_size == 0 || text[strings->sh_size - 1] != '\0')
        return;
    for (size_t left = symbols->sh_size / sizeof(*symbol); left > 0; left--, symbol++)
        if (symbol->st_shndx == SHN_UNDEF && symbol->st_name && symbol->st_name < strings->sh_size)
            found(text + symbol->st_name, argument);
}

void each_import(const char *path, void (*found)(const char *name, void *argument), void *argument)
{
    struct image image = map(path);
    const ElfW(Ehdr) *header = header_of(&image);
    const ElfW(Shdr) *sections = NULL;
    if (header && header->e_shentsize == sizeof(*sections))
        sections = part(&image, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*sections),
                        _Alignof(ElfW(Shdr)));
    for (size_t i = 0; sections && i < header->e_shnum; i++)
        if (sections[i].sh_type == SHT_DYNSYM && sections[i].sh_link < header->e_shnum)
            names_in(&image, &sections[i], &sections[sections[i].sh_link], found, argument);
    unmap(&image);
}

/* Of the note's header only the name is looked at.  Both word sizes have the same. */
static bool has_go_note(const struct image *image, const ElfW(Phdr) * segment)
{
    static const char name[4] = "Go\0"; /* with its end, it has four bytes */
    uint64_t at = segment->p_offset, end;
    if (!part(image, at, segment->p_filesz, 4))
        return false;
    for (end = at + segment->p_filesz; end - at >= sizeof(ElfW(Nhdr));) {
        const ElfW(Nhdr) *note = part(image, at, sizeof(*note), 4);
        uint64_t size = sizeof(*note) + (((uint64_t)note->n_namesz + 3) & ~UINT64_C(3)) +
                        (((uint64_t)note->n_descsz + 3) & ~UINT64_C(3));
        if (size > end - at)
            return false;
        if (note->n_namesz == sizeof(name) && memcmp(note + 1, name, sizeof(name)) == 0)
            return true;
        at += size;
    }
    return false;
}

bool is_go(const char *path)
{
    struct image image = map(path);
    const ElfW(Ehdr) *header = header_of(&image);
    const ElfW(Phdr) *segments = NULL;
    bool found = false;
    if (header && header->e_phentsize == sizeof(*segments))
        segments = part(&image, header->e_phoff, (uint64_t)header->e_phnum * sizeof(*segments),
                        _Alignof(ElfW(Phdr)));
    for (size_t i = 0; segments && i < header->e_phnum && !found; i++)
        found = segments[i].p_type == PT_NOTE && has_go_note(&image, &segments[i]);
    unmap(&image);
    return found;
}
