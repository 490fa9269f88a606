/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_signals.c -- a program that uses the signal of the kick, and SIGSYS, for
 * itself: what it prints is the same with the library (test_transparent.c).
 *
 * With an argument it also prints what only a process without a deadline can
 * have: masks and actions as the kernel has them, and a signalfd.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define KICK (SIGRTMAX - 5)

static volatile sig_atomic_t came, values;
static bool kernel;

static void count(int number)
{
    (void)number;
    came++;
}

static void add_value(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    came++;
    values = 10 * values + info->si_value.sival_int;
}

static void show_kernel(const char *when)
{
    char line[256];
    FILE *status = kernel ? fopen("/proc/thread-self/status", "re") : NULL;
    while (status && fgets(line, sizeof(line), status))
        if (strncmp(line, "Sig", 3) == 0 && line[3] != 'Q')
            printf("%s %s", when, line);
    if (status)
        fclose(status);
}

static void in_handler(int number)
{
    sigset_t mask;
    (void)number;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    printf("in the handler: SIGSYS %d\n", sigismember(&mask, SIGSYS));
    show_kernel("in the handler");
    came = 0;
    raise(SIGSYS);
    printf("in the handler: SIGSYS came %d times\n", (int)came);
}

static void show_action(int number)
{
    struct sigaction old;
    memset(&old, 0, sizeof(old));
    sigaction(number, NULL, &old);
    printf("%d: flags %x, %s a restorer, %s", number, (unsigned)old.sa_flags,
           old.sa_flags & 0x4000000 ? "with" : "without",
           old.sa_handler == SIG_DFL ? "default" : "set");
    for (int other = 1; other <= 64; other++)
        if (sigismember(&old.sa_mask, other) != 1)
            printf(", not %d", other);
    putchar('\n');
}

static void masks_of_handlers(void)
{
    struct sigaction action = {.sa_handler = count};
    sigaction(SIGSYS, &action, NULL);
    action.sa_handler = in_handler;
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(KICK, &action, NULL);
    show_action(SIGUSR1);
    show_action(KICK);
    raise(SIGUSR1);
    printf("after it: %d times\n", (int)came);
}

static void held(void)
{
    signal(KICK, count);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    sighold(KICK);
    kill(getpid(), KICK);
    printf("held: %d times\n", (int)came);
    sigrelse(KICK);
    printf("released: %d times\n", (int)came);
#pragma GCC diagnostic pop
}

static bool is_pending(void)
{
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, KICK) == 1;
}

static void queued(void)
{
    struct sigaction action = {.sa_sigaction = add_value, .sa_flags = SA_SIGINFO};
    sigset_t all, before;
    sigaction(KICK, &action, NULL);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    printf("pending: %d\n", is_pending());
    for (int value = 1; value <= 3; value++)
        sigqueue(getpid(), KICK, (union sigval){.sival_int = value});
    printf("pending: %d, came %d times\n", is_pending(), (int)came);
    sigprocmask(SIG_SETMASK, &before, NULL);
    printf("pending: %d, came %d times: %d\n", is_pending(), (int)came, (int)values);
}

static void taken(void)
{
    struct timespec now = {0};
    siginfo_t info;
    sigset_t all, one;
    sigfillset(&all);
    sigemptyset(&one);
    sigaddset(&one, KICK);
    sigprocmask(SIG_SETMASK, &all, NULL);
    raise(KICK);
    sigqueue(getpid(), KICK, (union sigval){.sival_int = 7});
    printf("%d ", sigwaitinfo(&one, &info) == KICK);
    printf("code %d\n", info.si_code);
    printf("%d ", sigtimedwait(&all, &info, &now) == KICK);
    printf("code %d, value %d\n", info.si_code, info.si_value.sival_int);
    printf("%d\n", sigtimedwait(&all, &info, &now));
}

static void suspended(void)
{
    sigset_t all, none;
    signal(KICK, count);
    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &all, NULL);
    raise(KICK);
    printf("came %d times, ", (int)came);
    int result = sigsuspend(&none);
    printf("%d: %d times\n", result, (int)came);
    sigprocmask(SIG_SETMASK, NULL, &none);
    printf("blocked again: %d\n", sigismember(&none, KICK));
}

static void restarted(void)
{
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    char byte = 0;
    int ends[2];
    if (pipe(ends) != 0)
        return;
    sigaction(KICK, &action, NULL);
    pid_t child = fork();
    if (child == 0) {
        poll(NULL, 0, 50);
        kill(getppid(), KICK);
        poll(NULL, 0, 50);
        _exit(write(ends[1], "x", 1) != 1);
    }
    ssize_t got = read(ends[0], &byte, 1);
    printf("read: %zd, came %d times\n", got, (int)came);
    waitpid(child, NULL, 0);
}

/* The second ends the process. */
static void once(void)
{
    struct sigaction action = {.sa_handler = count, .sa_flags = (int)SA_RESETHAND};
    sigaction(KICK, &action, NULL);
    raise(KICK);
    printf("came %d times\n", (int)came);
    fflush(stdout);
    raise(KICK);
    printf("still here\n");
}

static void from_a_descriptor(void)
{
    sigset_t all;
    struct signalfd_siginfo info;
    if (!kernel)
        return;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    raise(KICK);
    printf("signalfd: %zd\n", read(signalfd(-1, &all, SFD_NONBLOCK), &info, sizeof(info)));
    show_kernel("all blocked");
}

int main(int count_of_arguments, char **arguments)
{
    static void (*const cases[])(void) = {masks_of_handlers, held,      queued, taken,
                                          suspended,         restarted, once,   from_a_descriptor};
    (void)arguments;
    kernel = count_of_arguments > 1;
    show_kernel("begin");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = 0;
        fflush(stdout);
        if (fork() == 0) {
            alarm(5);
            cases[i]();
            return 0;
        }
        wait(&status);
        if (status)
            printf("case %u: status %x\n", i, (unsigned)status);
    }
}
