/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coopdl.c -- the command: coopdl [OPTION]... DURATION COMMAND [ARG]...
 *
 * As timeout(1), but at the deadline the program's own blocking calls fail (the
 * library is preloaded into it), so that it can end by itself.  Only if it has
 * not ended after the grace is it signalled.
 *
 * What must hold: whatever is wrong with the arguments is one line on stderr
 * and exit status 125, with nothing started.  Without arguments a usage that fits
 * a screen follows that line.
 */
#include "coopdl.h"

#include "check.h"
#include "environment.h"
#include "failure.h"
#include "nearest.h"
#include "probe.h"
#include "report.h"
#include "ruby.h"
#include "signals.h"
#include "stacks.h"
#include "status.h"
#include "supervise.h"
#include "target.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: coopdl [OPTION]... DURATION COMMAND [ARG]...\n"
    "   or: coopdl --check [PROGRAM]\n"
    "   or: coopdl --status PID\n"
    "Start COMMAND, and have it end within DURATION.  From then on its blocking\n"
    "calls fail, with EINTR and then ETIMEDOUT, so that it ends by itself; only if\n"
    "it has not ended after the grace is it sent a signal.  Shells, make and others that\n"
    "would go on with their next command get the signal at once.\n"
    "\n"
    "      --grace=DURATION    how long after the deadline the signal is sent;\n"
    "                          'off': never; default: COOPDL_GRACE from the\n"
    "                          environment if that is a duration, else 5s;\n"
    "                          0: COMMAND is started without the library, and signalled\n"
    "                          at the deadline, as by timeout(1)\n"
    "  -s, --signal=SIGNAL     the signal: TERM (default), SIGTERM, 15, RTMIN+1...;\n"
    "                          0: none\n"
    "  -k, --kill-after=DURATION\n"
    "                          how long after the signal KILL is sent, with -s 0 after\n"
    "                          the deadline; 0: never;\n"
    "                          default: COOPDL_KILL_AFTER, else never\n"
    "  -f, --foreground        signal COMMAND alone, not its process group, and\n"
    "                          leave it the terminal\n"
    "  -p, --preserve-status   exit with COMMAND's status also after the deadline\n"
    "  -q, --quiet             do not say what was stuck when the deadline has passed: else\n"
    "                          one line on stderr for a process, three at the most\n"
    "      --report[=FILE]     say at the end where the time went: on stderr, or in FILE;\n"
    "                          as JSON with --report=json, and in a FILE named so (.json);\n"
    "                          default: COOPDL_REPORT from the environment, else not at all\n"
    "      --ruby              start COMMAND with RUBYOPT=-rcoopdl: Ruby's main thread gets\n"
    "                          an exception at the deadline, also where it computes\n"
    "                          (the gem coopdl is to be installed)\n"
    "      --stacks            at the deadline print the stacks of all threads on stderr,\n"
    "                          Python's and Ruby's own too where the modules are loaded;\n"
    "                          calls are then cut 100 ms later, or once that is done\n"
    "      --tree              end daemons of COMMAND too: a process that leaves the\n"
    "                          session (setsid) leaves the deadline otherwise\n"
    "  -v, --verbose           one line on stderr when the deadline has passed, and\n"
    "                          for each signal sent\n"
    "      --check [PROGRAM]   say what a deadline needs and what is there, with PROGRAM or\n"
    "                          without, and exit: with 0 if a deadline will be kept, else 1\n"
    "      --status PID        say what deadline a process has, and what its threads wait in,\n"
    "                          and exit\n"
    "      --help              print this and exit\n"
    "      --version           print the version and exit\n"
    "\n"
    "DURATION is a number of seconds (5, 2.5, 1e3) or numbers with units d h m s ms\n"
    "us ns (250ms, 1m30s).  0 means no limit, as do 'off' and 'infinity': COMMAND is\n"
    "then started as it is, without the library.  An earlier deadline from outside "
    "(COOPDL_DEADLINE, "
    "COOPDL_BUDGET)\n"
    "rules.  A COMMAND that LD_PRELOAD cannot reach (static, setuid, another libc or\n"
    "machine) gets a warning, and the signal at the deadline itself.\n"
    "\n"
    "Exit status:\n"
    "  124  if COMMAND ended after its deadline, and --preserve-status is not given\n"
    "  125  if coopdl itself fails, such as for a bad DURATION\n"
    "  126  if COMMAND is found but cannot be run\n"
    "  127  if COMMAND cannot be found\n"
    "  137  if COMMAND (or coopdl itself) was sent KILL\n"
    "  that of COMMAND otherwise; if a signal ended it, that signal ends coopdl too\n";

