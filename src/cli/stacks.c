/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stacks.c -- the stacks of all threads of COMMAND's processes, as they are at the deadline
 * and before anything is cut.
 *
 *   promised deadline        all are told to stop         let go, and calls are cut
 *   |------------------------|----------------------------|
 *   the modules write        the native stacks are read   promised + allowance,
 *   their own stacks                                      or once they are read
 *
 * The library in COMMAND has a timer of its own, and knows nothing of all this: it is given
 * a deadline that is later by STACKS_ALLOWANCE.  Until then all threads are to be told to
 * stop.  A thread that was told so runs none of its code any more, also where the machine is
 * too busy for it to arrive: so it cuts nothing, however long the stacks take.  Where the
 * command itself came too late, it is said that the stacks are of a later time.
 *
 * Nothing is stopped before the promised deadline: some calls (epoll_wait, semop) fail with
 * EINTR when their thread is stopped and goes on, which nobody is to see before.  And nobody
 * goes on before the cut: a program that ends by such an error would have its shell go on with
 * the next command, which only the cut keeps it from.
 *
 * What must hold:
 * - The deadline is kept, whatever becomes of the stacks.  So they are taken by a thread,
 *   which is waited for no longer than LONGEST_TAKE.  At its end the kernel lets go what
 *   it has stopped.  It is a thread and no process, since ptrace_scope allows an ancestor
 *   alone.
 * - While anything is stopped nothing is written, but to memory: who reads our stderr may
 *   be one of those that are stopped.
 * - All of it is bounded, and what is left out is said.
 *
 * Interleavings: a process that ends before it is stopped is left out.  The thread that was
 * given up goes on by itself, and keeps its memory.
 */
#include "stacks.h"

#include "coopdl.h"
#include "failure.h"
#include "freeze.h"
#include "own_stacks.h"
#include "reach.h"
#include "subject.h"
#include "unwind.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long is waited: for the modules, for threads to stop, for frames, for all of it. */
#define MODULES (60 * COOPDL_MILLISECOND)
#define STOPPING (500 * COOPDL_MILLISECOND)
#define UNWINDING COOPDL_SECOND
#define LONGEST_TAKE (3 * COOPDL_SECOND)

struct take {
    struct frozen processes[MOST_PROCESSES];
    int count;
    int left;        /* how many processes more there are */
    int64_t cut;     /* when calls are cut */
    int64_t stopped; /* when all were told to */
    int refused;     /* why a process may not be stopped; 0: all may */
    int ends[2];     /* of a pipe: closed when all is done */
    char *text;
    size_t size;
};

void stacks_check(void)
{
    const char *why = unwinder_obstacle();
    if (why)
        fail("cannot take stacks: %s", why);
}

void stacks_introduce(int64_t when)
{
    char text[sizeof("9223372036854775807")];
    snprintf(text, sizeof(text), "%" PRId64, when);
    if (setenv("COOPDL_STACKS", text, 1) != 0)
        fail("cannot set COOPDL_STACKS: %s", strerror(errno));
}

static void add_process(pid_t pid, void *argument)
{
    struct take *take = argument;
    if (take->count == MOST_PROCESSES)
        take->left++;
    else
        take->processes[take->count++].pid = pid;
}

static void write_thread(const struct subject *of, void *code, const struct frozen_thread *thread,
                         int64_t until, FILE *to)
{
    char name[32];
    name_of_thread(of, thread->id, name, sizeof(name));
    fprintf(to, "thread %d (%s)\n", (int)thread->id, name);
    if (thread->stopped)
        unwind(code, thread->id, until, to);
    else
        fputs("does not stop\n", to);
}

static void write_process(struct take *take, const struct frozen *frozen, FILE *to)
{
    const struct subject of = {.pid = frozen->pid, .fd = -1};
    char name[32];
    if (frozen->error)
        take->refused = frozen->error;
    if (!frozen->count)
        return;
    name_of_thread(&of, 0, name, sizeof(name));
    fprintf(to, "%s: stacks of %s[%d]:\n", program_invocation_short_name, name, (int)frozen->pid);
    void *code = unwind_open(frozen->pid);
    for (int i = 0; i < frozen->count; i++)
        write_thread(&of, code, &frozen->threads[i], take->stopped + UNWINDING, to);
    unwind_close(code);
    if (frozen->left)
        fprintf(to, "... (%d more threads are left out)\n", frozen->left);
}

/* No longer than the allowance: behind an alarm the deadline is still far. */
static void await_cut(int64_t cut)
{
    int64_t left = cut - coopdl_now();
    if (left > 0 && left <= STACKS_ALLOWANCE)
        nanosleep(&(struct timespec){.tv_nsec = (long)left}, NULL);
}

/* On a thread of its own. */
static void *run(void *argument)
{
    struct take *take = argument;
    FILE *to = open_memstream(&take->text, &take->size);
    for (int i = 0; i < take->count; i++)
        freeze(&take->processes[i], take->processes[i].pid);
    take->stopped = coopdl_now();
    for (int i = 0; i < take->count; i++)
        await_frozen(&take->processes[i], take->stopped + STOPPING);
    for (int i = 0; to && i < take->count; i++)
        write_process(take, &take->processes[i], to);
    await_cut(take->cut);
    for (int i = 0; i < take->count; i++)
        thaw(&take->processes[i]);
    if (to)
        fclose(to);
    close(take->ends[1]);
    return NULL;
}

/* Whether it was done in time. */
static bool run_and_wait(struct take *take)
{
    pthread_t thread;
    if (pipe(take->ends) != 0)
        return false;
    if (pthread_create(&thread, NULL, run, take) != 0) {
        close(take->ends[0]);
        close(take->ends[1]);
        return false;
    }
    struct pollfd end = {.fd = take->ends[0], .events = POLLIN};
    int64_t until = coopdl_now() + LONGEST_TAKE, left;
    while ((left = until - coopdl_now()) > 0)
        if (poll(&end, 1, (int)(left / COOPDL_MILLISECOND) + 1) > 0) {
            pthread_join(thread, NULL); /* then nothing is stopped any more */
            close(take->ends[0]);
            return true;
        }
    return false;
}

static void print(const struct take *take)
{
    if (take->size && take->cut < take->stopped)
        say("the stacks are of %" PRId64 " ms after the calls were cut",
            (take->stopped - take->cut) / COOPDL_MILLISECOND);
    if (take->text)
        fputs(take->text, stderr);
    if (take->left)
        say("%d more processes are left out", take->left);
    if (!take->size && !take->refused)
        say("no stacks: what was to be looked at has ended");
    if (take->refused)
        say("no native stacks where ptrace is refused: %s (ptrace_scope, a filter of system calls, "
            "a debugger, or another user)",
            strerror(take->refused));
}

void stacks_take(pid_t child, bool tree, int64_t cut)
{
    struct take *take = calloc(1, sizeof(*take));
    if (!take)
        return;
    take->cut = cut;
    each_started(child, tree, add_process, take);
    for (int i = 0; i < take->count; i++)
        own_stacks_open(take->processes[i].pid);
    own_stacks_await(coopdl_now() + MODULES);
    bool done = run_and_wait(take);
    if (done)
        print(take);
    else
        say("the stacks could not be taken in time");
    own_stacks_print();
    if (done) {
        free(take->text);
        free(take);
    }
}
