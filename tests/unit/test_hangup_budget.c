/* SPDX-License-Identifier: Apache-2.0 */
/* test_hangup_budget.c -- the hang-up at the end of a budget. */
#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#ifndef __SANITIZE_ADDRESS__
/* Runs stubborn.c under a budget of 100 ms, with a socket for its standard input. */
struct outcome {
    int status, waited_for, looked_at, error, listens;
    bool alive;
};

static struct outcome be_stubborn(const char *settings)
{
    struct outcome o = {.status = -1, .waited_for = -1, .looked_at = -1, .error = -1};
    int pair[2], output[2];
    char line[4096], word[64];
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(output) == 0);
    snprintf(line, sizeof(line), "exec env %s COOPDL_BUDGET=100ms LD_PRELOAD='%s' '%s'", settings,
             getenv("COOPDL_LIBRARY"), getenv("COOPDL_STUBBORN"));
    pid_t child = fork();
    if (child == 0) {
        dup2(pair[0], 0);
        dup2(output[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(126);
    }
    close(output[1]);
    FILE *lines = fdopen(output[0], "r");
    int number;
    while (fscanf(lines, "%d %63[^\n]", &number, word) == 2)
        *(*word == 'w'   ? &o.waited_for
          : *word == 'l' ? &o.looked_at
          : *word == 'c' ? &o.error
                         : &o.listens) = number;
    fclose(lines);
    o.status = status_of(child);
    o.alive = recv(pair[1], word, sizeof(word), MSG_DONTWAIT) == 5;
    close(pair[0]);
    close(pair[1]);
    return o;
}

static void expect_ends(struct outcome o, int first, int second)
{
    int latest = LATEST / MS;
    cr_expect(o.status == 0, "status %x", o.status);
    cr_expect(o.waited_for >= first && o.waited_for < first + latest, "%d ms", o.waited_for);
    cr_expect(o.looked_at >= second && o.looked_at < second + latest, "%d ms", o.looked_at);
    cr_expect(o.error == ETIMEDOUT, "%s", strerror(o.error));
    cr_expect(o.listens == 1 && o.alive);
}

/* By the order of the log and not by the time: those that a call was cut on come first, although
 * the other one has the lower number. */
Test(hangup, under_a_budget_in_two_rounds)
{
    char path[] = "/tmp/coopdl-test-XXXXXX", settings[100], log[8192];
    int file = mkstemp(path);
    cr_assert(file >= 0);
    snprintf(settings, sizeof(settings), "COOPDL_LOG=%s", path);
    struct outcome o = be_stubborn(settings);
    ssize_t size = read(file, log, sizeof(log) - 1);
    close(file);
    unlink(path);
    cr_expect(o.status == 0 && size > 0);
    log[size > 0 ? size : 0] = '\0';
    const char *first = strstr(log, "coopdl=hangup "),
               *second = first ? strstr(first + 1, "coopdl=hangup ") : NULL;
    cr_assert(second, "%s", log);
    cr_expect(atoi(strstr(first, " fd=") + 4) > atoi(strstr(second, " fd=") + 4), "%s", log);
}

Test(hangup, under_a_budget)
{
    expect_ends(be_stubborn(""), 250, 500);
    expect_ends(be_stubborn("COOPDL_HANGUP=50ms"), 50, 300);
}

Test(hangup, under_a_budget_it_can_be_turned_off)
{
    struct outcome o = be_stubborn("COOPDL_HANGUP=off COOPDL_GRACE=700ms");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGTERM, "%x", o.status);
    cr_expect(o.waited_for == -1 && o.looked_at == -1);
}
#endif