static const char usage[] =
    "Usage: coopdl [OPTION]... DURATION COMMAND [ARG]...\n"
    "   or: coopdl --check [PROGRAM]\n"
    "Start COMMAND, and have it end within DURATION (5, 250ms, 1m30s) by itself: its\n"
    "blocking calls fail from then on. Only after the grace is it sent a signal.\n"
    "\n"
    "      --grace=DURATION       from the deadline to the signal; default 5s\n"
    "  -s, --signal=SIGNAL        which signal; default TERM\n"
    "  -k, --kill-after=DURATION  from the signal to KILL; default never\n"
    "  -f, --foreground           signal COMMAND alone, and leave it the terminal\n"
    "  -p, --preserve-status      exit with COMMAND's status also after the deadline\n"
    "  -q, --quiet                do not say what was stuck\n"
    "      --report[=FILE|json]   say where the time went\n"
    "      --ruby                 raise an exception in Ruby programs\n"
    "      --stacks               print all stacks at the deadline\n"
    "      --tree                 end daemons too\n"
    "  -v, --verbose              say when the deadline has passed, and what is sent\n"
    "      --check [PROGRAM]      say whether a deadline will be kept\n"
    "      --status PID           say what a process waits in\n"
    "      --help                 print more than this, with the exit statuses\n"
    "      --version              print the version\n"
    "\n"
    "For example: coopdl 10s curl https://example.org/\n";

enum { RUBY = 256, CHECK, GRACE, HELP, REPORT, WITH_STACKS, STATUS, TREE, VERSION };

static const char short_options[] = "+:fk:pqs:v"; /* +: COMMAND's options are COMMAND's */

static const struct option long_options[] = {
    {"check", no_argument, NULL, CHECK},
    {"foreground", no_argument, NULL, 'f'},
    {"grace", required_argument, NULL, GRACE},
    {"help", no_argument, NULL, HELP},
    {"kill-after", required_argument, NULL, 'k'},
    {"preserve-status", no_argument, NULL, 'p'},
    {"quiet", no_argument, NULL, 'q'},
    {"report", optional_argument, NULL, REPORT},
    {"ruby", no_argument, NULL, RUBY},
    {"signal", required_argument, NULL, 's'},
    {"stacks", no_argument, NULL, WITH_STACKS},
    {"status", no_argument, NULL, STATUS},
    {"tree", no_argument, NULL, TREE},
    {"verbose", no_argument, NULL, 'v'},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

/* COOPDL_NEVER for `off`, `infinity`, and what is longer than can be counted.  `also` is what is
 * accepted beside a duration. */
static int64_t to_duration(const char *text, const char *also)
{
    int64_t nanoseconds = COOPDL_NEVER;
    if (strcmp(text, "off") != 0 && coopdl_duration(text, &nanoseconds) != 0 && errno != ERANGE)
        fail("invalid duration '%s': accepted are %sseconds (5, 2.5, 1e3) or numbers with units "
             "d h m s ms us ns (250ms, 1m30s), without a sign; off, infinity and above 292 years: "
             "no limit",
             text, also);
    return nanoseconds;
}

/* A time-out of 0 is none. */
static int64_t to_timeout(const char *text)
{
    int64_t nanoseconds = to_duration(text, "");
    return nanoseconds ? nanoseconds : COOPDL_NEVER;
}

static int to_signal(const char *text)
{
    int number = signal_number(text);
    if (number < 0)
        fail("invalid signal '%s': accepted are names with or without SIG (TERM, SIGTERM), "
             "numbers from 0, which is none, to %d, RTMIN+n and RTMAX-n",
             text, SIGRTMAX);
    return number;
}

_Noreturn static void print(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) == EOF)
        fail("cannot write to standard output: %s", strerror(errno));
    exit(EXIT_SUCCESS);
}

/* `found` is getopt_long's answer.  Of a group of short options (-vx) it leaves the bad letter in
 * optopt; everything else is the word that it has just passed. */
_Noreturn static void fail_option(int found, char **arguments)
{
    char letter[] = {'-', (char)optopt, '\0'};
    bool is_letter = found == '?' && optopt > 0 && optopt < RUBY && !strchr(short_options, optopt);
    const char *given = is_letter ? letter : arguments[optind - 1];
    const char *nearest = found == '?' ? nearest_option(given, long_options) : NULL;
    fail("%s '%s'%s%s: accepted are --grace=DURATION|off, -s or --signal=SIGNAL, -k or "
         "--kill-after=DURATION, -f or --foreground, -p or --preserve-status, -q or --quiet, "
         "--report[=FILE|json], --ruby, --stacks, --tree, -v or --verbose, --check, --status, "
         "--help, "
         "--version",
         found == ':' ? "missing value of option" : "invalid option", given,
         nearest ? ", perhaps --" : "", nearest ? nearest : "");
}

