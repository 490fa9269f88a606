/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c -- coopdl --check: whether a deadline will be kept here, and by a program.
 *
 * One line for each thing: `ok` or `no`, what it is, how it is, and what to do.  The last
 * line is the verdict, and the exit status says the same.  `no` in another line may be no
 * obstacle: without the trap, or without a module, a deadline is kept all the same.
 *
 * What must hold:
 * - What is said was tried, in a child that is what COMMAND would be (probe.c).  Only what
 *   cannot be tried without starting the user's program is told by its file.
 * - The program is never started.  Its libraries are listed by our own loader, which runs
 *   nothing of them; an interpreter of the modules is started, with code of ours.
 * - It ends in bounded time.
 * - The modules' own checks (src/python/coopdl/_check.py, src/ruby/lib/coopdl/check.rb) have
 *   the same names for the same things.
 */
#include "check.h"

#include "ask.h"
#include "coopdl.h"
#include "covered.h"
#include "environment.h"
#include "failure.h"
#include "imports.h"
#include "probe.h"
#include "signals.h"
#include "target.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

static struct answer answer; /* of the child that was asked last */
static bool trapping;        /* the probe was trapped */
static bool coloured;        /* the verdicts: on a terminal, unless NO_COLOR forbids it */
static bool any_no;          /* a line has said no */

static bool __attribute__((format(printf, 3, 4)))
report(bool ok, const char *what, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *green = coloured ? "\033[32m" : "", *red = coloured ? "\033[31m" : "";
    printf("%s%s%s  %-8s ", ok ? green : red, ok ? "ok" : "no", coloured ? "\033[0m" : "", what);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    any_no |= !ok;
    return ok;
}

static void check_machine(void)
{
    struct utsname system;
    char loader[PATH_MAX] = "";
    (void)uname(&system);
    (void)own_loader(loader);
    report(true, "kernel", "%s %s", system.sysname, system.release);
    report(true, "machine", "%s, %d bits", system.machine, 8 * (int)sizeof(void *));
#ifdef __GLIBC__
    report(true, "libc", "glibc %s, by %s", gnu_get_libc_version(), loader);
#else
    report(true, "libc", "musl, by %s", loader);
#endif
}

/* What the library or this command has to say before it ends a child; null: another has said it. */
static const char *library_says(const char *line)
{
    static const char prefix[] = "coopdl: ";
    return strncmp(line, prefix, strlen(prefix)) == 0 ? line + strlen(prefix) : NULL;
}

/* It ends the process that asks where there is none that can be preloaded. */
static void find_in_child(void *nothing)
{
    (void)nothing;
    puts(find_library());
    fflush(stdout);
}

/* The path of the library; empty if there is none. */
static bool check_library(char library[PATH_MAX])
{
    ask(&answer, NULL, find_in_child, NULL);
    bool found = is_good(&answer);
    const char *line = first_line(&answer), *said = library_says(line);
    if (!found && said)
        line = said;
    snprintf(library, PATH_MAX, "%s", found ? line : "");
    return report(found, "library", "%s", line);
}

/* By a filter of system calls: 2 in /proc/self/status. */
static bool has_filter(void)
{
    char line[256];
    int mode = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof(line), status))
        if (sscanf(line, "Seccomp: %d", &mode) == 1)
            break;
    if (status)
        fclose(status);
    return mode == 2;
}

static void check_filter(bool filtered, const struct refusals *refusals)
{
    if (!filtered)
        report(true, "seccomp", "no filter of system calls");
    else if (refusals->kills)
        report(false, "seccomp",
               "a filter of system calls ends who makes one of ours: have it allow "
               "rt_sigaction, rt_sigprocmask, rt_tgsigqueueinfo, tgkill, futex, "
               "timer_create, prctl(PR_SET_SYSCALL_USER_DISPATCH) (or set "
               "COOPDL_TRAP=0 against the last), pidfd_open, pidfd_getfd, getrusage");
    else if (*refusals->calls)
        report(false, "seccomp", "a filter of system calls refuses %s: have it allow them",
               refusals->calls);
    else
        report(true, "seccomp", "a filter of system calls, which refuses nothing that is needed");
}

