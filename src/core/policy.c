/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c -- reads the environment once, before main.
 *
 * A program that was given a deadline must not run without it: a value that cannot be understood
 * ends the process here.  Under AT_SECURE the environment is not trusted, and is ignored.
 *
 * This file walks `environ` itself: a program may bring its own getenv and setenv (bash does),
 * which are not ready yet.  The values are copied, since programs overwrite the environment with
 * their titles.
 */
#include "core/policy.h"

#include "core/clock.h"
#include "core/line.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

struct coopdl_policy coopdl_policy = {.deadline = COOPDL_NEVER, .length = COOPDL_NEVER};

#define DURATION_FORMS                                                                             \
    "accepted: seconds (5, 2.5) or numbers with units d h m s ms us ns (250ms, 1m30s), no sign, "  \
    "or off"

void coopdl_refuse(const char *name, const char *value, const char *why)
{
    const char *parts[] = {"coopdl: ", name, "='", value, "' ", why, "\n"};
    enum { PARTS = sizeof(parts) / sizeof(parts[0]) };
    struct iovec line[PARTS];
    for (int i = 0; i < PARTS; i++)
        line[i] =
            (struct iovec){.iov_base = (void *)(uintptr_t)parts[i], .iov_len = strlen(parts[i])};
    coopdl_sys(SYS_writev, STDERR_FILENO, line, PARTS);
    for (;;)
        coopdl_sys(SYS_exit_group, 125);
}

/* The place in `environ` of a variable; null if it is not set. */
static char **find(const char *name)
{
    size_t length = strlen(name);
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return entry;
    return NULL;
}

/* Whether there is any variable of ours.  In most processes there is none, and each name would be
 * held against the whole environment. */
static bool any_is_set(void)
{
    static const char prefix[] = "COOPDL_";
    for (char **entry = environ; entry && *entry; entry++)
        if (**entry == *prefix && strncmp(*entry, prefix, sizeof(prefix) - 1) == 0)
            return true;
    return false;
}

static bool readable; /* there is one, and it may be believed */

static const char *get(const char *name)
{
    char **entry = readable ? find(name) : NULL;
    return entry ? *entry + strlen(name) + 1 : NULL;
}

/* Adds or replaces "NAME=value" in a new array: the array that the program was started with stays
 * unchanged. */
static void put(const char *name, char *entry)
{
    char **place = find(name);
    if (place) {
        *place = entry;
        return;
    }
    size_t count = 0;
    while (environ && environ[count])
        count++;
    long memory = coopdl_sys(SYS_mmap, 0, (count + 2) * sizeof(char *), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        coopdl_refuse("COOPDL_DEADLINE", entry, "cannot be handed to children: out of memory");
    char **fresh = (char **)memory;
    if (count)
        memcpy(fresh, environ, count * sizeof(char *));
    fresh[count] = entry;
    environ = fresh;
}

/* COOPDL_NEVER for `off`, `infinity`, and durations that are too long to be represented. */
static int64_t duration(const char *name, const char *value)
{
    int64_t ns = COOPDL_NEVER;
    if (strcmp(value, "off") != 0 && coopdl_duration(value, &ns) && errno != ERANGE)
        coopdl_refuse(name, value, "is not a duration; " DURATION_FORMS);
    return ns;
}

/* A time-out of 0 is none, as timeout(1) has it. */
static int64_t timeout(const char *name, const char *value)
{
    int64_t ns = duration(name, value);
    return ns ? ns : COOPDL_NEVER;
}

int64_t coopdl_number(const char *text, int64_t limit)
{
    int64_t value = 0;
    if (!*text)
        return -1;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *text - '0', &value) || value > limit)
            return -1;
    return *text ? -1 : value;
}

