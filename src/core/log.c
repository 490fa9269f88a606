/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c -- COOPDL_LOG.
 *
 * Written where a call is cut, perhaps in a signal handler, perhaps inside
 * malloc: so no stdio.  A file is opened for each line: a descriptor that is
 * kept would be in the program's way, and gone after a daemon closes them all.
 */
#include "core/log.h"

#include "core/clock.h"
#include "core/policy.h"
#include "core/sys.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct line {
    char text[256];
    size_t length;
};

static void add(struct line *line, const char *text)
{
    while (*text && line->length < sizeof(line->text) - 1)
        line->text[line->length++] = *text++;
}

static void add_number(struct line *line, int64_t number)
{
    char digits[24], *digit = digits + sizeof(digits) - 1;
    *digit = '\0';
    do
        *--digit = (char)('0' + number % 10);
    while (number /= 10);
    add(line, digit);
}

static void begin(struct line *line)
{
    char name[16] = "";
    coopdl_sys(SYS_prctl, 16 /* PR_GET_NAME */, name);
    line->length = 0;
    add(line, "coopdl: ");
    add(line, name);
    add(line, "[");
    add_number(line, coopdl_sys(SYS_getpid));
    add(line, "/");
    add_number(line, coopdl_sys(SYS_gettid));
    add(line, "]: ");
}

static void end(struct line *line)
{
    line->text[line->length++] = '\n';
    if (strcmp(coopdl_policy.log, "-") == 0) {
        coopdl_sys(SYS_write, STDERR_FILENO, line->text, line->length);
        return;
    }
    long fd = coopdl_sys(SYS_openat, AT_FDCWD, coopdl_policy.log,
                         O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    coopdl_sys(SYS_write, fd, line->text, line->length);
    coopdl_sys(SYS_close, fd);
}

void coopdl_log_cut(const char *call, int budget, int64_t late)
{
    struct line line;
    if (!*coopdl_policy.log)
        return;
    begin(&line);
    add(&line, call);
    add(&line, budget ? " cut: budget ended " : " cut: scope expired ");
    add_number(&line, late / COOPDL_MICROSECOND);
    add(&line, " us ago");
    end(&line);
}

void coopdl_log_step(const char *signal)
{
    struct line line;
    if (!*coopdl_policy.log)
        return;
    begin(&line);
    add(&line, "budget ended and its grace is over: ");
    add(&line, signal);
    end(&line);
}

void coopdl_log_untrapped(const char *why)
{
    struct line line;
    if (!*coopdl_policy.log)
        return;
    begin(&line);
    add(&line, "the trap is not in use, threads are kicked again instead: ");
    add(&line, why);
    end(&line);
}
