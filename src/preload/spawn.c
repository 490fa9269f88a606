/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.c -- posix_spawn: the child inherits the calling thread's deadline. */
#include "preload/inherit.h"
#include "preload/preload.h"

int coopdl_child_posix_spawn(pid_t *pid, const char *path,
                             const posix_spawn_file_actions_t *actions,
                             const posix_spawnattr_t *attributes, char *const argv[],
                             char *const envp[])
{
    return INHERIT(envp, coopdl_real.posix_spawn(pid, path, actions, attributes, argv, inherited));
}

int coopdl_child_posix_spawnp(pid_t *pid, const char *file,
                              const posix_spawn_file_actions_t *actions,
                              const posix_spawnattr_t *attributes, char *const argv[],
                              char *const envp[])
{
    return INHERIT(envp, coopdl_real.posix_spawnp(pid, file, actions, attributes, argv, inherited));
}