/* What keeps an inherited signal from us: null if nothing does. */
static const char *taken(int number)
{
    struct sigaction action;
    sigset_t mask;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
        return "ignored";
    if (sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, number) == 1)
        return "blocked";
    return NULL;
}

static bool check_kick(const struct probe *probe)
{
    bool arrives = probe->kicked == EINTR || probe->kicked == ETIMEDOUT;
    if (probe->late < 0)
        return report(false, "kick", "a call was cut %.3f ms before its deadline: report this",
                      (double)-probe->late / 1e6);
    if (!arrives || !probe->signal)
        return report(false, "kick", "a call inside libc was not ended by a signal (%s)",
                      strerror(probe->kicked));
    const char *name = signal_name(probe->signal), *how = taken(probe->signal);
    double late = (double)probe->late / 1e6;
    if (how)
        report(
            false, "kick",
            "signal %s (%d) is %s by whoever started this; it ended a call all the same, %.1f ms "
            "after the deadline; COOPDL_SIGNAL chooses another",
            name, probe->signal, how, late);
    else
        report(true, "kick", "signal %s (%d) is free, and ended a call %.1f ms after its deadline",
               name, probe->signal, late);
    return true;
}

static const char *why_untrapped(bool filtered, const struct refusals *refusals)
{
    const char *setting = getenv("COOPDL_TRAP");
    if (setting && strcmp(setting, "0") == 0)
        return "COOPDL_TRAP=0: unset it";
#ifndef __x86_64__
    return "there is none for this architecture";
#endif
    if (refusals->trap && filtered)
        return "a filter of system calls refuses it: have it allow "
               "prctl(PR_SET_SYSCALL_USER_DISPATCH)";
    return refusals->trap ? "the kernel has none: it takes Linux 5.11"
                          : "COOPDL_LOG=1 says why, for a program";
}

static void check_trap(const struct probe *probe, bool filtered, const struct refusals *refusals)
{
    trapping = probe->trapped == ETIMEDOUT;
    if (trapping)
        report(true, "trap", "calls that go past the wrappers are cut too");
    else
        report(
            false, "trap",
            "%s; meanwhile calls inside libc (getaddrinfo, fgets) get EINTR alone, and a loop that "
            "restarts them goes on",
            why_untrapped(filtered, refusals));
}

/* Whether a child with this library keeps a deadline. */
static bool check_deadline(const char *library)
{
    struct probe probe;
    struct refusals refusals;
    bool filtered = has_filter();
    probe_deadline(library, &probe);
    probe_refusals(&refusals);
    bool kept = probe.reported;
    const char *said = probe.reported ? NULL : library_says(probe.why);
    if (said) {
        report(true, "preload", "loaded into a child");
        report(false, "cut", "%s", said);
    } else if (!probe.reported)
        report(false, "preload", "a child that was started with it did not report: %s", probe.why);
    else if (!probe.preloaded)
        kept = report(false, "preload", "the loader did not load it into a child%s%s",
                      *probe.why ? ": " : "", probe.why);
    else
        report(true, "preload", "loaded into a child, version %s", probe.version);
    if (probe.reported) {
        kept &= probe.cut == ETIMEDOUT
                    ? report(true, "cut",
                             "a read that waited failed after the deadline, with ETIMEDOUT")
                    : report(false, "cut",
                             "a read after the deadline did not fail with ETIMEDOUT but "
                             "with '%s'",
                             strerror(probe.cut));
        kept &= check_kick(&probe);
        check_trap(&probe, filtered, &refusals);
    }
    check_filter(filtered, &refusals);
    return kept;
}

struct runtime {
    const char *name, *program, *code, *needed;
    const char *interpreter;
};

/* Each prints one line: the version of the interpreter, of the module's library, or "-" and why
 * there is none. */