/* COOPDL_BUDGET counts from the first process that sees it: its children get COOPDL_DEADLINE. */
static void read_deadline(void)
{
    static char entry[] = "COOPDL_DEADLINE=9223372036854775807";
    const char *text = get("COOPDL_DEADLINE");
    int64_t deadline = COOPDL_NEVER;
    if (text && (deadline = coopdl_number(text, INT64_MAX)) < 0)
        coopdl_refuse("COOPDL_DEADLINE", text,
                      "is not a time; accepted: nanoseconds of CLOCK_MONOTONIC, as the library "
                      "writes it for its children");
    const char *budget = get("COOPDL_BUDGET");
    /* A process that has left the session of its budget has a deadline that never comes. */
    if (budget && !(text && deadline == COOPDL_NEVER)) {
        int64_t length = timeout("COOPDL_BUDGET", budget);
        int64_t end = coopdl_later(coopdl_clock(), length);
        if (end < deadline) {
            deadline = end;
            coopdl_policy.length = length;
            char *digit = entry + sizeof(entry) - 1;
            for (; digit[-1] != '='; end /= 10)
                *--digit = (char)('0' + end % 10);
            put("COOPDL_DEADLINE", entry);
            coopdl_policy.command = true;
        }
    }
    coopdl_policy.deadline = deadline;
}

/* The number that `*text` begins with, up to a comma or the end, and past that; -1 for none. */
static int64_t next_number(const char **text)
{
    char digits[24];
    size_t length = strcspn(*text, ",");
    if (length >= sizeof(digits))
        return -1;
    memcpy(digits, *text, length);
    digits[length] = '\0';
    *text += length + ((*text)[length] == ',');
    return coopdl_number(digits, INT64_MAX);
}

/* What the command coopdl says about itself, since it takes the steps of the ladder.  First come
 * the process that it has started (0: each process counts as that one), its signal and its grace.
 * Then come how long after the grace it kills, its own id, and the process group that it signals.
 * Last comes the descriptor for its record of ended calls, unless it keeps none. */
static void read_command(void)
{
    const char *text = get("COOPDL_COMMAND"), *rest = text;
    coopdl_policy.end_signal = coopdl_policy.grace == COOPDL_NEVER ? 0 : SIGTERM;
    coopdl_policy.cleanup = coopdl_policy.grace;
    if (!text)
        return;
    int64_t pid = next_number(&rest), signal = next_number(&rest), grace = next_number(&rest);
    int64_t kill_after = next_number(&rest), own = next_number(&rest), group = next_number(&rest);
    int64_t witness = *rest ? next_number(&rest) : 0;
    if (pid < 0 || signal < 0 || signal > SIGRTMAX || grace < 0 || kill_after < 0 || own <= 0 ||
        own > INT32_MAX || group < 0 || group > INT32_MAX || witness < 0)
        coopdl_refuse("COOPDL_COMMAND", text, "is not what coopdl writes for its command");
    coopdl_policy.supervisor = (int32_t)own;
    coopdl_policy.group = (int32_t)group;
    if (coopdl_policy.grace == COOPDL_NEVER) /* coopdl has set that */
        coopdl_policy.grace = grace;
    if (coopdl_policy.kill_after == COOPDL_NEVER)
        coopdl_policy.kill_after = kill_after;
    coopdl_policy.command |= pid == coopdl_sys(SYS_getpid);
    coopdl_policy.tree = pid == 0;
    coopdl_policy.end_signal = (int)signal;
    coopdl_policy.cleanup = grace;
    if (!witness)
        return;
    struct coopdl_line path = {.text = coopdl_policy.witness,
                               .size = sizeof(coopdl_policy.witness)};
    coopdl_add(&path, "/proc/");
    coopdl_add_number(&path, own);
    coopdl_add(&path, "/fd/");
    coopdl_add_number(&path, witness);
}

static void read_errno(void)
{
    const char *text = get("COOPDL_ERRNO");
    if (!text || strcmp(text, "escalate") == 0)
        coopdl_policy.error = ERRNO_ESCALATE;
    else if (strcmp(text, "eintr") == 0)
        coopdl_policy.error = ERRNO_EINTR;
    else if (strcmp(text, "etimedout") == 0)
        coopdl_policy.error = ERRNO_ETIMEDOUT;
    else
        coopdl_refuse("COOPDL_ERRNO", text, "is unknown; accepted: escalate, eintr, etimedout");
}

/* Only signals that no program means anything else by; 0 if the text names none of them. */
static int signal_number(const char *text)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"URG", SIGURG}};

    int value = (int)coopdl_number(text, SIGRTMAX);
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    if (strncmp(text, "RTMIN+", 6) == 0)
        value = SIGRTMIN + (int)coopdl_number(text + 6, SIGRTMAX - SIGRTMIN);
    else if (strncmp(text, "RTMAX-", 6) == 0)
        value = SIGRTMAX - (int)coopdl_number(text + 6, SIGRTMAX - SIGRTMIN);
    if (value >= SIGRTMIN && value <= SIGRTMAX)
        return value;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i].name) == 0 || value == names[i].number)
            return names[i].number;
    return 0;
}

