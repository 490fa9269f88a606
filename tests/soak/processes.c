/* SPDX-License-Identifier: Apache-2.0 */
/*
 * processes.c -- processes whose connections are hung up under a budget, beside
 * bystanders of this process's own, which are not to be.
 *
 *     processes PROGRAM COUNT
 *
 * So many times starts PROGRAM (stubborn), some at once, which ends when its
 * connections have.  Each is born with one end of a pair of sockets for its standard
 * input, with a connection of ours, and with our listener.  After each of them these
 * must still work: 0 hit is wanted.
 */
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 16, MOST_LATE = 1000 };

struct run {
    pid_t child; /* 0: none */
    int input[2];
};

static struct sockaddr_in address;
static socklen_t length = sizeof(address);
static int listener, connection[2];
static long ended, failed, hit, late;

static int connect_once(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&address, length) == 0 ? fd : -1;
}

static bool passes(int from, int to)
{
    char byte;
    return send(from, "x", 1, MSG_NOSIGNAL) == 1 && recv(to, &byte, 1, MSG_DONTWAIT) == 1;
}

static void start(struct run *run, const char *program)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, run->input) != 0)
        err(1, "a pair");
    run->child = fork();
    if (run->child == 0) {
        dup2(run->input[0], 0);
        const char *library = getenv("COOPDL_LIBRARY");
        if (!library || !freopen("/dev/null", "w", stdout))
            _exit(126);
        setenv("LD_PRELOAD", library, 1);
        setenv("COOPDL_BUDGET", "500ms", 1);
        setenv("COOPDL_HANGUP", "20ms", 1);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
}

/* What it was born with still works, the pair after it has answered there. */
static void check(struct run *run, int status)
{
    char word[8];
    int other = connect_once(), accepted = accept(listener, NULL, NULL);
    bool works = recv(run->input[1], word, sizeof(word), MSG_DONTWAIT) == 5 &&
                 passes(run->input[0], run->input[1]) && passes(run->input[1], run->input[0]) &&
                 passes(connection[0], connection[1]) && passes(connection[1], connection[0]) &&
                 accepted >= 0 && passes(other, accepted);
    /* On a busy machine the budget may end before it has connected: another one takes its place. */
    bool too_late = WIFEXITED(status) && WEXITSTATUS(status) == 1;
    late += too_late;
    ended++;
    failed += status != 0 && !too_late;
    hit += status == 0 && !works;
    close(other);
    close(accepted);
    close(run->input[0]);
    close(run->input[1]);
    run->child = 0;
}

int main(int argc, char **argv)
{
    struct run runs[AT_ONCE] = {0};
    long left = argc == 3 ? strtol(argv[2], NULL, 10) : 0, running = 0;
    if (left <= 0 || !getenv("COOPDL_LIBRARY"))
        errx(125, "usage: processes PROGRAM COUNT, with COOPDL_LIBRARY set");
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 100) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        err(1, "a listener");
    connection[0] = connect_once();
    connection[1] = accept(listener, NULL, NULL);
    while (left || running) {
        for (int i = 0; i < AT_ONCE && left; i++)
            if (!runs[i].child) {
                start(&runs[i], argv[1]);
                left--;
                running++;
            }
        int status;
        pid_t child = wait(&status);
        for (int i = 0; i < AT_ONCE; i++)
            if (child > 0 && runs[i].child == child) {
                long before = late;
                check(&runs[i], status);
                running--;
                left += late > before && late < MOST_LATE;
            }
    }
    printf("1..2\n# %ld processes were hung up\n", ended - failed - late);
    printf("%sok 1 - each process was: %ld were not\n", ended && !failed ? "" : "not ", failed);
    printf("%sok 2 - no bystander was: %ld were hit\n", hit ? "not " : "", hit);
    return 0;
}
