/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_children.c -- a child inherits the deadline of the thread that starts
 * it, whichever way it is started; and system, popen and pclose end by it.
 *
 * Most tests start `env` in every way there is and look at what it prints.  The
 * environment that they hand on lies in memory that cannot be written to, so
 * that whoever tries to is ended by SIGSEGV.
 */
#include "children.h"
#include "children_ways.h"

TestSuite(children, .timeout = 60);

#define ENV "/usr/bin/env"
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

static int session_by_posix_spawn(const char *path, char **envp)
{
    pid_t child;
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    int error = posix_spawn(&child, path, NULL, &attributes, arguments, envp);
    posix_spawnattr_destroy(&attributes);
    return status_or_errno(error, child);
}

/* NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
static int session_by_vfork(const char *path, char **envp)
{
    pid_t child = vfork();
    if (child == 0) {
        setsid();
        execve(path, arguments, envp);
        _exit(127);
    }
    return status_or_errno(0, child);
}
/* NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */

Test(children, that_leave_the_session_inherit_nothing)
{
    static const struct way leaving[] = {{"posix_spawn", session_by_posix_spawn},
                                         {"vfork and setsid", session_by_vfork}};
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(FAR));
    const char *const given[] = {"A=1", preload(), NULL};
    char **envp = fixed(given);
    for (int i = 0; i < 2; i++) {
        const char *got = print_environment(&leaving[i], envp);
        expect(strcmp(got, joined(given)) == 0, "%s: the child has\n%s", leaving[i].name, got);
    }
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

Test(children, that_take_the_place_at_the_deadline)
{
    static char path[] = "/bin/true", *const argv[] = {path, NULL};
    static char *no_environment[] = {NULL};
    for (int round = 0; round < 300; round++) {
        bool inherited = round % 2;
        coopdl_scope scope;
        int64_t deadline =
            coopdl_after(2 * MS + (int64_t)(round / 2 % 30) * 20 * COOPDL_MICROSECOND);
        if (inherited)
            coopdl_enter(&scope, deadline);
        pid_t child = fork();
        if (child == 0) {
            if (!inherited)
                coopdl_enter(&scope, deadline);
            spin_until(deadline - 200 * COOPDL_MICROSECOND);
            execve(path, argv, no_environment);
            _exit(1);
        }
        if (inherited)
            coopdl_leave(&scope);
        int status = status_of(child);
        cr_assert(status == 0, "round %d: status %x", round, (unsigned)status);
    }
}
