/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_children.c -- a child inherits the deadline of the thread that starts
 * it, whichever way it is started; and system, popen and pclose end by it.
 *
 * Most tests start `env` in every way there is and look at what it prints.  The
 * environment that they hand on lies in memory that cannot be written to, so
 * that whoever tries to is ended by SIGSEGV.
 */
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>

TestSuite(children, .timeout = 60);

#define ENV "/usr/bin/env"
#define FAR (20 * COOPDL_SECOND)

/* A shell command that no inherited deadline ends. */
#define STUCK "exec env -u LD_PRELOAD sleep 60"

static char own_name[] = "env", *const arguments[] = {own_name, NULL};

/* Whether the programs of this machine can have the library: not where it is one for another libc
 * or word size.  Something else is preloaded there, by a name without a path. */
static bool reached(void)
{
    const char *library = getenv("COOPDL_LIBRARY");
    return library && strchr(library, '/');
}

#define SKIP_IF_NOT_REACHED()                                                                      \
    do {                                                                                           \
        if (!reached())                                                                            \
            cr_skip_test("the programs of this machine cannot have the library");                  \
    } while (0)

/* The status of a program that was started; -1 and errno if it was not. */
static int status_or_errno(int error, pid_t child)
{
    int status;
    if (error) {
        errno = error;
        return -1;
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WEXITSTATUS(status);
}

/* The ways to start a program, with `path` and `envp`: -1 and errno if that fails.  Those that exec
 * do not return otherwise, the others return its status when it has ended. */
static int way_execve(const char *path, char **envp)
{
    return execve(path, arguments, envp);
}

static int way_execv(const char *path, char **envp)
{
    environ = envp;
    return execv(path, arguments);
}

static int way_execvp(const char *path, char **envp)
{
    environ = envp;
    return execvp(path, arguments);
}

static int way_execvpe(const char *path, char **envp)
{
    return execvpe(path, arguments, envp);
}

static int way_execl(const char *path, char **envp)
{
    environ = envp;
    return execl(path, "env", (char *)NULL);
}

static int way_execlp(const char *path, char **envp)
{
    environ = envp;
    return execlp(path, "env", (char *)NULL);
}

static int way_execle(const char *path, char **envp)
{
    return execle(path, "env", (char *)NULL, envp);
}

static int way_fexecve(const char *path, char **envp)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? -1 : fexecve(fd, arguments, envp);
}

#ifdef __GLIBC__
static int way_execveat(const char *path, char **envp)
{
    return execveat(AT_FDCWD, path, arguments, envp, 0);
}
#endif

static int way_posix_spawn(const char *path, char **envp)
{
    pid_t child;
    int error = posix_spawn(&child, path, NULL, NULL, arguments, envp);
    return status_or_errno(error, child);
}

static int way_posix_spawnp(const char *path, char **envp)
{
    pid_t child;
    int error = posix_spawnp(&child, path, NULL, NULL, arguments, envp);
    return status_or_errno(error, child);
}

/* The man page warns of vfork for good reasons; programs use it.
 * NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
static int way_vfork(const char *path, char **envp)
{
    pid_t child = vfork();
    if (child == 0) {
        execve(path, arguments, envp);
        _exit(127); /* its errno is ours as well */
    }
    int status = status_or_errno(0, child);
    return status == 127 ? -1 : status;
}
/* NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */

static const struct way {
    const char *name;
    int (*start)(const char *path, char **envp);
} ways[] = {
    {"execve", way_execve},
    {"execv", way_execv},
    {"execvp", way_execvp},
    {"execvpe", way_execvpe},
    {"execl", way_execl},
    {"execlp", way_execlp},
    {"execle", way_execle},
    {"fexecve", way_fexecve},
#ifdef __GLIBC__
    {"execveat", way_execveat},
#endif
    {"posix_spawn", way_posix_spawn},
    {"posix_spawnp", way_posix_spawnp},
    {"vfork and execve", way_vfork},
    {NULL, NULL},
};

static char output[1 << 20];

