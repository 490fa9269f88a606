/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shell_wait.c -- a command that takes long, and a caller that waits for it.
 *
 *     shell_wait system|pclose [libc] COMMAND
 *
 * With `libc` the calls are taken from a handle on libc, past every preloaded
 * library.  libc then leaves the command behind, as it does when a wait fails:
 * this program ends what it has started.
 */
#include "late.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>

static int (*run_system)(const char *) = system;
static FILE *(*run_popen)(const char *, const char *) = popen;
static int (*run_pclose)(FILE *) = pclose;

static void take_libcs(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW);

    if (!libc)
        errx(1, "%s", dlerror());
    *(void **)&run_system = dlsym(libc, "system");
    *(void **)&run_popen = dlsym(libc, "popen");
    *(void **)&run_pclose = dlsym(libc, "pclose");
}

static void open_and_close(const char *command)
{
    FILE *output = run_popen(command, "r");

    if (!output)
        err(1, "popen");
    run_pclose(output);
}

/* The runner has given this program a process group of its own. */
static void end_command(void)
{
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[2], "libc") == 0)
        take_libcs();
    else if (argc != 3)
        errx(125, "usage: shell_wait system|pclose [libc] COMMAND");
    atexit(end_command);
    if (strcmp(argv[1], "system") == 0)
        run_system(argv[argc - 1]);
    else
        open_and_close(argv[argc - 1]);
    say_how_late();
}
