/* SPDX-License-Identifier: Apache-2.0 */
/*
 * popen.c -- popen, pclose and fclose.  In glibc fclose of a stream of popen does what pclose
 * does; in musl it leaves the shell for the program to wait for.
 *
 * A pclose whose wait is cut has closed its stream all the same, and has ended its shell
 * (shell.c).
 *
 * The open streams are noted in slots, without a lock: fclose is called in forked children,
 * where a lock may be held for ever.  A thread takes a slot by its `taken`, and others see it
 * from the moment that its `file` is set.  Streams that libc's popen has opened before this one
 * took over are noted as well: the child of a later popen must not inherit them.
 */
#include "core/sys.h"
#include "preload/cut.h"
#include "preload/preload.h"
#include "preload/shell.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

enum { SLOTS = 16 };

struct stream {
    atomic_bool taken;
    FILE *_Atomic file;
    int fd;
    pid_t pid; /* 0: the stream is libc's */
};

static struct block {
    struct block *_Atomic next;
    struct stream streams[SLOTS];
} first;

/* So that fclose has one word to look at in a process without such streams. */
static _Atomic unsigned int taken;

static struct block *next_block(struct block *block)
{
    struct block *next = atomic_load(&block->next), *fresh;
    if (next || !(fresh = calloc(1, sizeof(*fresh))))
        return next;
    if (atomic_compare_exchange_strong(&block->next, &next, fresh))
        return fresh;
    free(fresh);
    return next;
}

/* A slot; null when memory is out. */
static struct stream *take(void)
{
    for (struct block *block = &first; block; block = next_block(block))
        for (int i = 0; i < SLOTS; i++)
            if (!atomic_exchange(&block->streams[i].taken, true)) {
                atomic_fetch_add(&taken, 1);
                return &block->streams[i];
            }
    return NULL;
}

static void note(struct stream *stream, FILE *file, pid_t pid)
{
    stream->fd = fileno(file);
    stream->pid = pid;
    atomic_store(&stream->file, file);
}

static void forget(struct stream *stream)
{
    atomic_store(&stream->file, NULL);
    atomic_store(&stream->taken, false);
    atomic_fetch_sub(&taken, 1);
}

static struct stream *find(const FILE *file)
{
    if (likely(!atomic_load(&taken)) || !file)
        return NULL;
    for (struct block *block = &first; block; block = atomic_load(&block->next))
        for (int i = 0; i < SLOTS; i++)
            if (atomic_load(&block->streams[i].file) == file)
                return &block->streams[i];
    return NULL;
}

/* What the shell does first: it takes its end of the pipe, and closes those of the other streams.
 */
static int plan(posix_spawn_file_actions_t *actions, int end, int target)
{
    int error = posix_spawn_file_actions_adddup2(actions, end, target);
    for (struct block *block = &first; block; block = atomic_load(&block->next))
        for (int i = 0; i < SLOTS && !error; i++) {
            const struct stream *stream = &block->streams[i];
            if (atomic_load(&stream->file) && stream->fd != target)
                error = posix_spawn_file_actions_addclose(actions, stream->fd);
        }
    return error;
}

/* The lock keeps a stream that is about to become inheritable from a shell that does not know of
 * it. */
static int start(struct stream *stream, FILE *file, const char *command, int end, int target,
                 bool inherited)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    pthread_mutex_lock(&lock);
    int error = plan(&actions, end, target);
    if (!error)
        error = coopdl_shell_start(&pid, command, &actions, NULL);
    if (!error) {
        note(stream, file, pid);
        if (inherited)
            coopdl_sys(SYS_fcntl, fileno(file), F_SETFD, 0);
    }
    pthread_mutex_unlock(&lock);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static FILE *open_ours(const char *command, bool reading, bool inherited)
{
    int ends[2], error = ENOMEM;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return NULL;
    int parents = ends[reading ? 0 : 1], childs = ends[reading ? 1 : 0];
    FILE *file = fdopen(parents, reading ? "r" : "w");
    struct stream *stream = take();
    if (file && stream)
        error = start(stream, file, command, childs, reading ? 1 : 0, inherited);
    coopdl_sys(SYS_close, childs);
    if (!error)
        return file;
    if (stream)
        forget(stream);
    if (file)
        coopdl_real.fclose(file);
    else
        coopdl_sys(SYS_close, parents);
    errno = error;
    return NULL;
}

static FILE *open_libcs(const char *command, const char *mode)
{
    FILE *file = coopdl_real.popen(command, mode);
    struct stream *stream = file ? take() : NULL;
    if (stream)
        note(stream, file, 0);
    return file;
}

FILE *coopdl_child_popen(const char *command, const char *mode)
{
    if (!coopdl_shell_is_ours())
        return open_libcs(command, mode);
    bool reading = false, writing = false, inherited = true;
    for (; *mode; mode++)
        switch (*mode) {
        case 'r':
            reading = true;
            break;
        case 'w':
            writing = true;
            break;
        case 'e':
            inherited = false;
            break;
        default:
            reading = writing = true; /* refused below */
        }
    if (reading == writing) {
        errno = EINVAL;
        return NULL;
    }
    return open_ours(command, reading, inherited);
}

/* As in libc, no cancellation point, and the shell's status comes before the stream's. */
static int finish(FILE *file, int (*libcs)(FILE *), const char *call)
{
    struct stream *stream = find(file);
    pid_t pid = stream ? stream->pid : 0;
    int state;
    if (stream)
        forget(stream);
    if (!pid)
        return libcs(file);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    int closed = coopdl_real.fclose(file);
    int status = coopdl_shell_wait(pid, call);
    pthread_setcancelstate(state, NULL);
    return status ? status : closed;
}

int coopdl_child_pclose(FILE *file)
{
    return finish(file, coopdl_real.pclose, "pclose");
}

int coopdl_child_fclose(FILE *file)
{
#ifdef __GLIBC__
    return finish(file, coopdl_real.fclose, "fclose");
#else
    struct stream *stream = find(file);
    if (stream)
        forget(stream);
    return coopdl_real.fclose(file);
#endif
}
