/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inherit.c -- the deadline that a child inherits: COOPDL_DEADLINE in its environment, the
 * absolute time until which the thread that starts it may wait.
 *
 * What must hold: the caller's array and strings are never written to.  Between fork and exec
 * nothing is allocated and no lock is taken.  A vfork child writes to nothing but its stack.
 * The one exception is an array of more than 8000 entries: it is mapped, and a vfork child
 * leaves that mapping to its parent.
 *
 * The caller's own array is handed on unchanged in three cases:
 * - No deadline rules the thread, or the thread is behind a shield.
 * - The array has an earlier deadline already, from the caller's own scope or from the budget,
 *   which policy.c has put into `environ`.  A deadline that this process has left behind
 *   (core/ending.c) does not count.
 * - The array preloads nothing: the deadline would have no effect, and would be seen.
 *
 * A child that leaves the session gets a deadline that never comes, in place of the one in the
 * array.
 *
 * An array that cannot be read is refused by the kernel: each page of the array and of its
 * strings is checked before it is read.
 */
#include "preload/inherit.h"

#include "core/clock.h"
#include "core/ending.h"
#include "core/policy.h"
#include "core/scope.h"
#include "core/sys.h"
#include "preload/cut.h"

#include <string.h>
#include <sys/mman.h>

static const char name[] = "COOPDL_DEADLINE=", preload[] = "LD_PRELOAD=";

/* The deadline that rules the calling thread.  Claims no record, since a vfork child cannot have
 * one. */
static int64_t ruling(void)
{
    struct coopdl_thread *thread = coopdl_self;
    if (!thread)
        return coopdl_budgeted ? coopdl_policy.deadline : COOPDL_NEVER;
    int64_t word = coopdl_load(thread);
    /* A runtime's exception is being handled: the deadline that has expired does not rule its
     * clean-up. */
    if (word & WORD_HANDLING)
        return coopdl_next_deadline(thread, coopdl_clock());
    return coopdl_word_deadline(word);
}

/* The pages that the last look into the array and into a string found to be readable. */
struct looks {
    uintptr_t array, string;
};

/* Whether the memory can be read; most looks are at the same page as the look before. */
static bool can_look(uintptr_t *last, const void *address, size_t size)
{
    enum { PAGE = 4096 }; /* the smallest there is */
    uintptr_t first = (uintptr_t)address / PAGE, end = ((uintptr_t)address + size - 1) / PAGE;
    if (first == *last && end == *last)
        return true;
    *last = end;
    return coopdl_readable(address, size);
}

/* The value of an entry, if it is the one of that name: compared byte by byte, up to the first that
 * differs or cannot be read. */
static const char *value_of(struct looks *looks, const char *entry, const char *wanted)
{
    for (; *wanted; wanted++, entry++)
        if (!can_look(&looks->string, entry, 1) || *entry != *wanted)
            return NULL;
    return entry;
}

/* The time that a value names; -1 for none. */
static int64_t time_of(struct looks *looks, const char *value)
{
    for (const char *digit = value;; digit++) {
        if (!can_look(&looks->string, digit, 1))
            return -1;
        if (*digit < '0' || *digit > '9')
            return coopdl_number(value, INT64_MAX);
    }
}

size_t coopdl_inheritance(struct coopdl_inheritance *inheritance, char *const *envp, bool leaves)
{
    int64_t deadline = ruling(), outgrown = coopdl_outgrown;
    if (likely(deadline >= TIME_NEVER && outgrown < 0) || !envp)
        return 0;
    if (leaves || coopdl_session_left_by_child()) {
        deadline = COOPDL_NEVER;
        if (outgrown < 0)
            outgrown = coopdl_policy.deadline;
    }
    size_t count = 0, place = SIZE_MAX;
    bool preloads = false;
    struct looks looks = {0};
    for (;; count++) {
        if (!can_look(&looks.array, &envp[count], sizeof(envp[count])))
            return 0;
        if (!envp[count])
            break;
        const char *value = value_of(&looks, envp[count], preload);
        if (value)
            preloads = can_look(&looks.string, value, 1) && *value;
        if (place == SIZE_MAX && (value = value_of(&looks, envp[count], name))) {
            int64_t given = time_of(&looks, value);
            /* A value that is no time is replaced, and so is a deadline that this process has left
             * behind. */
            if (given >= 0 && given <= deadline && given != outgrown)
                return 0;
            place = count;
        }
    }
    if (!preloads || (deadline >= TIME_NEVER && place == SIZE_MAX))
        return 0;
    if (deadline >= TIME_NEVER)
        deadline = COOPDL_NEVER;
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
