/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.c -- posix_spawn: the child inherits the calling thread's deadline, and is not started
 * after the end of the budget. */
#include "core/ending.h"
#include "core/kept.h"
#include "core/kick.h"
#include "core/policy.h"
#include "preload/cut.h"
#include "preload/inherit.h"
#include "preload/preload.h"

/* The child must have the kick's signal blocked where its parent believes that it is.  A kick that
 * arrives meanwhile is taken when the signal is unblocked. */
#define SPAWN(call)                                                                                \
    __extension__({                                                                                \
        if (unlikely(coopdl_budgeted) && coopdl_start_refused()) {                                 \
            coopdl_end_starter();                                                                  \
            return ETIMEDOUT;                                                                      \
        }                                                                                          \
        bool blocks = coopdl_kick_believed;                                                        \
        if (unlikely(blocks))                                                                      \
            coopdl_kick_block(SIG_BLOCK);                                                          \
        int error = (call);                                                                        \
        if (unlikely(blocks))                                                                      \
            coopdl_kick_block(SIG_UNBLOCK);                                                        \
        error;                                                                                     \
    })

/* Attributes that cannot be read are libc's to complain about. */
static bool leaves_session(const posix_spawnattr_t *attributes)
{
    short flags;
    return (coopdl_budgeted || coopdl_self) && attributes &&
           coopdl_readable(attributes, sizeof(*attributes)) &&
           posix_spawnattr_getflags(attributes, &flags) == 0 && flags & POSIX_SPAWN_SETSID &&
           !coopdl_policy.tree;
}

int coopdl_child_posix_spawn(pid_t *pid, const char *path,
                             const posix_spawn_file_actions_t *actions,
                             const posix_spawnattr_t *attributes, char *const argv[],
                             char *const envp[])
{
    return SPAWN(INHERIT(envp, leaves_session(attributes),
                         coopdl_real.posix_spawn(pid, path, actions, attributes, argv, inherited)));
}

int coopdl_child_posix_spawnp(pid_t *pid, const char *file,
                              const posix_spawn_file_actions_t *actions,
                              const posix_spawnattr_t *attributes, char *const argv[],
                              char *const envp[])
{
    return SPAWN(
        INHERIT(envp, leaves_session(attributes),
                coopdl_real.posix_spawnp(pid, file, actions, attributes, argv, inherited)));
}
