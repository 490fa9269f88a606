/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inherit.c -- the deadline that a child inherits: COOPDL_DEADLINE in its
 * environment, the absolute time until which the thread that starts it may
 * wait.
 *
 * What must hold: the caller's array and strings are never written to; nothing
 * is allocated and no lock taken between fork and exec; in a vfork child
 * nothing but the stack is written to.  The one exception is an array of more
 * than 8000 entries: it is mapped, and a vfork child leaves that to its parent.
 *
 * The caller's own array is handed on as it is where
 * - no deadline rules the thread, or it is behind a shield;
 * - it has an earlier deadline already: a scope of the caller's own making, or
 *   the budget, which policy.c has put into `environ`;
 * - it preloads nothing: there the deadline could do nothing, and be seen.
 *
 * An array that cannot be read faults here and not in the kernel: it is read as
 * libc's own posix_spawn and execvp read their arguments.
 */
#include "preload/inherit.h"

#include "core/clock.h"
#include "core/policy.h"
#include "core/scope.h"
#include "core/sys.h"

#include <string.h>
#include <sys/mman.h>

static const char name[] = "COOPDL_DEADLINE=", preload[] = "LD_PRELOAD=";

/* What rules the calling thread.  Claims no record: in a vfork child there is none to be had. */
static int64_t ruling(void)
{
    struct coopdl_thread *thread = coopdl_self;
    if (!thread)
        return coopdl_budgeted ? coopdl_policy.deadline : COOPDL_NEVER;
    int64_t word = coopdl_load(thread);
    /* A runtime's exception is at work: what has expired does not rule its clean-up. */
    if (word & WORD_PEACE)
        return coopdl_next_deadline(thread, coopdl_clock());
    return coopdl_word_deadline(word);
}

/* The value of an entry, if it is the one of that name. */
static const char *value_of(const char *entry, const char *wanted, size_t length)
{
    return strncmp(entry, wanted, length) == 0 ? entry + length : NULL;
}

size_t coopdl_inheritance(struct coopdl_inheritance *inheritance, char *const *envp)
{
    int64_t deadline = ruling();
    if (likely(deadline >= TIME_NEVER) || !envp)
        return 0;
    size_t count = 0, place = SIZE_MAX;
    bool preloads = false;
    for (; envp[count]; count++) {
        const char *value = value_of(envp[count], preload, sizeof(preload) - 1);
        if (value)
            preloads = *value != '\0';
        if (place == SIZE_MAX && (value = value_of(envp[count], name, sizeof(name) - 1))) {
            int64_t given = coopdl_number(value, INT64_MAX);
            if (given >= 0 && given <= deadline) /* what is no time is replaced */
                return 0;
            place = count;
        }
    }
    if (!preloads)
        return 0;
    inheritance->count = count;
    inheritance->place = place == SIZE_MAX ? count : place;
    memcpy(inheritance->entry, name, sizeof(name) - 1);
    char *digit = inheritance->entry + sizeof(inheritance->entry) - 1;
    for (*digit = '\0'; digit != inheritance->entry + sizeof(name) - 1; deadline /= 10)
        *--digit = (char)('0' + deadline % 10);
    return (count + 2) * sizeof(char *);
}

char *const *coopdl_bequeath(const struct coopdl_inheritance *inheritance, char *const *envp,
                             char **room)
{
    size_t count = inheritance->count, place = inheritance->place;
    if (!room) {
        long memory = coopdl_sys(SYS_mmap, 0, (count + 2) * sizeof(char *), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory <= 0 && memory > -4096) /* on 32 bits an address may be negative too */
            return envp;
        room = (char **)memory;
    }
    memcpy(room, envp, count * sizeof(char *));
    room[place] = (char *)(uintptr_t)inheritance->entry;
    room[place == count ? count + 1 : count] = NULL;
    return room;
}

void coopdl_disinherit(char *const *bequest, size_t size)
{
    coopdl_sys(SYS_munmap, bequest, size);
}
