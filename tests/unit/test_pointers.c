/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pointers.c -- pointers that the kernel answers with EFAULT: each row of
 * the table that has a pointer is called with an unreadable page for it, and
 * with a page that cannot be written.
 *
 * The call is made in a child, each time anew: by libc's own function, or past
 * libc for a system call; and by the wrapper without a deadline, in a scope of
 * an hour, and after expiry.  The outcome is to be the same: the result and
 * errno, or the signal that ends a program which libc itself has crash.  After
 * expiry only what is answered without waiting: a call that waits without the
 * library is cut there.  A timer ends the wait of those.
 */
#include "support.h"

#include "core/sys.h"

#include <aio.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
TestSuite(pointers, .timeout = 60);

#if defined(__LP64__) && defined(__GLIBC__) /* arguments are longs */

#include "pointers_rows.h"

#include <gnu/libc-version.h>

enum way { PLAIN, NO_DEADLINE, FAR_DEADLINE, EXPIRED, WAYS };
static const char *const ways[] = {"plain", "without a deadline", "far deadline", "expired"};

struct outcome {
    long result;
    int error, status;
    bool waited;
};

static struct outcome *reported;
static volatile sig_atomic_t alarms;

static void on_alarm(int number)
{
    (void)number;
    reported->waited = true;
    if (++alarms > 3) /* libc waits on */
        _exit(98);
}

typedef long function(long a, long b, long c, long d, long e, long f);

