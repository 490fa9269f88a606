/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unwind.c -- the native stack of a thread that is stopped, by libdw of elfutils.
 *
 * libdw is loaded when it is needed, and not linked to: each start of the command would
 * pay for it, and what is built for every system could not run without it.
 *
 * What must hold:
 * - The thread is stopped by the caller, and stays so: libdw reads its registers and
 *   memory, and lets nothing go by itself.
 * - Nothing is fetched from a network: debuginfod, which libdw asks where its variable
 *   says so, would have the thread wait for it.
 * - A name in a file may be anything: what is no text is left out.
 *
 * Names of C++ are shown as in the source where libstdc++ is there, which knows how, and as they
 * are in the file where not.  The source's file and line follow where there is debugging
 * information.
 */
#include "unwind.h"

#include "coopdl.h"

#ifdef HAVE_LIBDW

#include <ctype.h>
#include <dlfcn.h>
#include <elfutils/libdwfl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FRAMES = 64 };

#define FUNCTIONS(F)                                                                               \
    F(dwfl_addrmodule)                                                                             \
    F(dwfl_begin)                                                                                  \
    F(dwfl_end)                                                                                    \
    F(dwfl_errmsg)                                                                                 \
    F(dwfl_frame_pc)                                                                               \
    F(dwfl_getthread_frames)                                                                       \
    F(dwfl_lineinfo)                                                                               \
    F(dwfl_linux_proc_attach)                                                                      \
    F(dwfl_linux_proc_find_elf)                                                                    \
    F(dwfl_linux_proc_report)                                                                      \
    F(dwfl_module_addrinfo)                                                                        \
    F(dwfl_module_getsrc)                                                                          \
    F(dwfl_module_info)                                                                            \
    F(dwfl_report_end)                                                                             \
    F(dwfl_standard_find_debuginfo)

#define POINTER(name) static __typeof__(&(name)) dw_##name;
FUNCTIONS(POINTER)

static Dwfl_Callbacks callbacks;

/* A function's address comes as that of a datum. */
static bool find(void *library, const char *name, void *pointer)
{
    void *found = dlsym(library, name);
    memcpy(pointer, &found, sizeof(found));
    return found != NULL;
}

const char *unwinder_obstacle(void)
{
    static const char *why = "";
    bool all = true;
    if (*why || callbacks.find_elf)
        return callbacks.find_elf ? NULL : why;
    unsetenv("DEBUGINFOD_URLS");
    void *library = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
#define FIND(name) all = all && find(library, #name, &dw_##name);
    if (library) {
        FUNCTIONS(FIND)
    }
    if (!library || !all) {
        why = library ? "libdw.so.1 is too old, 0.158 is needed"
                      : "libdw.so.1 of elfutils cannot be loaded (Debian: libdw1)";
        return why;
    }
    callbacks.find_elf = dw_dwfl_linux_proc_find_elf;
    callbacks.find_debuginfo = dw_dwfl_standard_find_debuginfo;
    return NULL;
}

void *unwind_open(pid_t pid)
{
    Dwfl *dwfl = dw_dwfl_begin(&callbacks);
    if (dwfl &&
        (dw_dwfl_linux_proc_report(dwfl, pid) != 0 || dw_dwfl_report_end(dwfl, NULL, NULL) != 0 ||
         dw_dwfl_linux_proc_attach(dwfl, pid, true))) {
        dw_dwfl_end(dwfl);
        return NULL;
    }
    return dwfl;
}

void unwind_close(void *process)
{
    if (process)
        dw_dwfl_end(process);
}

struct walk {
    Dwfl *dwfl;
    int64_t until;
    FILE *to;
    int frames;
};

static void put_text(const char *text, size_t length, FILE *to)
{
    for (size_t i = 0; i < length; i++)
        fputc(iscntrl((unsigned char)text[i]) ? '?' : text[i], to);
}

/* Up to the version of a symbol. */
static void put_name(const char *name, FILE *to)
{
    put_text(name, strcspn(name, "@"), to);
}