static const struct runtime runtimes[] = {
    {"python", "python3",
     "import platform\n"
     "try:\n"
     "    import coopdl\n"
     "    from coopdl import _library\n"
     "    found = _library.version(_library.load()) + ' ' + str(coopdl.__file__)\n"
     "except Exception as error:\n"
     "    found = f'- {error}'\n"
     "print('\\ncoopdl:', platform.python_version(), found.replace('\\n', ' '))\n",
     "Python code gets an exception at the deadline, in every thread: pip install it", "-c"},
    {"ruby", "ruby",
     "begin\n"
     "  require 'coopdl'\n"
     "  found = \"#{Coopdl::VERSION} #{$\".grep(/coopdl/).first}\"\n"
     "rescue LoadError => error\n"
     "  found = \"- #{error.message.lines.first}\"\n"
     "end\n"
     "puts \"\\ncoopdl: #{RUBY_VERSION} #{found}\"\n",
     "Ruby code gets an exception at the deadline, by coopdl --ruby: gem install it", "-e"},
};

enum { RUNTIMES = sizeof(runtimes) / sizeof(*runtimes) };

/* As COMMAND is started; null: without the library. */
static void preload(void *library)
{
    hand_down(COOPDL_NEVER, library);
}

static void check_runtime(const struct runtime *runtime, const char *interpreter,
                          const char *library)
{
    static const char marker[] = "\ncoopdl: ";
    const char *program[] = {interpreter, runtime->interpreter, runtime->code, NULL};
    char version[32], module[32];
    int path = 0;
    ask(&answer, program, preload, (void *)(uintptr_t)library);
    char *line = strstr(answer.text, marker);
    if (!line || sscanf(line + strlen(marker), "%31s %31s %n", version, module, &path) != 2) {
        report(false, runtime->name, "%s does not tell: %s", interpreter,
               answer.silent ? "it did not end" : first_line(&answer));
        return;
    }
    line += strlen(marker) + path;
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(module, "-") == 0)
        report(false, runtime->name, "%s, version %s, has no module coopdl (%s); with it %s",
               interpreter, version, line, runtime->needed);
    else if (strcmp(module, coopdl_version()) != 0)
        report(
            false, runtime->name,
            "%s, version %s, has the module coopdl with version %s of the library, where this is "
            "%s: install one version",
            interpreter, version, module, coopdl_version());
    else
        report(true, runtime->name, "%s, version %s, with the module coopdl %s (%s)", interpreter,
               version, module, line);
}

/* Those that are in PATH: nothing is wrong with a machine that has none. */
static void check_runtimes(const char *library)
{
    for (int i = 0; i < RUNTIMES; i++) {
        char path[PATH_MAX];
        if (find_program(runtimes[i].program, path))
            check_runtime(&runtimes[i], path, library);
        else
            report(true, runtimes[i].name, "there is none in PATH");
    }
}

/* The libraries of a program, as the loader finds them, each with its imports; whether ours is
 * among them. */
static bool list_libraries(const char *program, const char *library, struct calls *calls)
{
    char loader[PATH_MAX];
    if (!own_loader(loader))
        return false;
    const char *list[] = {loader, "--list", program, NULL};
    bool found = false;
    ask(&answer, list, preload, (void *)(uintptr_t)library);
    char *rest, *copy = answer.text;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *path = strstr(line, "=> "), *end = strstr(line, " (0x");
        path = path ? path + strlen("=> ") : line + strspn(line, " \t");
        if (!end || *path != '/')
            continue;
        *end = '\0';
        const char *slash = strrchr(path, '/') + 1;
        bool is_libcs = strncmp(slash, "libc.", 5) == 0 || strncmp(slash, "ld-", 3) == 0;
        if (strcmp(path, library) == 0)
            found = true;
        else if (!is_libcs)
            calls_add(calls, path);
    }
    return is_good(&answer) && found;
}

/* The reasons that are none once a deadline has passed: a file system, a moment, the loader.  What
 * is cut by the trap alone is left where there is none. */
