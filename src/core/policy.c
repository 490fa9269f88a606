/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c -- the environment, read once before main.
 *
 * Who asked for a deadline must not run without one: a value that cannot be
 * understood ends the process here.  Under AT_SECURE the environment is not
 * ours to trust and is ignored.
 *
 * It walks `environ` itself: a program may bring a getenv and setenv of its own
 * (bash does), which are not ready yet.  The values are copied, since programs
 * write their titles over the environment.
 */
#include "core/policy.h"

#include "core/clock.h"
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

struct coopdl_policy coopdl_policy = {.deadline = COOPDL_NEVER};

#define DURATION_FORMS                                                                             \
    "accepted: seconds (5, 2.5) or numbers with units d h m s ms us ns (250ms, 1m30s), no sign, "  \
    "up to 292 years"

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

static const char *get(const char *name)
{
    char **entry = getauxval(AT_SECURE) ? NULL : find(name);
    return entry ? *entry + strlen(name) + 1 : NULL;
}

/* Adds or replaces "NAME=value", in a new array: what the program was started with is its own. */
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

static int64_t duration(const char *name, const char *value)
{
    int64_t ns;
    if (coopdl_duration(value, &ns))
        coopdl_refuse(name, value,
                      errno == ERANGE ? "is too long a duration; " DURATION_FORMS
                                      : "is not a duration; " DURATION_FORMS);
    return ns;
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
    if (budget) {
        int64_t end = coopdl_later(coopdl_clock(), duration("COOPDL_BUDGET", budget));
        if (end < deadline) {
            deadline = end;
            char *digit = entry + sizeof(entry) - 1;
            for (; digit[-1] != '='; end /= 10)
                *--digit = (char)('0' + end % 10);
            put("COOPDL_DEADLINE", entry);
        }
    }
    coopdl_policy.deadline = deadline;
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

/* A duration, or `off`. */
static int64_t step(const char *name, int64_t unset)
{
    const char *value = get(name);
    int64_t ns = COOPDL_NEVER;
    if (!value)
        return unset;
    if (strcmp(value, "off") != 0 && coopdl_duration(value, &ns))
        coopdl_refuse(name, value, "is not a duration; " DURATION_FORMS ", or off");
    return ns;
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
    /* High up, where the least is in use: 64 is valgrind's, the low ones are everybody's.  A
     * realtime signal that may not be queued is never sent, so without a queue it is SIGURG,
     * which is ignored by default. */
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

static void copy(char *to, size_t size, const char *name, const char *value)
{
    size_t length = strlen(value);
    if (length >= size)
        coopdl_refuse(name, value, "is too long");
    memcpy(to, value, length + 1);
}

static void read_log(void)
{
    const char *text = get("COOPDL_LOG");
    if (!text)
        return;
    if (strcmp(text, "1") == 0 || strcmp(text, "stderr") == 0) {
        text = "-";
    } else {
        long fd =
            coopdl_sys(SYS_openat, AT_FDCWD, text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            coopdl_refuse("COOPDL_LOG", text,
                          "cannot be written; accepted: 1, stderr, or the path of a file");
        coopdl_sys(SYS_close, fd);
    }
    copy(coopdl_policy.log, sizeof(coopdl_policy.log), "COOPDL_LOG", text);
}

void coopdl_policy_read(void)
{
    read_deadline();
    read_errno();
    coopdl_policy.grace = step("COOPDL_GRACE", 5 * COOPDL_SECOND);
    coopdl_policy.kill_after = step("COOPDL_KILL_AFTER", COOPDL_NEVER);
    read_signal();
    read_trap();
    read_log();
    const char *exclude = get("COOPDL_EXCLUDE_THREADS");
    if (exclude)
        copy(coopdl_policy.exclude, sizeof(coopdl_policy.exclude), "COOPDL_EXCLUDE_THREADS",
             exclude);
}