static void read_options(int count, char **arguments, struct plan *plan)
{
    int found;
    opterr = 0;
    while ((found = getopt_long(count, arguments, short_options, long_options, NULL)) != -1) {
        const char *value = optarg ? optarg : "";
        switch (found) {
        case GRACE:
            plan->grace = to_duration(value, "off, ");
            break;
        case 'k':
            plan->kill_after = to_timeout(value);
            break;
        case 's':
            plan->signal = to_signal(value);
            break;
        case 'v':
            plan->verbose = true;
            break;
        case 'f':
            plan->foreground = true;
            break;
        case 'p':
            plan->preserve_status = true;
            break;
        case 'q':
            plan->quiet = true;
            break;
        case REPORT: /* the one whose value may be missing */
            plan->report = optarg ? optarg : "stderr";
            break;
        case RUBY:
            plan->ruby = true;
            break;
        case WITH_STACKS:
            stacks_check();
            plan->stacks_at = 0;
            break;
        case TREE:
            plan->tree = true;
            break;
        case CHECK:
            exit(check(count - optind, arguments + optind));
        case STATUS:
            exit(status(count - optind, arguments + optind));
        case HELP:
            print(help);
        case VERSION:
            printf("coopdl %s", coopdl_version());
            print("\n");
        default:
            fail_option(found, arguments);
        }
    }
}

/* A program that a preload cannot reach does not end by itself: the signal is all there is. */
static bool can_preload(const char *command, struct plan *plan)
{
    char program[PATH_MAX];
    const char *why = preload_obstacle(command, program);
    if (!why)
        return true;
    if (plan->grace == COOPDL_NEVER)
        fail("'%s' %s, LD_PRELOAD cannot reach it, and --grace=off forbids the signal: nothing "
             "would end it",
             program, why);
    say("warning: '%s' %s, LD_PRELOAD cannot reach it: at the deadline it gets SIG%s", program, why,
        signal_name(plan->signal));
    plan->grace = 0; /* but for the hang-up */
    return false;
}

/* Until the library cuts anything there is time to stop all.  A deadline from outside is not ours
 * to put off. */
static void set_stacks(int64_t outer, bool preload, struct plan *plan)
{
    plan->stacks_at = outer <= plan->deadline ? COOPDL_NEVER : plan->deadline;
    if (plan->stacks_at == COOPDL_NEVER)
        say("warning: no stacks are taken: a deadline from outside is earlier");
    else if (preload && __builtin_add_overflow(plan->deadline, STACKS_ALLOWANCE, &plan->deadline))
        plan->deadline = COOPDL_NEVER;
}

static void set_deadline(int64_t duration, const char *command, struct plan *plan)
{
    char *library = find_library();
    bool preload = plan->grace && can_preload(command, plan);
    if (plan->ruby)
        check_ruby(command, preload ? library : NULL);
    int64_t outer = coopdl_deadline();
    plan->deadline = coopdl_after(duration);
    plan->length = duration;
    if (plan->stacks_at != COOPDL_NEVER)
        set_stacks(outer, preload, plan);
    if (outer < plan->deadline) {
        plan->deadline = outer;
        plan->length = COOPDL_NEVER;
    }
    plan->library = preload ? library : NULL;
    hand_down(plan->deadline, plan->library);
    if (plan->ruby)
        require_in_ruby();
}

int main(int count, char **arguments)
{
    if (is_probe(arguments[0]))
        return run_probe();
    const char *hangup = getenv("COOPDL_HANGUP");
    struct plan plan = {
        .deadline = COOPDL_NEVER,
        /* 'off' in the environment does not count: an outer coopdl sets it for its program, since
         * it signals that itself at its own deadline.  At ours we must. */
        .grace = environment_duration("COOPDL_GRACE", 5 * COOPDL_SECOND),
        .hangup = strcmp(hangup ? hangup : "", "off") == 0
                      ? 0
                      : environment_duration("COOPDL_HANGUP", 250 * COOPDL_MILLISECOND),
        .kill_after = environment_duration("COOPDL_KILL_AFTER", COOPDL_NEVER),
        .signal = SIGTERM,
        .stacks_at = COOPDL_NEVER,
        .report = getenv("COOPDL_REPORT"),
    };
    if (count == 1) {
        say("missing duration and command");
        fputs(usage, stderr);
        return STATUS_FAILED;
    }
    read_options(count, arguments, &plan);
    if (plan.kill_after == 0)
        plan.kill_after = COOPDL_NEVER;

    if (count - optind < 2)
        fail("missing %s: usage is coopdl [OPTION]... DURATION COMMAND [ARG]...",
             count == optind ? "duration and command" : "command");
    /* Where there is no signal, KILL counts from the deadline. */
    if (!plan.signal && plan.grace != COOPDL_NEVER && plan.kill_after < plan.grace)
        plan.grace = plan.kill_after;
    if (plan.grace < plan.hangup) /* who wants no grace wants no hang-up */
        plan.hangup = 0;
    int64_t duration = to_timeout(arguments[optind]);
    char **command = arguments + optind + 1;
    if (plan.report && *plan.report)
        report_open(plan.report);
    if (duration != COOPDL_NEVER)
        set_deadline(duration, command[0], &plan);
    else
        plan.stacks_at = COOPDL_NEVER;
    return supervise(command, &plan);
}
