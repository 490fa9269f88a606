/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdio_reader.c -- two threads inside libc's own read (fgets), which no wrapper
 * sees: prints the errno that ended each.  The second blocks all signals, as
 * libraries' threads do.  With an argument it bears the name "excluded" and waits
 * in poll, for half a second; it is printed only if that was cut.  With the argument
 * "alone" there is no second thread: glibc makes its calls by another instruction then.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int errno_of_fgets(void)
{
    int ends[2];
    char line[8];
    if (pipe(ends) < 0)
        return -1;
    FILE *stream = fdopen(ends[0], "r");
    return fgets(line, sizeof(line), stream) ? 0 : errno;
}

static void *in_thread(void *excluded)
{
    static int error;
    if (excluded) {
        prctl(PR_SET_NAME, "excluded");
        error = poll(NULL, 0, 500) < 0 ? errno : 0;
    } else {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, NULL);
        error = errno_of_fgets();
        (void)getppid(); /* a system call of libc's own while the trap is there */
    }
    return &error;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    void *error;
    bool alone = argc > 1 && strcmp(argv[1], "alone") == 0;
    if (!alone && pthread_create(&thread, NULL, in_thread, argc > 1 ? argv[1] : NULL))
        return 1;
    printf("main %d\n", errno_of_fgets());
    if (alone)
        return 0;
    pthread_join(thread, &error);
    if (*(int *)error)
        printf("thread %d\n", *(int *)error);
    return 0;
}
