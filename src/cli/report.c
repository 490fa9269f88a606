/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c -- where the time of COMMAND and of all that it has started went, by the
 * table that the library in each of these processes writes to (core/waits.h).
 *
 * "Running" is what the kernel says that all processes have computed that were waited
 * for.  "Waiting" is the sum over all calls of all threads: of two threads that wait at
 * once both count.  Calls that go past the wrappers (inside libc, to a lock) are not seen, and
 * are in neither; one that the deadline has cut there has a row, of no time where it is not
 * known.
 *
 * What must hold: a text that a process wrote may be anything: what is no text is left
 * out, and JSON stays JSON.  What is wrong with FILE is said before COMMAND is started.
 */
#include "report.h"

#include "../core/line.h"
#include "../core/waits.h"
#include "coopdl.h"
#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_ROWS = 20 };

static struct coopdl_waits *waits;
static int table = -1;
static FILE *report;
static bool json;

static FILE *open_file(const char *path)
{
    FILE *file = fopen(path, "we");
    size_t length = strlen(path);
    if (!file)
        fail("cannot write the report to '%s': %s; accepted are --report, --report=json, which "
             "write to stderr, and --report=FILE",
             path, strerror(errno));
    json = length >= 5 && strcmp(path + length - 5, ".json") == 0;
    return file;
}

void report_open(const char *where)
{
    json = strcmp(where, "json") == 0;
    report =
        json || strcmp(where, "stderr") == 0 || strcmp(where, "1") == 0 ? stderr : open_file(where);
    table = (int)syscall(SYS_memfd_create, COOPDL_WAITS_FILE, MFD_CLOEXEC);
    if (table < 0 || ftruncate(table, sizeof(*waits)) != 0)
        fail("cannot make the table for the report: %s", strerror(errno));
    waits = mmap(NULL, sizeof(*waits), PROT_READ | PROT_WRITE, MAP_SHARED, table, 0);
    if (waits == MAP_FAILED)
        fail("cannot map the table for the report: %s", strerror(errno));
    waits->version = COOPDL_WAITS_VERSION;
    waits->size = sizeof(*waits);
}

void report_introduce(pid_t own)
{
    char path[40];
    if (!report)
        return;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)own, table);
    if (setenv("COOPDL_MEASURE", path, 1) != 0 || unsetenv("COOPDL_REPORT") != 0)
        fail("cannot set COOPDL_MEASURE: %s", strerror(errno));
}

void report_ended(pid_t pid)
{
    if (report)
        coopdl_waits_ended(waits, (int32_t)pid, coopdl_now());
}

/* How many bytes of UTF-8 a character takes up here; 0: it is none, or one that controls. */
static int character(const unsigned char *c)
{
    int more = *c < 0x80 ? 0 : *c >= 0xc2 && *c < 0xe0 ? 1 : (*c & 0xf0) == 0xe0 ? 2 : 3;
    if (*c < ' ' || *c == 0x7f || (*c >= 0x80 && *c < 0xc2) || *c > 0xf4)
        return 0;
    for (int i = 1; i <= more; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    /* Too long a form, a half of a pair, or above the last one. */
    if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) || (*c == 0xf0 && c[1] < 0x90) ||
        (*c == 0xf4 && c[1] > 0x8f))
        return 0;
    return more + 1;
}

/* A row as it is read: its texts are texts, whoever has written them. */
struct row {
    uint64_t count, total, longest;
    uint32_t cuts, unfinished;
    char program[16], call[24], library[48], function[64],
        target[sizeof(((struct coopdl_waits_row *)0)->target)];
};

static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (unsigned char *c = (unsigned char *)text; *c;) {
        int length = character(c);
        if (!length)
            *c = '?';
        c += length ? length : 1;
    }
}

static int by_time(const void *one, const void *other)
{
    const struct row *a = one, *b = other;
    return a->total != b->total ? (a->total < b->total ? 1 : -1)
                                : (a->cuts < b->cuts) - (a->cuts > b->cuts);
}

#define COPY(to, from)                                                                             \
    (memcpy(to, from, sizeof(to) < sizeof(from) ? sizeof(to) : sizeof(from)), clean(to, sizeof(to)))