static void read_signal(void)
{
    const char *text = get("COOPDL_SIGNAL");
    if (text) {
        coopdl_policy.signal = signal_number(text);
        if (!coopdl_policy.signal)
            coopdl_refuse("COOPDL_SIGNAL", text,
                          "cannot be the kick; accepted: RTMIN+n, RTMAX-n, USR1, USR2, URG, or "
                          "the number of one of them");
        return;
    }
    /* A high number, which few programs use: 64 is valgrind's, and the low ones are common.  Where
     * no signal can be queued, a realtime signal is never sent: then the kick is SIGURG, which is
     * ignored by default. */
    struct rlimit queue;
    coopdl_policy.signal = SIGRTMAX - 5;
    if (coopdl_sys(SYS_prlimit64, 0, RLIMIT_SIGPENDING, 0, &queue) == 0 && queue.rlim_cur == 0)
        coopdl_policy.signal = SIGURG;
}

static void read_trap(void)
{
    const char *text = get("COOPDL_TRAP");
    coopdl_policy.trap = !text || strcmp(text, "1") == 0;
    if (text && strcmp(text, "1") != 0 && strcmp(text, "0") != 0)
        coopdl_refuse("COOPDL_TRAP", text, "is unknown; accepted: 0, 1");
}

static void read_read(void)
{
    const char *text = get("COOPDL_READ");
    coopdl_policy.read_error = text && strcmp(text, "error") == 0;
    if (text && !coopdl_policy.read_error && strcmp(text, "signal") != 0)
        coopdl_refuse("COOPDL_READ", text, "is unknown; accepted: signal, error");
}

static void copy(char *to, size_t size, const char *name, const char *value)
{
    size_t length = strlen(value);
    if (length >= size)
        coopdl_refuse(name, value, "is too long");
    memcpy(to, value, length + 1);
}

static void read_log(void)
{
    const char *text = get("COOPDL_LOG"), *format = get("COOPDL_LOG_FORMAT");
    coopdl_policy.log_json = format && strcmp(format, "json") == 0;
    if (format && !coopdl_policy.log_json && strcmp(format, "text") != 0)
        coopdl_refuse("COOPDL_LOG_FORMAT", format, "is unknown; accepted: text, json");
    if (!text)
        return;
    coopdl_policy.debug = strcmp(text, "debug") == 0;
    if (strcmp(text, "1") == 0 || strcmp(text, "stderr") == 0 || coopdl_policy.debug) {
        text = "-";
    } else {
        long fd =
            coopdl_sys(SYS_openat, AT_FDCWD, text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            coopdl_refuse("COOPDL_LOG", text,
                          "cannot be written; accepted: 1, stderr, debug, or the path of a file");
        coopdl_sys(SYS_close, fd);
    }
    copy(coopdl_policy.log, sizeof(coopdl_policy.log), "COOPDL_LOG", text);
}

void coopdl_policy_read(void)
{
    readable = !getauxval(AT_SECURE) && any_is_set();
    read_deadline();
    read_errno();
    const char *hangup = get("COOPDL_HANGUP"), *grace = get("COOPDL_GRACE"),
               *kill_after = get("COOPDL_KILL_AFTER");
    coopdl_policy.hangup = hangup ? duration("COOPDL_HANGUP", hangup) : 250 * COOPDL_MILLISECOND;
    coopdl_policy.grace = grace ? duration("COOPDL_GRACE", grace) : 5 * COOPDL_SECOND;
    coopdl_policy.kill_after = kill_after ? timeout("COOPDL_KILL_AFTER", kill_after) : COOPDL_NEVER;
    read_command();
    read_signal();
    read_trap();
    read_read();
    read_log();
    const char *exclude = get("COOPDL_EXCLUDE_THREADS"), *measure = get("COOPDL_MEASURE");
    if (measure)
        copy(coopdl_policy.report, sizeof(coopdl_policy.report), "COOPDL_MEASURE", measure);
    if (exclude)
        copy(coopdl_policy.exclude, sizeof(coopdl_policy.exclude), "COOPDL_EXCLUDE_THREADS",
             exclude);
}