/* To be freed; null where the name is not one of C++. */
static char *name_in_source(const char *name)
{
    static char *(*demangle)(const char *, char *, size_t *, int *);
    static bool looked;
    if (strncmp(name, "_Z", 2) != 0)
        return NULL;
    void *library = looked ? NULL : dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    looked = true;
    if (library)
        find(library, "__cxa_demangle", &demangle);
    char *mangled = strndup(name, strcspn(name, "@"));
    char *plain = demangle && mangled ? demangle(mangled, NULL, NULL, NULL) : NULL;
    free(mangled);
    return plain;
}

static void put_function(const char *name, FILE *to)
{
    char *plain = name_in_source(name);
    put_name(plain ? plain : name, to);
    free(plain);
}

/* The path is that of the debugging information, which may be in a file of its own. */
static void put_line(Dwfl_Module *module, Dwarf_Addr at, FILE *to)
{
    int number = 0;
    Dwfl_Line *line = module ? dw_dwfl_module_getsrc(module, at) : NULL;
    const char *path = line ? dw_dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;
    if (!path || number <= 0)
        return;
    fputs(" at ", to);
    put_text(path, strlen(path), to);
    fprintf(to, ":%d", number);
}

static void put_frame(const struct walk *walk, Dwarf_Addr pc, bool interrupted)
{
    /* A return address may lie behind the function's end, where that never returns. */
    Dwarf_Addr at = pc - !interrupted;
    Dwfl_Module *module = dw_dwfl_addrmodule(walk->dwfl, at);
    GElf_Off offset = 0;
    GElf_Sym symbol;
    const char *name =
        module ? dw_dwfl_module_addrinfo(module, at, &offset, &symbol, NULL, NULL, NULL) : NULL;
    const char *path =
        module ? dw_dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, NULL, NULL) : NULL;
    fprintf(walk->to, "#%-2d 0x%016" PRIx64 " ", walk->frames, (uint64_t)pc);
    put_function(name ? name : "??", walk->to);
    if (name)
        fprintf(walk->to, "+0x%" PRIx64, (uint64_t)offset + !interrupted);
    if (path) {
        const char *slash = strrchr(path, '/');
        fputs(" (", walk->to);
        slash = slash ? slash + 1 : path;
        put_text(slash, strlen(slash), walk->to);
        fputc(')', walk->to);
    }
    put_line(module, at, walk->to);
    fputc('\n', walk->to);
}

static int next_frame(Dwfl_Frame *frame, void *argument)
{
    struct walk *walk = argument;
    Dwarf_Addr pc;
    bool interrupted = false;
    if (walk->frames == MOST_FRAMES || coopdl_now() > walk->until) {
        fprintf(walk->to, "... (%s)\n",
                walk->frames == MOST_FRAMES ? "more frames are left out" : "no time for more");
        return DWARF_CB_ABORT;
    }
    if (!dw_dwfl_frame_pc(frame, &pc, &interrupted))
        return DWARF_CB_ABORT;
    put_frame(walk, pc, interrupted || walk->frames == 0);
    walk->frames++;
    return DWARF_CB_OK;
}

void unwind(void *process, pid_t thread, int64_t until, FILE *to)
{
    struct walk walk = {.dwfl = process, .until = until, .to = to};
    const char *why = NULL;
    /* Where it cannot go on it is at the end, or at code that says nothing of its frames. */
    if (process && dw_dwfl_getthread_frames(process, thread, next_frame, &walk) < 0)
        why = dw_dwfl_errmsg(-1);
    if (!walk.frames)
        fprintf(to, "no frame is seen%s%s\n", why ? ": " : "", why ? why : "");
}

#else /* without the header of libdw */

const char *unwinder_obstacle(void)
{
    return "it was built without libdw of elfutils (meson's option `stacks`)";
}

void *unwind_open(pid_t pid)
{
    (void)pid;
    return NULL;
}

void unwind(void *process, pid_t thread, int64_t until, FILE *to)
{
    (void)process, (void)thread, (void)until, (void)to;
}

void unwind_close(void *process)
{
    (void)process;
}

#endif