/* Reads into `output` what comes out of fd until nobody is left who could write to it. */
static void gather(int fd)
{
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, output + length, sizeof(output) - 1 - length)) > 0)
        length += got;
    expect(got == 0, "%s", strerror(errno));
    output[length] = '\0';
    close(fd);
}

/* What `env` prints, started that way in a child of ours. */
static const char *print_environment(const struct way *way, char **envp)
{
    int ends[2];
    expect(pipe2(ends, O_CLOEXEC) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        _exit(way->start(ENV, envp) == 0 ? 0 : 100);
    }
    close(ends[1]);
    gather(ends[0]);
    int status = status_of(child);
    expect(status == 0, "%s: status %x", way->name, status);
    return output;
}

/* A copy of an environment that nobody can write to. */
static char **fixed(const char *const *entries)
{
    size_t count = 0, size = sizeof(char *);
    for (; entries[count]; count++)
        size += sizeof(char *) + strlen(entries[count]) + 1;
    char **copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(copy != MAP_FAILED);
    char *text = (char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        copy[i] = text;
        text = stpcpy(text, entries[i]) + 1;
    }
    copy[count] = NULL;
    expect(mprotect(copy, size, PROT_READ) == 0);
    return copy;
}

/* "LD_PRELOAD=" and the library. */
static char *preload(void)
{
    static char entry[4096];
    snprintf(entry, sizeof(entry), "LD_PRELOAD=%s", getenv("COOPDL_LIBRARY"));
    return entry;
}

/* What env prints of it. */
static char *joined(const char *const *entries)
{
    static char text[sizeof(output)];
    char *end = text;
    for (*end = '\0'; *entries; entries++)
        end = stpcpy(stpcpy(end, *entries), "\n");
    return text;
}

/* "COOPDL_DEADLINE=" and that time, as the library writes it. */
static char *deadline_entry(int64_t deadline)
{
    static char entries[8][64];
    static int next;
    char *entry = entries[next++ % 8];
    sprintf(entry, "COOPDL_DEADLINE=%019lld", (long long)(deadline + 7) & ~7LL);
    return entry;
}

/* A child that is given `given` gets `expected`, whichever way it is started. */
static void expect_environment(const char *const *given, const char *const *expected,
                               const char *what)
{
    char **envp = fixed(given);
    for (const struct way *way = ways; way->name; way++) {
        const char *got = print_environment(way, envp), *wanted = joined(expected);
        expect(strcmp(got, wanted) == 0, "%s, %s: the child has\n%sinstead of\n%s", what, way->name,
               got, wanted);
    }
}

Test(children, inherit_the_scopes_deadline)
{
    coopdl_scope scope;
    int64_t deadline = coopdl_after(FAR);
    coopdl_enter(&scope, deadline);
    expect_environment((const char *[]){"A=1", preload(), "B=2", NULL},
                       (const char *[]){"A=1", preload(), "B=2", deadline_entry(deadline), NULL},
                       "in a scope");
    coopdl_leave(&scope);
}

Test(children, inherit_the_earliest_of_nested_ones)
{
    coopdl_scope outer, inner;
    int64_t near = coopdl_after(FAR), far = coopdl_after(2 * FAR);
    const char *given[] = {preload(), NULL}, *expected[] = {preload(), deadline_entry(near), NULL};
    coopdl_enter(&outer, near);
    coopdl_enter(&inner, far);
    expect_environment(given, expected, "inner later");
    coopdl_leave(&inner);
    coopdl_leave(&outer);
    coopdl_enter(&outer, far);
    coopdl_enter(&inner, near);
    expect_environment(given, expected, "inner earlier");
    coopdl_leave(&inner);
    coopdl_leave(&outer);
}

Test(children, without_a_deadline_get_what_they_are_given)
{
    /* Before there has ever been one, inside a scope that limits nothing, behind a shield, and
     * after all of them have been left. */
    const char *given[] = {"A=1", preload(), "odd", "COOPDL_DEADLINE=5000000000000000000",
                           "=x",  NULL};
    coopdl_scope scope, shield;
    expect_environment(given, given, "before");
    coopdl_enter(&scope, COOPDL_NEVER);
    expect_environment(given, given, "in a scope without limit");
    coopdl_leave(&scope);
    coopdl_enter(&scope, coopdl_after(FAR));
    coopdl_shield(&shield);
    expect_environment(given, given, "shielded");
    coopdl_leave(&shield);
    coopdl_leave(&scope);
    expect_environment(given, given, "after");
}