/* Those that have calls, the longest first; the caller frees them. */
static struct row *read_rows(size_t *count)
{
    struct row *rows = calloc(COOPDL_WAITS_ROWS, sizeof(*rows));
    *count = 0;
    for (int i = 0; rows && i < COOPDL_WAITS_ROWS; i++) {
        const struct coopdl_waits_row *from = &waits->rows[i];
        struct row *row = &rows[*count];
        row->count = atomic_load(&from->count);
        if (!row->count || (i && !atomic_load(&from->ready)))
            continue;
        row->total = atomic_load(&from->total);
        row->longest = atomic_load(&from->longest);
        row->cuts = atomic_load(&from->cuts);
        row->unfinished = atomic_load(&from->unfinished);
        COPY(row->program, from->program);
        COPY(row->call, from->call);
        COPY(row->library, from->library);
        COPY(row->function, from->function);
        COPY(row->target, from->target);
        ++*count;
    }
    if (rows)
        qsort(rows, *count, sizeof(*rows), by_time);
    return rows;
}

static int64_t running(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_CHILDREN, &usage) != 0)
        return 0;
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * COOPDL_SECOND +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * COOPDL_MICROSECOND;
}

static uint64_t total_of(const struct row *rows, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += rows[i].total;
    return total;
}

/* JSON */

static void put_string(const char *text)
{
    fputc('"', report);
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int length = character(c);
        if (*c == '"' || *c == '\\')
            fputc('\\', report);
        if (length)
            fwrite(c, 1, (size_t)length, report);
        else if (*c < 0x80)
            fprintf(report, "\\u%04x", *c);
        else
            fputc('?', report);
        c += length ? length : 1;
    }
    fputc('"', report);
}

static void put_text(const char *key, const char *text)
{
    fprintf(report, "\"%s\":", key);
    if (*text)
        put_string(text);
    else
        fputs("null", report);
    fputc(',', report);
}

static void put_row(const struct row *row)
{
    fputc('{', report);
    put_text("program", row->program);
    put_text("library", row->library);
    put_text("function", row->function);
    put_text("call", row->call);
    put_text("target", row->target);
    fprintf(report,
            "\"count\":%" PRIu64 ",\"total_us\":%" PRIu64 ",\"longest_us\":%" PRIu64
            ",\"cut\":%" PRIu32 ",\"unfinished\":%" PRIu32 "}",
            row->count, row->total / 1000, row->longest / 1000, row->cuts, row->unfinished);
}

static void write_json(const struct outcome *outcome, const struct row *rows, size_t count)
{
    fputs("{\"coopdl\":", report);
    put_string(coopdl_version());
    fputs(",\"command\":[", report);
    for (char **word = outcome->command; *word; word++) {
        fputs(word == outcome->command ? "" : ",", report);
        put_string(*word);
    }
    fputs("],\"deadline_us\":", report);
    if (outcome->length == COOPDL_NEVER)
        fputs("null", report);
    else
        fprintf(report, "%" PRId64, outcome->length / 1000);
    fprintf(report, ",\"late\":%s", outcome->late ? "true" : "false");
    if (WIFSIGNALED(outcome->status))
        fprintf(report, ",\"exit\":null,\"signal\":%d", WTERMSIG(outcome->status));
    else
        fprintf(report, ",\"exit\":%d,\"signal\":null", WEXITSTATUS(outcome->status));
    fprintf(report,
            ",\"elapsed_us\":%" PRId64 ",\"running_us\":%" PRId64 ",\"waiting_us\":%" PRIu64
            ",\"processes\":%" PRIu32 ",\"waits\":[",
            outcome->elapsed / 1000, running() / 1000, total_of(rows, count) / 1000,
            atomic_load(&waits->processes));
    for (size_t i = 0; i < count; i++) {
        fputs(i ? "," : "", report);
        put_row(&rows[i]);
    }
    fputs("]}\n", report);
}

/* Text */

static const char *duration(int64_t ns, char *text, size_t size)
{
    struct coopdl_line line = {.size = size};
    line.text = text;
    if (ns < COOPDL_MILLISECOND) {
        coopdl_add_number(&line, ns / COOPDL_MICROSECOND);
        coopdl_add(&line, "us");
    } else {
        coopdl_add_duration(&line, ns);
    }
    return text;
}

/* How wide a line may be; 0: as wide as it is. */
static size_t width(void)
{
    struct winsize size;
    return isatty(fileno(report)) && ioctl(fileno(report), TIOCGWINSZ, &size) == 0 ? size.ws_col
                                                                                   : 0;
}