static void say_left(const char *reason, const char *names)
{
    static const char lock[] = "no way to report an error";
    if (strncmp(reason, lock, strlen(lock)) == 0 || (!trapping && strstr(reason, "the trap")))
        report(false, "left", "%s are not cut: %s", names, reason);
}

/* What the preload reaches: whether the loader takes it, and which of its calls are ours. */
static bool check_reached(const char *program, const char *library)
{
    char names[160];
    struct calls *calls = calls_begin();
    bool kept = list_libraries(program, library, calls);
    report(kept, "loader",
           kept ? "loads the library into it"
                : "does not load the library into it: '%s' has its say with LD_PRELOAD=%s",
           program, library);
    calls_add(calls, program);
    size_t count = calls_wrapped(calls, names, sizeof(names));
    if (count)
        report(true, "calls", "%zu that it and its libraries import are covered: %s", count, names);
    else
        kept = report(false, "calls",
                      "neither it nor its libraries import a call that waits: what "
                      "they do is not cut");
    calls_left(calls, say_left);
    calls_end(calls);
    return kept;
}

static const struct runtime *runtime_of(const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *base = slash ? slash + 1 : program;
    for (int i = 0; i < RUNTIMES; i++)
        if (strncmp(base, runtimes[i].name, strlen(runtimes[i].name)) == 0)
            return &runtimes[i];
    return NULL;
}

/* Signalled by the library itself, where a call that fails would be a failed command. */
static bool is_interpreter(const char *program)
{
    static const char *const names[] = {
#include "../core/interpreters.def"
    };
    const char *slash = strrchr(program, '/');
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(slash ? slash + 1 : program, names[i]) == 0)
            return true;
    return false;
}

static bool check_program(const char *name, const char *library)
{
    char program[PATH_MAX] = "", given[PATH_MAX];
    if (!find_program(name, given))
        return report(false, "program", "'%s' is no file that can be run, here or in PATH", name);
    const char *why = preload_obstacle(name, program);
    bool go = is_go(program), script = strcmp(program, given) != 0;
    if (why)
        return report(false, "program",
                      "'%s' %s%s: LD_PRELOAD cannot reach it, coopdl sends it the signal at the "
                      "deadline",
                      program, why, go ? " (Go)" : "");
    if (go)
        return report(false, "program",
                      "'%s' is a Go program, which makes its own system calls: give it a context "
                      "with a deadline; coopdl sends it the signal after the grace",
                      program);
    char real[PATH_MAX];
    if (is_interpreter(realpath(program, real) ? real : program))
        return report(
            false, "program",
            "'%s' would go on with its next command: it gets the signal at the deadline, as "
            "from timeout(1); what it has started is cut",
            program);
    report(true, "program", script ? "'%s', dynamic, which runs the script '%s'" : "'%s', dynamic",
           program, given);
    bool kept = !library || check_reached(program, library);
    const struct runtime *runtime = runtime_of(program);
    if (runtime && library)
        check_runtime(runtime, program, library);
    return kept;
}

int check(int count, char **arguments)
{
    char library[PATH_MAX];
    if (count > 1 || (count == 1 && arguments[0][0] == '-'))
        fail("--check takes one PROGRAM or none, not '%s': usage is coopdl --check [PROGRAM]",
             arguments[count > 1]);
    const char *no_color = getenv("NO_COLOR");
    coloured = isatty(STDOUT_FILENO) && !(no_color && *no_color);
    coopdl_outlive(); /* an outer budget must not cut what is asked */
    check_machine();
    bool kept = check_library(library) && check_deadline(library);
    if (count == 0 && *library)
        check_runtimes(library);
    if (count == 1)
        kept &= check_program(arguments[0], *library ? library : NULL);
    if (kept)
        report(true, "deadline", "is kept by calls that fail, so that the program ends by itself%s",
               any_no ? "; what says no above is not in the way" : "");
    else
        report(false, "deadline", "is not kept so: what says no above is in the way");
    if (fflush(stdout) == EOF || ferror(stdout))
        fail("cannot write to standard output: %s", strerror(errno));
    return kept ? EXIT_SUCCESS : EXIT_FAILURE;
}