Test(children, that_preload_nothing_get_what_they_are_given)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(FAR));
    const char *nothing[] = {NULL}, *other[] = {"A=1", "LD_PRELOAD=", NULL};
    expect_environment(nothing, nothing, "empty");
    expect_environment(other, other, "without a library");
    for (const struct way *way = ways; way->name;
         way++) /* null is taken for an empty one, but by fexecve */
        expect(way->start == way_fexecve || strcmp(print_environment(way, NULL), "") == 0, "%s",
               way->name);
    coopdl_leave(&scope);
}

Test(children, keep_an_earlier_deadline)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(2 * FAR));
    const char *given[] = {"A=1", deadline_entry(coopdl_after(FAR)), preload(), "B=2", NULL};
    expect_environment(given, given, "an earlier one");
    coopdl_leave(&scope);
}

Test(children, get_a_later_or_bad_deadline_replaced)
{
    static const char *const bad[] = {
        "9223372036854775807", "9223372036854775808", "", "5s", "-5", "99999999999999999999999"};
    coopdl_scope scope;
    int64_t deadline = coopdl_after(FAR);
    coopdl_enter(&scope, deadline);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char entry[100];
        snprintf(entry, sizeof(entry), "COOPDL_DEADLINE=%s", bad[i]);
        expect_environment(
            (const char *[]){"A=1", entry, preload(), "B=2", NULL},
            (const char *[]){"A=1", deadline_entry(deadline), preload(), "B=2", NULL}, entry);
    }
    coopdl_leave(&scope);
}

Test(children, of_a_clean_up_are_not_ruled_by_what_has_expired)
{
    coopdl_scope outer, inner;
    int64_t deadline = coopdl_after(FAR);
    const char *given[] = {preload(), NULL};
    coopdl_enter(&inner, 0);
    await_expiry(&inner);
    expect(coopdl_deliver(&inner) == 0);
    expect_environment(given, given, "delivered");
    coopdl_leave(&inner);
    coopdl_enter(&outer, deadline);
    coopdl_enter(&inner, 0);
    await_expiry(&inner);
    expect(coopdl_deliver(&inner) == 0);
    expect_environment(given, (const char *[]){preload(), deadline_entry(deadline), NULL},
                       "delivered inside another");
    coopdl_leave(&inner);
    coopdl_leave(&outer);
}

Test(children, are_searched_for_in_PATH)
{
    coopdl_scope scope;
    char **envp = fixed((const char *[]){preload(), "PATH=/nonexistent:/usr/bin", NULL});
    setenv("PATH", "/nonexistent:/usr/bin", 1);
    coopdl_enter(&scope, coopdl_after(FAR));
    for (const struct way *way = ways; way->name; way++) {
        bool searches = way->start == way_execvp || way->start == way_execvpe ||
                        way->start == way_execlp || way->start == way_posix_spawnp;
        pid_t child = fork();
        if (child == 0) {
            dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
            _exit(way->start("env", envp) == 0 ? 0 : errno);
        }
        int status = status_of(child);
        expect(status == (searches ? 0 : ENOENT << 8), "%s: %x", way->name, status);
    }
    coopdl_leave(&scope);
}

/* An environment of many entries; the text is the same for all of them. */
static char **many(size_t count)
{
    const char **entries = calloc(count + 2, sizeof(char *));
    if (!entries)
        abort();
    entries[0] = preload();
    for (size_t i = 1; i <= count; i++)
        entries[i] = "V=x";
    char **envp = fixed(entries);
    free(entries);
    return envp;
}

