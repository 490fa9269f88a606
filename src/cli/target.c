/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.c -- looks at a program before it is started, as the kernel will.
 *
 * From the command's name to a file (PATH), from a script to its interpreter,
 * from there to the ELF header.  What must hold: looking never fails and never
 * waits; what cannot be looked at is exec's to complain about.
 */
#include "target.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* As many as the kernel follows. */
enum { SCRIPT_LEVELS = 5, SCRIPT_LINE = 256 };

/* Only a file: execvp goes past a directory of that name, and a FIFO would keep us waiting. */
static bool is_program(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 && S_ISREG(file.st_mode) && eaccess(path, X_OK) == 0;
}

/* The file that execvp starts for this name. */
bool find_program(const char *name, char path[PATH_MAX])
{
    if (strchr(name, '/')) {
        int length = snprintf(path, PATH_MAX, "%s", name);
        return length < PATH_MAX && is_program(path);
    }
    const char *list = getenv("PATH");
    for (list = list ? list : "/bin:/usr/bin";; list++) {
        size_t length = strcspn(list, ":");
        if (length < PATH_MAX) {
            int all =
                snprintf(path, PATH_MAX, "%.*s%s%s", (int)length, list, length ? "/" : "", name);
            if (all < PATH_MAX && is_program(path))
                return true;
        }
        list += length;
        if (!*list)
            return false;
    }
}

/* The program that a script's first line (it is changed) names: the word behind #!, or what
 * /usr/bin/env would start, the first word behind it that is a program. */
static bool find_interpreter(char *line, char path[PATH_MAX])
{
    char *rest;
    line[strcspn(line, "\n")] = '\0';
    const char *word = strtok_r(line + 2, " \t", &rest);
    if (!word)
        return false;
    const char *slash = strrchr(word, '/');
    if (strcmp(slash ? slash + 1 : word, "env") == 0) {
        const char *next;
        while ((next = strtok_r(NULL, " \t", &rest)))
            if (find_program(next, path))
                return true;
    }
    return find_program(word, path);
}

struct program {
    ElfW(Ehdr) header;
    char loader[PATH_MAX]; /* empty if it has none */
};

/* False if that is no ELF file.  One of another word size has tables of another shape; they are
 * not looked at. */
static bool read_program(int fd, struct program *program)
{
    ElfW(Ehdr) *header = &program->header;
    program->loader[0] = '\0';
    if (pread(fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header) ||
        memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    if (header->e_phentsize != sizeof(ElfW(Phdr)))
        return true;
    for (size_t i = 0; i < header->e_phnum; i++) {
        ElfW(Phdr) segment;
        off_t at = (off_t)(header->e_phoff + i * sizeof(segment));
        if (pread(fd, &segment, sizeof(segment), at) != (ssize_t)sizeof(segment))
            return false;
        if (segment.p_type != PT_INTERP)
            continue;
        size_t length = segment.p_filesz;
        if (length >= PATH_MAX ||
            pread(fd, program->loader, length, (off_t)segment.p_offset) != (ssize_t)length)
            return false;
        program->loader[length] = '\0';
        return true;
    }
    return true;
}

/* This command's own: what it is built for, and the loader of the libc that it and the library
 * belong to. */
static bool read_self(struct program *self)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    bool known = fd >= 0 && read_program(fd, self) && self->loader[0];
    if (fd >= 0)
        close(fd);
    return known;
}

bool own_loader(char path[PATH_MAX])
{
    struct program self;
    bool known = read_self(&self);
    if (known)
        snprintf(path, PATH_MAX, "%s", self.loader);
    return known;
}

static bool same_machine(const ElfW(Ehdr) * one, const ElfW(Ehdr) * other)
{
    return one->e_ident[EI_CLASS] == other->e_ident[EI_CLASS] &&
           one->e_ident[EI_DATA] == other->e_ident[EI_DATA] && one->e_machine == other->e_machine;
}

static bool same_file(const char *one, const char *other)
{
    struct stat a, b;
    return strcmp(one, other) == 0 || (stat(one, &a) == 0 && stat(other, &b) == 0 &&
                                       a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

/* A program that gains rights ignores LD_PRELOAD.  None does on such a file system or for such a
 * caller. */
static const char *privileges(int fd)
{
    struct stat file;
    struct statvfs system;
    if (fstat(fd, &file) != 0 || fstatvfs(fd, &system) != 0 || (system.f_flag & ST_NOSUID) ||
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
        return NULL;
    if ((file.st_mode & S_ISUID) && file.st_uid != geteuid())
        return "is setuid";
    /* Without the group's x the bit has another meaning, mandatory locking. */
    if ((file.st_mode & S_ISGID) && (file.st_mode & S_IXGRP) && file.st_gid != getegid())
        return "is setgid";
    /* They add nothing to what root has. */
    if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
        return "has file capabilities";
    return NULL;
}

static const char *obstacle(int fd, const char *path)
{
    struct program self, program;
    if (!read_self(&self) || !read_program(fd, &program))
        return NULL;
    if (!same_machine(&program.header, &self.header))
        return "is built for another machine or word size";
    if (!program.loader[0])
        /* The loader itself has no loader, and preloads. */
        return same_file(path, self.loader) ? NULL : "is statically linked";
    if (!same_file(program.loader, self.loader))
        return "is linked to another libc";
    return privileges(fd);
}

const char *preload_obstacle(const char *command, char program[PATH_MAX])
{
    if (!find_program(command, program))
        return NULL;
    for (int level = 0; level <= SCRIPT_LEVELS; level++) {
        int fd = open(program, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return NULL;
        char line[SCRIPT_LINE + 1];
        ssize_t length = pread(fd, line, SCRIPT_LINE, 0);
        bool script = length > 2 && line[0] == '#' && line[1] == '!';
        const char *why = script ? NULL : obstacle(fd, program);
        close(fd);
        if (!script)
            return why;
        line[length] = '\0';
        if (!find_interpreter(line, program))
            return NULL;
    }
    return NULL;
}