static void call(const char *name, function *target, long number, enum way way, const long *a)
{
    static coopdl_scope scope;
    struct itimerval soon = {{.tv_usec = 5000}, {.tv_usec = 5000}};
    struct sigaction action = {.sa_handler = on_alarm};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigaction(SIGALRM, &action, NULL);
    siginfo_t ended;
    pid_t child = fork(); /* for those that wait for one */
    if (child == 0)
        _exit(7);
    coopdl_sys(SYS_waitid, P_PID, child, &ended, WEXITED | WNOWAIT, 0);
    if (way == FAR_DEADLINE || way == EXPIRED)
        coopdl_enter(&scope, way == EXPIRED ? 0 : coopdl_after(3600 * COOPDL_SECOND));
    if (way == EXPIRED)
        await_expiry(&scope);
    if (!strstr(name, "exec")) /* the new program would have the timer */
        setitimer(ITIMER_REAL, &soon, NULL);
    errno = 0;
    if (target) {
        reported->result = target(a[0], a[1], a[2], a[3], a[4], a[5]);
    } else if (way == PLAIN) {
        long result = coopdl_sys6(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        errno = result < 0 ? (int)-result : 0;
        reported->result = result < 0 ? -1 : result;
    } else {
        reported->result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    reported->error = errno;
    bool is_pointer = reported->result > UINT32_MAX;
    reported->result = (int)reported->result;
    if (is_pointer || reported->result > 1000) /* one, or a process: another one each time */
        reported->result = 1000;
    _exit(99);
}

static struct outcome outcome_of(const char *name, function *target, long number, enum way way,
                                 const long *a)
{
    *reported = (struct outcome){.result = 0};
    pid_t child = fork();
    if (child == 0)
        call(name, target, number, way, a);
    reported->status = status_of(child);
    return *reported;
}

static bool is_same(const struct outcome *plain, const struct outcome *seen)
{
    return plain->status == seen->status && plain->result == seen->result &&
           (plain->result != -1 || plain->error == seen->error);
}

/* For a child, and not for long. */
static bool waits(const char *name)
{
    return strcmp(name, "system") == 0;
}

/* libc's own function, which before glibc 2.34 may be in one of several libraries; null: libc is
 * older than the call. */
static void *plain_function(const char *name)
{
    static const char *const parts[] = {"libc.so.6", "libpthread.so.0", "librt.so.1",
                                        "libutil.so.1"};
    void *found = NULL;
    for (size_t i = 0; !found && i < sizeof(parts) / sizeof(*parts); i++) {
        void *handle = dlopen(parts[i], RTLD_LAZY);
        found = handle ? dlsym(handle, name) : NULL;
    }
    return found;
}

static void *function_for(enum way way, const char *name)
{
    void *found = way == PLAIN ? plain_function(name) : dlsym(RTLD_DEFAULT, name);
    cr_assert(found, "%s", name);
    return found;
}

/* Before glibc 2.34 select leaves its time-out to the kernel, aio_suspend does not read its own
 * where a request is done, and system fails where the shell cannot be started.  The wrappers are as
 * the newer ones. */
static bool is_other_in_old_libc(const char *name, int argument)
{
    return strverscmp(gnu_get_libc_version(), "2.34") < 0 &&
           ((strcmp(name, "select") == 0 && argument == 4) ||
            (strcmp(name, "aio_suspend") == 0 && argument == 2) || strcmp(name, "system") == 0);
}

/* `argument` is where the bad page goes. */
static void compare(const struct row *row, long number, int argument, const void *page,
                    const char *kind)
{
    long arguments[ARGUMENTS];
    memcpy(arguments, row->arguments, sizeof(arguments));
    arguments[argument] = A(page);
    struct outcome plain = {.result = 0};
    for (enum way way = PLAIN; way < WAYS; way++) {
        function *target = NULL;
        if (number < 0)
            *(void **)&target = function_for(way, row->name);
        struct outcome seen = outcome_of(row->name, target, number, way, arguments);
        if (way == PLAIN)
            plain = seen;
        /* Where libc itself crashes, a call that is cut may come before that. */
        if (way == EXPIRED && (plain.waited || WIFSIGNALED(plain.status) || waits(row->name)))
            continue;
        cr_expect(is_same(&plain, &seen),
                  "%s, argument %d %s, %s: result %ld, %s, status %x; plain %ld, %s, status %x",
                  row->name, argument + 1, kind, ways[way], seen.result, strerror(seen.error),
                  (unsigned)seen.status, plain.result, strerror(plain.error),
                  (unsigned)plain.status);
    }
}

static void *unreadable, *unwritable;

static void compare_argument(const struct row *row, long number, int argument)
{
    compare(row, number, argument, unreadable, "unreadable");
    compare(row, number, argument, unwritable, "unwritable");
}

static const struct row *find_number(const char *name)
{
    char with_prefix[64];
    snprintf(with_prefix, sizeof(with_prefix), "SYS_%s", name);
    return find(with_prefix);
}

/* The pointers among the parameters, as the table has them. */
static void try_function(const char *name, const char *parameters)
{
    const struct row *row = find(name);
    int argument = 0;
    bool pointer = false;
    /* Its result is another number each time; the wrapper looks at none of its pointers. */
    if (strcmp(name, "forkpty") == 0)
        return;
    if (!plain_function(name)) {
        cr_assert(find_number(name) || strcmp(name, "execveat") == 0 /* glibc 2.34 */,
                  "%s: libc has no such function, and it is no system call", name);
        return;
    }
    for (const char *c = parameters; *c; c++) {
        pointer |= *c == '*' || *c == '[' || strncmp(c, "SOCKADDR", strlen("SOCKADDR")) == 0;
        if (*c != ',' && c[1])
            continue;
        if (pointer && !is_other_in_old_libc(name, argument)) {
            cr_assert(row, "%s has a pointer, and no row here", name);
            compare_argument(row, -1, argument);
        }
        pointer = false;
        argument++;
    }
}

static void try_number(const char *name, long number)
{
    const struct row *row = find_number(name);
    cr_assert(row, "SYS_%s has no row here", name);
    for (int i = 0; row->pointers[i]; i++)
        if (row->pointers[i] == 'p')
            compare_argument(row, number, i);
}

static void make_pages(void)
{
    unreadable = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unwritable = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    reported =
        mmap(NULL, sizeof(*reported), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(unreadable != MAP_FAILED && unwritable != MAP_FAILED && reported != MAP_FAILED);
}

static void begin(void)
{
    make_pages();
    set_up();
}

Test(pointers, of_functions, .init = begin, .fini = tear_down)
{
#define CALL(type, name, parameters, ...) try_function(#name, #parameters);
#define MASK(type, name, parameters, ...) try_function(#name, #parameters);
#define CHILD(type, name, parameters, ...) try_function(#name, #parameters);
#include "preload/calls.def"
}

Test(pointers, of_system_calls, .init = begin, .fini = tear_down)
{
#define NUMBER(name, ...) try_number(#name, SYS_##name);
#include "preload/calls.def"
}

#endif