Test(children, inherit_with_thousands_of_entries)
{
    static const size_t counts[] = {3000, 8190, 8191, 20000}; /* 8192 pointers are 64 KiB */
    coopdl_scope scope;
    int64_t deadline = coopdl_after(FAR);
    const char *entry = deadline_entry(deadline);
    coopdl_enter(&scope, deadline);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        for (const struct way *way = ways; way->name; way++) {
            char **envp = many(counts[i]);
            const char *got = print_environment(way, envp);
            const char *wanted = joined((const char *const *)envp);
            size_t length = strlen(wanted);
            bool same = strncmp(got, wanted, length) == 0 &&
                        strncmp(got + length, entry, strlen(entry)) == 0 &&
                        strcmp(got + length + strlen(entry), "\n") == 0;
            expect(same, "%zu entries, %s", counts[i], way->name);
        }
    coopdl_leave(&scope);
}

Test(children, that_cannot_be_started_say_why)
{
    static const struct {
        const char *path;
        int error;
    } failures[] = {
        {"/nonexistent/env", ENOENT}, {"/etc/passwd", EACCES}, {"/usr/bin/env/x", ENOTDIR}};
    char **small = fixed((const char *[]){preload(), NULL}), **large = many(20000);
    char **before = environ;
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(FAR));
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
        for (const struct way *way = ways; way->name; way++) {
            if (way->start == way_fexecve && failures[i].error != EACCES)
                continue; /* it is open that says so */
            errno = 0;
            expect(way->start(failures[i].path, small) == -1 && errno == failures[i].error,
                   "%s, %s: %s", failures[i].path, way->name, strerror(errno));
            errno = 0;
            expect(way->start(failures[i].path, large) == -1 && errno == failures[i].error,
                   "%s, %s, large: %s", failures[i].path, way->name, strerror(errno));
            environ = before;
        }
    coopdl_leave(&scope);
}

static void preload_in_children(void)
{
    const char *library = getenv("COOPDL_LIBRARY");
    if (!library)
        abort();
    setenv("LD_PRELOAD", library, 1);
}

/* A pipe that children inherit; its other end is read until the last of them is gone. */
static int family[2];

static void begin_family(void)
{
    expect(pipe(family) == 0);
    fcntl(family[0], F_SETFD, FD_CLOEXEC);
    preload_in_children();
}

/* A command that runs `command` with what it prints going to the family's pipe. */
static char *in_family(const char *command)
{
    static char line[1000];
    snprintf(line, sizeof(line), "exec > /proc/self/fd/%d 2>&1; %s", family[1], command);
    return line;
}

/* Nobody is left, at the latest at that time: the pipe is at its end.  What came is in `output`. */
static void expect_gone(int64_t latest, const char *what)
{
    coopdl_scope shield;
    coopdl_shield(&shield);
    close(family[1]);
    gather(family[0]);
    expect(coopdl_now() < latest, "%s: someone was left", what);
    expect(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "%s: a zombie is left", what);
    coopdl_leave(&shield);
}

Test(children, three_processes_deep)
{
    /* Each shell waits for the next; the innermost process reads from a pipe of its own. */
    coopdl_scope scope;
    SKIP_IF_NOT_REACHED();
    begin_family();
    setenv("OUTER", "bash -c \"$MIDDLE\"; true", 1);
    setenv("MIDDLE", "bash -c \"$INNER\"; true", 1);
    setenv("INNER", "perl -e 'pipe(R, W); sysread(R, $x, 1); print $!+0'; true", 1);
    char name[] = "bash", option[] = "-c";
    char *const argv[] = {name, option, in_family("eval \"$OUTER\""), NULL};
    pid_t child;
    int64_t deadline = coopdl_after(700 * MS);
    coopdl_enter(&scope, deadline);
    expect(posix_spawn(&child, "/bin/bash", NULL, NULL, argv, environ) == 0);
    coopdl_leave(&scope); /* theirs all the same */
    close(family[1]);
    gather(family[0]);
    assert_on_time(deadline, "the third process");
    expect(strcmp(output, "4") == 0, "%s", output);
    status_of(child);
}