static bool is_coloured(void)
{
    const char *no_color = getenv("NO_COLOR");
    return isatty(fileno(report)) && !(no_color && *no_color);
}

static void describe(const struct row *row, struct coopdl_line *line)
{
    if (!row->call[0]) {
        coopdl_add(line, "what found no room in the table");
        return;
    }
    coopdl_add(line, row->program);
    coopdl_add(line, " in ");
    coopdl_add(line, row->call);
    coopdl_add(line, "()");
    if (row->target[0]) {
        coopdl_add(line, " on ");
        coopdl_add(line, row->target);
    }
    if (row->library[0]) {
        coopdl_add(line, " (");
        coopdl_add(line, row->library);
        if (row->function[0]) {
            coopdl_add_char(line, ' ');
            coopdl_add(line, row->function);
        }
        coopdl_add_char(line, ')');
    }
}

/* Cut off where the line is full, with three dots, and never inside a character. */
static void shorten(char *text, size_t room)
{
    size_t length = strlen(text);
    if (!room || length <= room)
        return;
    size_t end = room > 3 ? room - 3 : 0;
    while (end && ((unsigned char)text[end] & 0xc0) == 0x80)
        end--;
    memcpy(text + end, "...", room > 3 ? 3 : 0);
    text[room > 3 ? end + 3 : end] = '\0';
}

static void print_row(const struct row *row, bool coloured)
{
    enum { COLUMNS = 36 }; /* before the text */
    char total[32], longest[32], text[400];
    struct coopdl_line line = {.text = text, .size = sizeof(text)};
    const char *mark = row->cuts ? "cut" : row->unfinished ? "ended" : "";
    size_t columns = width();
    describe(row, &line);
    shorten(text, columns > COLUMNS + 8 ? columns - COLUMNS : columns ? 8 : 0);
    fprintf(report, "%9s %7" PRIu64 " %9s  %s%-5s%s  %s\n",
            duration((int64_t)row->total, total, sizeof(total)), row->count,
            duration((int64_t)row->longest, longest, sizeof(longest)),
            coloured && *mark ? "\033[31m" : "", mark, coloured && *mark ? "\033[0m" : "", text);
}

static bool is_shown(const struct row *row, size_t place, uint64_t total)
{
    return row->cuts || row->unfinished || !row->call[0] ||
           (place < MOST_ROWS && row->total >= total / 1000);
}

static void write_text(const struct outcome *outcome, const struct row *rows, size_t count)
{
    char elapsed[32], run[32], waited[32], rest[32];
    uint64_t total = total_of(rows, count), left = 0;
    size_t others = 0;
    bool coloured = is_coloured();
    uint32_t processes = atomic_load(&waits->processes);
    fprintf(report, "%s: '%s' took %s%s: %s running, %s waiting in %" PRIu32 " process%s\n",
            program_invocation_short_name, outcome->command[0],
            duration(outcome->elapsed, elapsed, sizeof(elapsed)),
            outcome->late ? ", past its deadline" : "", duration(running(), run, sizeof(run)),
            duration((int64_t)total, waited, sizeof(waited)), processes,
            processes == 1 ? "" : "es");
    if (count)
        fputs("   waited   calls   longest         where\n", report);
    else
        fputs(processes ? "no call was seen\n"
                        : "nothing was measured: the library was in no process\n",
              report);
    for (size_t i = 0; i < count; i++) {
        if (is_shown(&rows[i], i, total)) {
            print_row(&rows[i], coloured);
        } else {
            others++;
            left += rows[i].total;
        }
    }
    if (others)
        fprintf(report, "%9s in %zu more places\n", duration((int64_t)left, rest, sizeof(rest)),
                others);
}

void report_write(const struct outcome *outcome)
{
    size_t count;
    if (!report)
        return;
    /* Who is still there has left the deadline, or outlives it: what it is in goes on. */
    for (int i = 0; i < COOPDL_WAITS_LIVE; i++) {
        int32_t pid = (int32_t)(atomic_load(&waits->live[i].owner) >> 32);
        if (pid > 0 && (outcome->killed || (kill(pid, 0) != 0 && errno == ESRCH)))
            report_ended(pid);
    }
    struct row *rows = read_rows(&count);
    if (!rows)
        return;
    (json ? write_json : write_text)(outcome, rows, count);
    free(rows);
    if ((report == stderr ? fflush(report) : fclose(report)) == EOF)
        say("cannot write the report: %s", strerror(errno));
    report = NULL;
}
