/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_calls.c -- system calls by number, and odd arguments: what it prints is
 * the same with the library (test_transparent.c).
 *
 * Each case runs in a child, and says how the child ended if a signal did it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The kick's, if nothing else is said. */
#define KICK (SIGRTMAX - 5)

static void *bad;
static int calls;

static void handle(int number)
{
    (void)number;
    calls++;
}

static void alarm_soon(void)
{
    struct itimerval soon = {.it_value.tv_usec = 20000};
    setitimer(ITIMER_REAL, &soon, NULL);
}

static void show(const char *name, long result)
{
    printf("%s: %ld %s\n", name, result, result == -1 ? strerror(errno) : "");
}

static void sleep_raw_on_own_time(void)
{
    struct timespec time = {.tv_nsec = 5000000};
    show("clock_nanosleep", syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &time, 0));
}

static void sleep_raw_with_a_bad_rest(void)
{
    struct timespec time = {.tv_sec = 2};
    alarm_soon();
    show("clock_nanosleep", syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &time, bad));
}

static void sleep_with_a_bad_rest(void)
{
    struct timespec time = {.tv_sec = 2};
    alarm_soon();
    printf("clock_nanosleep: %s\n", strerror(clock_nanosleep(CLOCK_REALTIME, 0, &time, bad)));
    alarm_soon();
    show("nanosleep", nanosleep(&time, bad));
}

static void sleep_into_the_same(void)
{
    struct timespec time = {.tv_sec = 2};
    alarm_soon();
    printf("clock_nanosleep: %s", strerror(clock_nanosleep(CLOCK_REALTIME, 0, &time, &time)));
    printf(", %ld s left, and %s\n", (long)time.tv_sec, time.tv_nsec > 0 ? "more" : "no more");
}

static void bad_times(void)
{
    show("pselect6", syscall(SYS_pselect6, 0, 0, 0, 0, bad, 0));
    show("ppoll", syscall(SYS_ppoll, 0, 0, bad, 0, 8));
    show("mq_timedreceive", syscall(SYS_mq_timedreceive, -1, bad, 4, 0, bad));
    show("select", select(0, bad, NULL, NULL, &(struct timeval){0}));
    struct timespec minus = {.tv_nsec = -1};
    show("ppoll", syscall(SYS_ppoll, 0, 0, &minus, 0, 8));
}

static void old_select(void)
{
#ifdef SYS_select
    struct timeval odd = {.tv_usec = 2000000}, minus = {.tv_sec = -1};
    alarm_soon();
    show("select", syscall(SYS_select, 0, 0, 0, 0, &odd));
    show("select", syscall(SYS_select, 0, 0, 0, 0, &minus));
    show("select", syscall(SYS_select, 0, 0, 0, 0, bad));
#endif
}

static void what_is_left(void)
{
    struct timespec time = {.tv_sec = 1};
    int ends[2];
    fd_set set;
    FD_ZERO(&set);
    if (pipe(ends) != 0 || write(ends[1], "x", 1) != 1)
        return;
    FD_SET(ends[0], &set);
    show("pselect6", syscall(SYS_pselect6, ends[0] + 1, &set, 0, 0, &time, 0));
    printf("%s\n", time.tv_sec == 1 ? "unchanged" : "written back");
    time = (struct timespec){.tv_nsec = 1000000};
    show("ppoll", syscall(SYS_ppoll, 0, 0, &time, 0, 8));
    printf("%ld ns left\n", time.tv_nsec);
}

static void sizes_of_sets(void)
{
    struct timespec now = {0};
    sigset_t set;
    sigemptyset(&set);
    show("ppoll", syscall(SYS_ppoll, 0, 0, &now, &set, 16));
    show("rt_sigtimedwait", syscall(SYS_rt_sigtimedwait, &set, 0, &now, 16));
    alarm_soon();
    show("rt_sigsuspend", syscall(SYS_rt_sigsuspend, &set, 16));
    show("epoll_pwait", syscall(SYS_epoll_pwait, -1, bad, 1, 0, 0, 99));
}

/* Told as the kernel does: libc says SI_USER. */
static void code_of_a_signal(void)
{
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    show("rt_sigtimedwait", syscall(SYS_rt_sigtimedwait, &set, &info, 0, 8));
    printf("code %d\n", info.si_code);
}

static void flags(void)
{
    int status;
    show("wait4", syscall(SYS_wait4, -1, &status, 0x40, 0));
    show("accept4", syscall(SYS_accept4, -1, 0, 0, 0x7fff));
    show("preadv2", syscall(SYS_preadv2, 0, bad, 1, 0, 0, 0x8000));
    show("read", syscall(SYS_read, -1, bad, 4));
    show("fcntl", syscall(SYS_fcntl, 0, 9 /* F_GETOWN */, 0));
    show("openat", syscall(SYS_openat, -1, "/dev/null", 0, 0) >= 0);
    show("sigprocmask", sigprocmask(99, &(sigset_t){0}, NULL));
}

static void sigsuspend_bad(void)
{
    show("sigsuspend", sigsuspend(bad));
}

static void sigprocmask_bad(void)
{
    show("sigprocmask", sigprocmask(SIG_BLOCK, bad, NULL));
}

static void sigaction_bad(void)
{
    show("sigaction", sigaction(KICK, bad, NULL));
}

static void show_action(const struct sigaction *action)
{
    printf("flags %x, %s a restorer, handler %s\n", (unsigned)action->sa_flags,
           action->sa_flags & 0x4000000 ? "with" : "without",
           action->sa_handler == SIG_DFL ? "default" : "set");
    for (int number = 1; number <= 64; number++)
        if (sigismember(&action->sa_mask, number) != 1)
            printf("not %d\n", number);
}

static void actions(void)
{
    struct sigaction action = {.sa_handler = handle}, old;
    sigfillset(&action.sa_mask);
    memset(&old, 0xa5, sizeof(old));
    sigaction(KICK, &action, NULL);
    sigaction(KICK, NULL, &old);
    show_action(&old);
    action.sa_flags = SA_RESETHAND;
    sigaction(KICK, &action, NULL);
    raise(KICK);
    sigaction(KICK, NULL, &old);
    printf("%d calls, then ", calls);
    show_action(&old);
}

int main(void)
{
    static void (*const cases[])(void) = {
        sleep_raw_on_own_time,
        sleep_raw_with_a_bad_rest,
        sleep_with_a_bad_rest,
        sleep_into_the_same,
        bad_times,
        old_select,
        what_is_left,
        sizes_of_sets,
        code_of_a_signal,
        flags,
        sigsuspend_bad,
        sigprocmask_bad,
        sigaction_bad,
        actions,
    };
    struct sigaction action = {.sa_handler = handle};
    bad = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaction(SIGALRM, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = 0;
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