/* Runs a shell command that has `settings` in its environment. */
static void run_shell(const char *settings, const char *command)
{
    char line[2000];
    begin_family();
    snprintf(line, sizeof(line), "exec env %s %s", settings, command);
    pid_t child = fork();
    if (child == 0) {
        dup2(family[1], STDOUT_FILENO);
        dup2(family[1], STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(126);
    }
    close(family[1]);
    gather(family[0]);
    status_of(child);
}

Test(children, of_runtimes)
{
    /* They start a child without the budget, in an environment of their own making: it gets it
     * back.  CPython and Ruby use vfork, Perl fork. */
    const char *const commands[] = {
        "/usr/bin/python3 -c 'import os, subprocess as s; e = dict(os.environ); "
        "del e[\"COOPDL_DEADLINE\"]; s.run([\"env\"], env=e); "
        "s.run([\"env\"], env=e, preexec_fn=lambda: None); s.run(\"env\", env=e, shell=True)'",
        "/usr/bin/ruby -e 'n = {\"COOPDL_DEADLINE\" => nil}; system(n, \"env\"); "
        "puts IO.popen([n, \"env\"]).read; Process.wait(spawn(n, \"exec env\"))'",
        "perl -e 'delete $ENV{COOPDL_DEADLINE}; system(\"env\"); print `env`; "
        "open(P, \"-|\", \"env\"); print while <P>'",
        getenv("COOPDL_THREAD_EXEC")};
    SKIP_IF_NOT_REACHED();
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        int64_t earliest = coopdl_after(FAR);
        run_shell("COOPDL_BUDGET=20s", commands[i]);
        int count = 0;
        for (const char *at = output; (at = strstr(at, "COOPDL_DEADLINE=")); at++, count++) {
            int64_t deadline = atoll(at + strlen("COOPDL_DEADLINE="));
            expect(deadline >= earliest && deadline <= coopdl_after(FAR));
        }
        expect(count == 3, "%s: %d of 3 in\n%s", commands[i], count, output);
    }
}

/* libc leaves the rest of a sigset_t as it was. */
enum { KERNEL_MASK = 8 };

/* What system changes while it runs. */
struct signals {
    struct sigaction interrupt, quit;
    sigset_t mask;
};

static struct signals signals(void)
{
    struct signals now;
    memset(&now, 0, sizeof(now));
    sigaction(SIGINT, NULL, &now.interrupt);
    sigaction(SIGQUIT, NULL, &now.quit);
    sigprocmask(SIG_SETMASK, NULL, &now.mask);
    return now;
}

static bool same(const struct sigaction *one, const struct sigaction *other)
{
    const int libcs = 0x04000000; /* SA_RESTORER, from the first sigaction on */
    return one->sa_handler == other->sa_handler &&
           (one->sa_flags | libcs) == (other->sa_flags | libcs) &&
           memcmp(&one->sa_mask, &other->sa_mask, KERNEL_MASK) == 0;
}

static void expect_restored(const struct signals *before, const char *what)
{
    struct signals now = signals();
    expect(same(&now.interrupt, &before->interrupt), "%s", what);
    expect(same(&now.quit, &before->quit), "%s", what);
    expect(memcmp(&now.mask, &before->mask, KERNEL_MASK) == 0, "%s", what);
}

static void on_signal(int number)
{
    (void)number;
}

/* system's results: outside a scope, inside one, and after it. */
static void expect_systems_results(const char *when)
{
    static const struct {
        const char *command;
        int status;
    } results[] = {
        {"exit 0", 0},
        {"exit 7", 7 << 8},
        {"kill -9 $$", SIGKILL},
        {"kill -INT $$", SIGINT}, /* it is ignored in here, not in the shell */
        {"kill -INT $PPID; kill -QUIT $PPID; exit 3", 3 << 8},
        {"exec /nonexistent/x 2> /dev/null", 127 << 8},
        {"grep -q '^SigBlk.*00000$' /proc/self/status", 0}, /* SIGCHLD is the 17th */
        {"-odd 2> /dev/null", 127 << 8},
    };
    struct signals before = signals();
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        int status = system(results[i].command);
        expect(status == results[i].status, "%s, %s: %x", when, results[i].command, status);
        expect_restored(&before, results[i].command);
    }
    expect(system(NULL) == 1, "%s", when);
}

