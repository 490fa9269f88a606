/* SPDX-License-Identifier: Apache-2.0 */
/* inherit.h -- the deadline that a child inherits. */
#ifndef COOPDL_PRELOAD_INHERIT_H
#define COOPDL_PRELOAD_INHERIT_H

#include "core/thread.h"

struct coopdl_inheritance {
    char entry[sizeof("COOPDL_DEADLINE=9223372036854775807")];
    size_t count, place; /* the caller's entries, and where ours goes */
};

/* Of an environment array: a larger one than this does not go on the stack. */
enum { COOPDL_ON_STACK = 64 * 1024 };

/* How many bytes the array of a child's environment takes, made from the caller's; 0 where the
 * child gets the caller's own.  `leaves`: the child leaves the session, and so all deadlines. */
size_t coopdl_inheritance(struct coopdl_inheritance *inheritance, char *const *envp, bool leaves);

/* Makes it: in `room`, or in memory of its own where that is null.  Where there is none, it is the
 * caller's. */
char *const *coopdl_bequeath(const struct coopdl_inheritance *inheritance, char *const *envp,
                             char **room);

/* Frees the array if it was mapped. */
void coopdl_disinherit(char *const *bequest, size_t size);

/* `call` with `inherited` for its environment: `envp` with the deadline in it.  The new array lies
 * on the stack, since the caller may be a forked child, in which malloc may be locked, or a vfork
 * child, whose other memory is its parent's. */
#define INHERIT(envp, leaves, call)                                                                \
    __extension__({                                                                                \
        struct coopdl_inheritance inheritance;                                                     \
        char *const *given = (envp), *const *inherited = given;                                    \
        size_t size = coopdl_inheritance(&inheritance, given, leaves);                             \
        if (unlikely(size))                                                                        \
            inherited = coopdl_bequeath(&inheritance, given,                                       \
                                        size <= COOPDL_ON_STACK ? __builtin_alloca(size) : NULL);  \
        __typeof__(call) outcome = (call);                                                         \
        if (unlikely(size > COOPDL_ON_STACK) && inherited != given)                                \
            coopdl_disinherit(inherited, size);                                                    \
        outcome;                                                                                   \
    })

#endif
