/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread_exec.c -- three times: a thread that has made no other call starts a
 * program, in an environment that has LD_PRELOAD alone.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char preload[4096], name[] = "env";

static void *start(void *child)
{
    char *const argv[] = {name, NULL}, *const envp[] = {preload, NULL};
    /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
    *(pid_t *)child = vfork();
    if (*(pid_t *)child == 0) {
        execve("/usr/bin/env", argv, envp);
        _exit(127);
    }
    return NULL;
}

int main(void)
{
    const char *library = getenv("LD_PRELOAD");
    if (!library)
        return 1;
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        pid_t child = -1;
        if (pthread_create(&thread, NULL, start, &child) || pthread_join(thread, NULL) ||
            waitpid(child, NULL, 0) != child)
            return 1;
    }
    return 0;
}