Test(children, system_works)
{
    coopdl_scope scope;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGQUIT, &action, NULL);
    preload_in_children();
    cr_assert(system("exit 7") == 7 << 8); /* libc's own: there has been no deadline */
    expect_systems_results("outside");
    coopdl_enter(&scope, coopdl_after(FAR));
    expect_systems_results("inside");
    signal(SIGINT, SIG_IGN);
    expect(system("kill -INT $$; exit 4") == 4 << 8, "what we ignore the shell ignores");
    signal(SIGINT, SIG_DFL);
    coopdl_leave(&scope);
    expect_systems_results("after");
}

Test(children, system_hands_the_deadline_down)
{
    coopdl_scope scope;
    begin_family();
    int64_t deadline = coopdl_after(FAR);
    coopdl_enter(&scope, deadline);
    expect(system(in_family("printenv COOPDL_DEADLINE")) == 0);
    coopdl_leave(&scope);
    expect_gone(INT64_MAX, "system");
    expect(atoll(output) == ((deadline + 7) & ~7LL), "%s", output);
    expect(!getenv("COOPDL_DEADLINE"));
}

/* Ended by the deadline: -1, or with the status of a shell that its own end has come to before. */
static void expect_cut(int result, int64_t deadline, const char *what)
{
    int error = errno;
    assert_on_time(deadline, what);
    expect(result > 0 || (result == -1 && error == EINTR), "%s: %x, %s", what, result,
           strerror(error));
}

Test(children, system_ends_at_the_deadline)
{
    /* What ends by itself, what does not, and a shell that waits for a child. */
    static const char *const commands[] = {"sleep 60", STUCK, "sleep 60; exit 1"};
    SKIP_IF_NOT_REACHED();
    for (size_t i = 0; i < 3; i++) {
        coopdl_scope scope;
        begin_family();
        struct signals before = signals();
        int64_t deadline = coopdl_after(300 * MS);
        coopdl_enter(&scope, deadline);
        errno = 0;
        int result = system(in_family(commands[i]));
        expect_cut(result, deadline, commands[i]);
        expect(coopdl_leave(&scope) == 1 || result > 0);
        expect_restored(&before, commands[i]);
        expect_gone(deadline + LATEST, commands[i]);
    }
}

static volatile sig_atomic_t children_ended;

static void on_child(int number)
{
    (void)number;
    children_ended++;
}

Test(children, system_after_expiry_starts_nothing)
{
    coopdl_scope scope;
    begin_family();
    signal(SIGCHLD, on_child);
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    expect(system(in_family("echo started")) == -1 && errno == EINTR);
    expect(system(in_family("echo started")) == -1 && errno == ETIMEDOUT);
    expect(system(NULL) == 1, "this does not wait");
    coopdl_leave(&scope);
    expect_gone(INT64_MAX, "nothing");
    expect(strcmp(output, "") == 0);
    expect(children_ended == 0, "%d were started", (int)children_ended);
}

static void *stuck_in_system(void *unused)
{
    coopdl_scope scope;
    (void)unused;
    coopdl_enter(&scope, coopdl_after(FAR));
    system(in_family("echo started; " STUCK));
    coopdl_leave(&scope);
    return NULL;
}

Test(children, system_is_cancelled)
{
    pthread_t thread;
    void *result;
    char byte;
    begin_family();
    struct signals before = signals();
    expect(pthread_create(&thread, NULL, stuck_in_system, NULL) == 0);
    expect(read(family[0], &byte, 1) == 1);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    expect(result == PTHREAD_CANCELED);
    expect_restored(&before, "cancelled");
    expect_gone(INT64_MAX, "cancelled");
}

static void *run_systems(void *deadline)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(*(int64_t *)deadline));
    for (int i = 0; i < 20; i++)
        system("exec sleep 0.01");
    coopdl_leave(&scope);
    return NULL;
}

