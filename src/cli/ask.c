/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c -- starts a program and takes what it says, in bounded time.
 *
 * What must hold: an answer comes within PATIENCE, whatever the program does; nothing of
 * ours is left running then.  The child is not reaped before it is killed, so its id is
 * its own until then.
 *
 * What the program has started itself may hold the pipe open: the end of the program is
 * what is waited for, and what is in the pipe by then is the answer.
 */
#include "ask.h"

#include "coopdl.h"
#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A Ruby on a busy machine takes a second to start. */
#define PATIENCE (15 * COOPDL_SECOND)

enum { LOOK_AGAIN = 20 /* ms */ };

_Noreturn static void become(const char *const *program, preparation *prepare, void *argument,
                             int out)
{
    int nowhere = open("/dev/null", O_RDONLY);
    dup2(nowhere, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    if (prepare)
        prepare(argument);
    if (!program)
        _exit(EXIT_SUCCESS);
    execvp(program[0], (char *const *)(uintptr_t)program);
    dprintf(STDERR_FILENO, "%s: %s\n", program[0], strerror(errno));
    _exit(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

/* What is there, until the end or for a moment. */
static void take(struct answer *answer, size_t *length, int in)
{
    struct pollfd pollfd = {.fd = in, .events = POLLIN};
    char spilt[512];
    if (poll(&pollfd, 1, LOOK_AGAIN) <= 0)
        return;
    size_t room = sizeof(answer->text) - 1 - *length;
    ssize_t got = room ? read(in, answer->text + *length, room) : read(in, spilt, sizeof(spilt));
    if (got > 0 && room)
        *length += (size_t)got;
    else if (got == 0)
        poll(NULL, 0, LOOK_AGAIN); /* it may close its output long before it ends */
}

static void take_rest(struct answer *answer, size_t *length, int in)
{
    size_t before;
    fcntl(in, F_SETFL, O_NONBLOCK);
    do {
        before = *length;
        ssize_t got = read(in, answer->text + before, sizeof(answer->text) - 1 - before);
        *length += got > 0 ? (size_t)got : 0;
    } while (*length > before);
}

void ask(struct answer *answer, const char *const *program, preparation *prepare, void *argument)
{
    int ends[2];
    size_t length = 0;
    *answer = (struct answer){.status = -1};
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail("cannot start a child: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        fail("cannot start a child: %s", strerror(errno));
    if (child == 0)
        become(program, prepare, argument, ends[1]);
    close(ends[1]);
    int64_t until = coopdl_after(PATIENCE);
    while (waitpid(child, &answer->status, WNOHANG) == 0) {
        take(answer, &length, ends[0]);
        if (coopdl_now() < until)
            continue;
        answer->silent = true;
        kill(child, SIGKILL);
        waitpid(child, &answer->status, 0);
        break;
    }
    take_rest(answer, &length, ends[0]);
    close(ends[0]);
    answer->text[length] = '\0';
}

bool is_good(const struct answer *answer)
{
    return !answer->silent && answer->status == 0;
}

char *first_line(struct answer *answer)
{
    answer->text[strcspn(answer->text, "\n")] = '\0';
    return answer->text;
}
