/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c -- starts a program, reads what it says, bounded in time.
 *
 * What must hold: nothing that was started outlives its test.  Every program
 * gets a process group (coopdl would make the same one) that is killed before
 * its leader is reaped, so that the group's id is still ours.
 */
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_STARTED = 256 };

void (*before_exec)(void);

static struct process *all[MOST_STARTED];
static int started;
static char directory[64];

int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 * MS + time.tv_nsec;
}

const char *tested(const char *variable)
{
    const char *value = getenv(variable);
    cr_assert(value, "%s is not set: run these tests with meson", variable);
    return value;
}

void set_up(void)
{
    unsetenv("LD_PRELOAD");
    unsetenv("COOPDL_LIBRARY");
    unsetenv("COOPDL_BUDGET");
    unsetenv("COOPDL_DEADLINE");
    unsetenv("COOPDL_GRACE");
    unsetenv("COOPDL_KILL_AFTER");
    /* In a directory that may not be searched a name counts as found, and as not to be run. */
    setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
    /* A runner in the background may have them ignored. */
    static const int defaults[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE};
    for (int i = 0; i < 5; i++)
        signal(defaults[i], SIG_DFL);
}

static void end(struct process *process)
{
    struct rusage usage;
    if (process->pid == 0)
        return;
    kill(-process->pid, SIGKILL);
    kill(process->pid, SIGKILL);
    while (wait4(process->pid, &process->status, 0, &usage) < 0)
        ;
    process->pid = 0;
    process->cpu = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 * MS +
                   (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

void tear_down(void)
{
    for (int i = 0; i < started; i++) {
        end(all[i]);
        close(all[i]->pidfd);
        close(all[i]->out.fd);
        close(all[i]->err.fd);
        free(all[i]);
    }
    if (*directory) {
        char command[128];
        snprintf(command, sizeof(command), "rm -rf '%s'", directory);
        cr_expect_eq(system(command), 0);
    }
}

const char *scratch(const char *name)
{
    static char paths[16][128];
    static int next;
    if (!*directory) {
        strcpy(directory, "/tmp/coopdl-cli.XXXXXX");
        cr_assert(mkdtemp(directory));
        cr_assert_eq(chmod(directory, 0755), 0);
    }
    char *path = paths[next++ % 16];
    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

struct process *start(const char *const *argv)
{
    struct process *process = calloc(1, sizeof(*process));
    int out[2], err[2];
    cr_assert(process && started < MOST_STARTED);
    cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(err, O_CLOEXEC), 0);
    process->started = now();
    process->pid = fork();
    cr_assert_geq(process->pid, 0);
    if (process->pid == 0) {
        setpgid(0, 0);
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        if (before_exec)
            before_exec();
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        perror(argv[0]);
        _exit(96);
    }
    all[started++] = process;
    close(out[1]);
    close(err[1]);
    process->out.fd = out[0];
    process->err.fd = err[0];
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
    cr_assert_geq(process->pidfd, 0, "pidfd_open: %s", strerror(errno));
    return process;
}

/* What is there already; true at the end of the output. */
static bool take(struct output *output)
{
    for (;;) {
        size_t room = sizeof(output->text) - 1 - output->length;
        cr_assert_gt(room, 0, "too much output");
        ssize_t got = read(output->fd, output->text + output->length, room);
        if (got <= 0)
            return got == 0;
        output->length += (size_t)got;
    }
}

void await_text(struct process *process, struct output *output, const char *text)
{
    for (int64_t last = now() + 10000 * MS;;) {
        bool at_end = take(output);
        if (strstr(output->text, text))
            return;
        cr_assert(!at_end && now() < last, "no '%s' in '%s' (stderr: '%s')", text, output->text,
                  process->err.text);
        struct pollfd ready = {.fd = output->fd, .events = POLLIN};
        poll(&ready, 1, 100);
    }
}

void await_end(struct output *output)
{
    for (int64_t last = now() + 10000 * MS; !take(output);) {
        cr_assert_lt(now(), last, "no end of '%s'", output->text);
        struct pollfd ready = {.fd = output->fd, .events = POLLIN};
        poll(&ready, 1, 100);
    }
}

void await_exit(struct process *process)
{
    int64_t last = process->started + 15000 * MS;
    struct pollfd ready[] = {{.fd = process->pidfd, .events = POLLIN},
                             {.fd = process->out.fd, .events = POLLIN},
                             {.fd = process->err.fd, .events = POLLIN}};
    while (!(ready[0].revents & POLLIN) && now() < last) {
        poll(ready, 3, 100);
        for (int i = 1; i <= 2; i++)
            if (take(i == 1 ? &process->out : &process->err))
                ready[i].fd = -1;
    }
    bool ended = ready[0].revents & POLLIN;
    process->ended = now();
    end(process);
    take(&process->out);
    take(&process->err);
    cr_assert(ended, "still running after 15 s; stdout '%s', stderr '%s'", process->out.text,
              process->err.text);
}

struct process *run(const char *const *argv)
{
    struct process *process = start(argv);
    await_exit(process);
    return process;
}

const char *silent_port(void)
{
    static char text[8];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 5) == 0);
    cr_assert(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    snprintf(text, sizeof(text), "%d", ntohs(address.sin_port));
    return text;
}

int occurrences(const char *whole, const char *text)
{
    int count = 0;
    for (; (whole = strstr(whole, text)); whole += strlen(text))
        count++;
    return count;
}

int exit_status(const struct process *process)
{
    cr_assert(WIFEXITED(process->status), "ended by signal %d; stderr '%s'",
              WTERMSIG(process->status), process->err.text);
    return WEXITSTATUS(process->status);
}

void assert_one_line(const struct process *process, const char *const *words)
{
    const char *text = process->err.text;
    cr_assert(strncmp(text, "coopdl: ", 8) == 0 && occurrences(text, "\n") == 1 &&
                  text[process->err.length - 1] == '\n',
              "not one line of coopdl's: '%s'", text);
    for (; *words; words++)
        cr_assert(strstr(text, *words), "no \"%s\" in '%s'", *words, text);
}

void assert_refused(const struct process *process, const char *const *words)
{
    cr_assert_eq(exit_status(process), 125, "exit status %d, stderr '%s'", exit_status(process),
                 process->err.text);
    cr_assert_eq(process->out.length, 0, "something was started: '%s'", process->out.text);
    assert_one_line(process, words);
}