Test(children, systems_of_many_threads_restore_signals_once)
{
    pthread_t threads[4];
    int64_t lengths[] = {FAR, 30 * MS, FAR, 50 * MS};
    struct signals before = signals();
    for (int i = 0; i < 4; i++)
        expect(pthread_create(&threads[i], NULL, run_systems, &lengths[i]) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    expect_restored(&before, "many threads");
    expect(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

/* Reading, writing, what is inherited, statuses. */
static void expect_popen_works(const char *when)
{
    char line[100] = "", path[] = "/tmp/coopdl-test-XXXXXX";
    FILE *file = popen("echo hello; exit 5", "r");
    expect(file && fgets(line, sizeof(line), file) && strcmp(line, "hello\n") == 0, "%s", when);
    expect(fcntl(fileno(file), F_GETFD) == 0, "%s", when);
    expect(pclose(file) == 5 << 8, "%s", when);

    int fd = mkstemp(path);
    snprintf(line, sizeof(line), "cat > %s", path);
    file = popen(line, "we");
    expect(file && fputs("there", file) >= 0, "%s", when);
    expect(fcntl(fileno(file), F_GETFD) == FD_CLOEXEC, "%s", when);
    expect(pclose(file) == 0, "%s", when);
    expect(read(fd, line, 5) == 5 && memcmp(line, "there", 5) == 0, "%s", when);
    unlink(path);
    close(fd);

    /* A cat that inherits another's pipe would never see it end. */
    FILE *cats[3];
    for (int i = 0; i < 3; i++)
        expect((cats[i] = popen("cat > /dev/null", "w")) != NULL, "%s", when);
    for (int i = 0; i < 3; i++)
        expect(pclose(cats[i]) == 0, "%s", when);

    int (*volatile close_file)(FILE *) = fclose;
    file = popen("exit 6", "r");
#ifdef __GLIBC__
    expect(close_file(file) == 6 << 8, "its fclose is its pclose, %s", when);
#else
    int status = -1;
    expect(close_file(file) == 0 && wait(&status) > 0 && status == 6 << 8, "%s", when);
#endif
    file = popen("kill -9 $$", "r");
    expect(pclose(file) == SIGKILL, "%s", when);
    static const char *const bad[] = {"", "rw", "x", "rx", "e"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        expect(popen("exit 1", bad[i]) == NULL && errno == EINVAL, "%s: %s", when, bad[i]);
    }
    expect(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "%s", when);
}

Test(children, popen_works)
{
    coopdl_scope scope;
    preload_in_children();
    expect_popen_works("outside");
    coopdl_enter(&scope, coopdl_after(FAR));
    expect_popen_works("inside");
    coopdl_leave(&scope);
}

Test(children, popen_of_closed_standard_descriptors)
{
    /* The pipes' ends are then 0 and 1 themselves; the first stream is 0, which is where the second
     * one's shell reads. */
    coopdl_scope scope;
    char text[10] = "";
    int saved[2] = {dup(0), dup(1)};
    coopdl_enter(&scope, coopdl_after(FAR));
    close(0);
    close(1);
    FILE *from = popen("printf hello; exit 8", "r"), *to = popen("read x; exit $x", "w");
    bool works = from && to && fgets(text, sizeof(text), from) && fputs("9\n", to) >= 0;
    int fd = from ? fileno(from) : -1, to_status = pclose(to), from_status = pclose(from);
    dup2(saved[0], 0);
    dup2(saved[1], 1);
    expect(works && fd == 0 && strcmp(text, "hello") == 0, "%d: %s", fd, text);
    expect(from_status == 8 << 8 && to_status == 9 << 8, "%x, %x", from_status, to_status);
    coopdl_leave(&scope);
}

Test(children, popen_hands_the_deadline_down)
{
    coopdl_scope scope;
    char line[100] = "";
    int64_t deadline = coopdl_after(FAR);
    preload_in_children();
    coopdl_enter(&scope, deadline);
    FILE *file = popen("printenv COOPDL_DEADLINE", "r");
    expect(file && fgets(line, sizeof(line), file));
    expect(atoll(line) == ((deadline + 7) & ~7LL), "%s", line);
    expect(pclose(file) == 0);
    coopdl_leave(&scope);
}

Test(children, pclose_ends_at_the_deadline)
{
    static const char *const commands[] = {"sleep 60", STUCK, "sleep 60; exit 1"};
    SKIP_IF_NOT_REACHED();
    for (int writing = 0; writing < 2; writing++)
        for (size_t i = 0; i < 3; i++) {
            coopdl_scope scope;
            begin_family();
            int64_t deadline = coopdl_after(300 * MS);
            coopdl_enter(&scope, deadline);
            FILE *file = popen(in_family(commands[i]), writing ? "w" : "r");
            expect(file != NULL);
            if (writing)
                fputs("something", file);
            int fd = fileno(file);
            errno = 0;
            int result = pclose(file);
            expect_cut(result, deadline, commands[i]);
            expect(fcntl(fd, F_GETFD) == -1 && errno == EBADF, "the stream is closed");
            expect(coopdl_leave(&scope) == 1 || result > 0);
            expect_gone(deadline + LATEST, commands[i]);
        }
}

/* What execs is killed itself, so nothing in it needs the library. */
Test(children, a_single_process_is_killed)
{
    coopdl_scope scope;
    for (int i = 0; i < 2; i++) {
        begin_family();
        int64_t deadline = coopdl_after(50 * MS);
        coopdl_enter(&scope, deadline);
        errno = 0;
        int result = i ? pclose(popen(in_family(STUCK), "r")) : system(in_family(STUCK));
        expect(result == -1 && errno == EINTR, "%x", result);
        assert_on_time(deadline, i ? "pclose" : "system");
        expect(coopdl_leave(&scope) == 1);
        expect_gone(deadline + LATEST, STUCK);
    }
}

Test(children, pclose_after_expiry)
{
    coopdl_scope scope;
    static char data[150000], room[200000];
    begin_family();
    coopdl_enter(&scope, coopdl_after(FAR));
    FILE *ended = popen("exit 3", "r"), *stuck = popen(in_family(STUCK), "r");
    FILE *full = popen(in_family(STUCK), "w");
    expect(ended && stuck && full);
    /* More than the pipe takes, and all of it still in the stream. */
    setvbuf(full, room, _IOFBF, sizeof(room));
    expect(fwrite(data, 1, sizeof(data), full) == sizeof(data));
    while (fgetc(ended) != EOF)
        ;
    siginfo_t info;
    expect(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0);
    coopdl_move(&scope, 0);
    await_expiry(&scope);
    expect(pclose(ended) == 3 << 8, "what does not wait is not cut");
    int64_t begun = coopdl_now();
    expect(pclose(stuck) == -1 && errno == EINTR);
    expect(pclose(full) == -1 && errno == ETIMEDOUT);
    expect(coopdl_now() < begun + LATEST);
    coopdl_leave(&scope);
    expect_gone(begun + LATEST, "expired");
}

Test(children, streams_cross_the_scopes_borders)
{
    coopdl_scope scope;
    FILE *before = popen("exit 1", "r"); /* libc's own: there has been no deadline */
    FILE *leaving = popen("cat > /dev/null", "w");
    begin_family();
    coopdl_enter(&scope, coopdl_after(FAR));
    FILE *inside = popen("exit 2", "r"), *cat = popen("cat > /dev/null; exit 3", "w");
    expect(before && leaving && inside && cat);
    expect(pclose(leaving) == 0, "a later shell has inherited its pipe");
    expect(pclose(before) == 1 << 8);
    coopdl_leave(&scope);
    expect(pclose(cat) == 3 << 8);
    expect(pclose(inside) == 2 << 8);

    FILE *outside = popen(in_family(STUCK), "r");
    int64_t deadline = coopdl_after(100 * MS);
    coopdl_enter(&scope, deadline);
    expect(pclose(outside) == -1 && errno == EINTR);
    assert_on_time(deadline, "opened before the scope");
    coopdl_leave(&scope);
    expect_gone(deadline + LATEST, "opened before the scope");
}

Test(children, many_streams)
{
    enum { STREAMS = 40 };
    FILE *files[STREAMS];
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(FAR));
    for (int i = 0; i < STREAMS; i++) {
        char command[20];
        snprintf(command, sizeof(command), "exit %d", i);
        expect((files[i] = popen(command, "r")) != NULL);
    }
    for (int i = 0; i < STREAMS; i++) {
        int each = (i * 7) % STREAMS, status = pclose(files[each]);
        expect(status == each << 8, "%d: %x", each, status);
    }
    coopdl_leave(&scope);
}
