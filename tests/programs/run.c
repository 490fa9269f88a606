/* SPDX-License-Identifier: Apache-2.0 */
/* run.c -- a real program, started, watched and ended by a test: see run.h. */
#include "run.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS 16

int64_t run_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static const char *expand(const char *word)
{
    const char *value;

    if (word[0] != '$')
        return word;
    value = getenv(word + 1);
    return value && value[0] ? value : NULL;
}

const char *run_missing(const char *const *command)
{
    for (; *command; command++)
        if (!expand(*command))
            return *command;
    return NULL;
}

void run_need(const char *const *command)
{
    const char *missing = run_missing(command);

    if (missing)
        cr_skip_test("%s was not found when the build was configured", missing + 1);
}

void run_preload(const char *budget)
{
    const char *library = getenv("COOPDL_LIBRARY");

    cr_assert(library, "COOPDL_LIBRARY is not set");
    setenv("LD_PRELOAD", library, 1);
    if (budget)
        setenv("COOPDL_BUDGET", budget, 1);
}

static void expand_all(const char *const *command, const char *words[WORDS])
{
    int count = 0;

    for (; command[count]; count++) {
        words[count] = expand(command[count]);
        cr_assert(count < WORDS - 1 && words[count], "word %d of %s", count, command[0]);
    }
    words[count] = NULL;
    cr_assert(count > 0);
}

/*
 * In the child: the signal mask and SIGPIPE are as a shell would have them, not
 * as the test's process happens to.
 */
static void become(const char *words[WORDS], int input, int output, int started)
{
    char *arguments[WORDS]; /* execvp has no const, for history's sake; it changes nothing */
    sigset_t none;
    int64_t now;

    memcpy(arguments, words, sizeof arguments);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    dup2(input, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);

    now = run_now();
    if (write(started, &now, sizeof now) == sizeof now)
        execvp(arguments[0], arguments);
    _exit(127);
}

void run_start(struct run *run, const char *const *command, int input, int output)
{
    const char *words[WORDS] = {0};
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    int started[2];

    expand_all(command, words);
    /* The program's children become this process's when it ends: none is missed. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    run->output = memfd_create("output", MFD_CLOEXEC);
    cr_assert(nothing >= 0 && run->output >= 0 && pipe2(started, O_CLOEXEC) == 0);

    run->pid = fork();
    if (run->pid == 0)
        become(words, input < 0 ? nothing : input, output < 0 ? run->output : output, started[1]);
    cr_assert(run->pid > 0 &&
              read(started[0], &run->started, sizeof run->started) == sizeof run->started);
    close(nothing);
    close(started[0]);
    close(started[1]);
}

/* waitid with WNOWAIT: looks, and leaves the status for run_wait. */
bool run_alive(const struct run *run)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

static void await_program(const struct run *run, int64_t until)
{
    struct pollfd program = {.fd = (int)syscall(SYS_pidfd_open, run->pid, 0), .events = POLLIN};
    int64_t left = until - run_now();

    cr_assert(program.fd >= 0);
    poll(&program, 1, left > 0 ? (int)(left / MILLISECOND) + 1 : 0);
    close(program.fd);
}

/* Takes the status of one process of the group.  0: none has ended yet; -1: none is left. */
static pid_t reap(struct run *run, int options)
{
    int status;
    pid_t pid = waitpid(-run->pid, &status, options);

    if (pid == run->pid)
        run->status = status;
    return pid;
}

bool run_wait(struct run *run, int64_t until)
{
    struct timespec moment = {0, MILLISECOND};
    pid_t pid;

    await_program(run, until);
    run->ended = run_now();
    while ((pid = reap(run, WNOHANG)) >= 0) {
        if (run->ended >= until)
            return false;
        /* What it leaves behind is not known by its id, so there is nothing to poll. */
        if (pid == 0)
            nanosleep(&moment, NULL);
        run->ended = run_now();
    }
    return true;
}

void run_kill(struct run *run)
{
    kill(-run->pid, SIGKILL);
    while (reap(run, 0) > 0)
        ;
}

const char *run_output(const struct run *run)
{
    struct stat info;
    char *text;

    cr_assert(fstat(run->output, &info) == 0);
    text = calloc(1, (size_t)info.st_size + 1);
    cr_assert(text && pread(run->output, text, (size_t)info.st_size, 0) == info.st_size);
    return text;
}

const char *run_end(const struct run *run)
{
    static char text[64];

    if (WIFEXITED(run->status))
        snprintf(text, sizeof text, "exit status %d", WEXITSTATUS(run->status));
    else
        snprintf(text, sizeof text, "signal %d (%s)", WTERMSIG(run->status),
                 strsignal(WTERMSIG(run->status)));
    return text;
}

double run_seconds(const struct run *run)
{
    return (double)(run->ended - run->started) / SECOND;
}

static pid_t servers;
static int servers_input;

static void publish(const char *server, int port)
{
    char name[64], value[64];

    snprintf(name, sizeof name, "%s_PORT", server);
    snprintf(value, sizeof value, "%d", port);
    setenv(name, value, 1);
    snprintf(name, sizeof name, "%s_URL", server);
    snprintf(value, sizeof value, "http://127.0.0.1:%d/", port);
    setenv(name, value, 1);
}

static void clear_environment(void)
{
    static const char *const names[] = {
        "LD_PRELOAD", "COOPDL_BUDGET",     "COOPDL_DEADLINE", "COOPDL_GRACE", "COOPDL_LOG",
        "http_proxy", "COOPDL_KILL_AFTER", "COOPDL_ERRNO",    "HTTP_PROXY",   "COOPDL_SIGNAL",
        "all_proxy",  "ALL_PROXY",         "COOPDL_TRAP"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

void servers_start(void)
{
    const char *program = getenv("SERVERS");
    int input[2], output[2], blackhole, drip;
    FILE *ports;

    clear_environment();
    cr_assert(program && pipe2(input, O_CLOEXEC) == 0 && pipe2(output, O_CLOEXEC) == 0);
    servers = fork();
    if (servers == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    close(input[0]);
    close(output[1]);
    servers_input = input[1];

    ports = fdopen(output[0], "r");
    cr_assert(ports && fscanf(ports, "blackhole %d drip %d", &blackhole, &drip) == 2,
              "%s did not start", program);
    fclose(ports);
    publish("BLACKHOLE", blackhole);
    publish("DRIP", drip);
}

void servers_end(void)
{
    close(servers_input);
    waitpid(servers, NULL, 0);
}
