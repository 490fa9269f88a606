/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ruby.c -- whether a Ruby has the gem that --ruby needs.
 *
 * Without the gem RUBYOPT=-rcoopdl ends every Ruby with a LoadError of its own.
 * Where a gem lies is Ruby's to know, so that Ruby is asked, in the environment
 * that the program will have, before the clock starts.
 */
#include "ruby.h"

#include "coopdl.h"

#include "environment.h"
#include "failure.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* In seconds: a Ruby that has not answered by then is broken. */
enum { PATIENCE = 30 };

static bool is_ruby(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strncmp(slash ? slash + 1 : path, "ruby", 4) == 0;
}

_Noreturn static void ask(const char *ruby, const char *library)
{
    int nowhere = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        dup2(nowhere, fd);
    hand_down(COOPDL_NEVER, library);
    require_in_ruby();
    signal(SIGALRM, SIG_DFL);
    alarm(PATIENCE);
    execlp(ruby, ruby, "-e", "", (char *)NULL);
    _exit(errno == ENOENT ? 0 : 1); /* what cannot be found is reported later, by its status */
}

void check_ruby(const char *command, const char *library)
{
    char program[PATH_MAX] = "";
    int status;
    (void)preload_obstacle(command, program);
    const char *ruby = is_ruby(command) ? command : program;
    if (!is_ruby(ruby))
        return;
    pid_t child = fork();
    if (child < 0)
        fail("cannot ask '%s' for the gem coopdl: %s", ruby, strerror(errno));
    if (child == 0)
        ask(ruby, library);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return;
    if (status != 0)
        fail("'%s' cannot load the gem coopdl, which --ruby needs: install it for this Ruby (gem "
             "install coopdl), or have RUBYLIB name its directories",
             ruby);
}
