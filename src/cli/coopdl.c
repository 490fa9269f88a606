/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coopdl.c -- the command: coopdl [OPTION]... DURATION COMMAND [ARG]...
 *
 * As timeout(1), but at the deadline the program's own blocking calls fail (the
 * library is preloaded into it), so that it can end by itself.  Only if it has
 * not ended after the grace is it signalled.
 *
 * What must hold: whatever is wrong with the arguments is one line on stderr
 * and exit status 125, with nothing started.
 */
#include "coopdl.h"

#include "environment.h"
#include "failure.h"
#include "signals.h"
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
    "Start COMMAND, and have it end within DURATION.  From then on its blocking\n"
    "calls fail, with EINTR and then ETIMEDOUT, so that it ends by itself; only if\n"
    "it has not ended after the grace is it sent a signal.\n"
    "\n"
    "      --grace=DURATION    how long after the deadline the signal is sent;\n"
    "                          'off': never; default: COOPDL_GRACE from the\n"
    "                          environment if that is a duration, else 5s\n"
    "  -s, --signal=SIGNAL     the signal: TERM (default), SIGTERM, 15, RTMIN+1...\n"
    "  -k, --kill-after=DURATION\n"
    "                          how long after the signal KILL is sent; 0: never;\n"
    "                          default: COOPDL_KILL_AFTER, else never\n"
    "      --foreground        signal COMMAND alone, not its process group, and\n"
    "                          leave it the terminal\n"
    "      --preserve-status   exit with COMMAND's status also after the deadline\n"
    "      --ruby              start COMMAND with RUBYOPT=-rcoopdl: Ruby's main thread gets\n"
    "                          a Timeout::Error at the deadline, also where it computes\n"
    "                          (the gem coopdl is to be installed)\n"
    "  -v, --verbose           one line on stderr when the deadline has passed, and\n"
    "                          for each signal sent\n"
    "      --help              print this and exit\n"
    "      --version           print the version and exit\n"
    "\n"
    "DURATION is a number of seconds (5, 2.5) or numbers with units d h m s ms us ns\n"
    "(250ms, 1m30s).  0 means no limit: COMMAND is then started as it is, without\n"
    "the library.  An earlier deadline from outside (COOPDL_DEADLINE, COOPDL_BUDGET)\n"
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

enum { FOREGROUND = 256, PRESERVE_STATUS, RUBY, GRACE, HELP, VERSION };

static const char short_options[] = "+:k:s:v"; /* +: COMMAND's options are COMMAND's */

static const struct option long_options[] = {
    {"foreground", no_argument, NULL, FOREGROUND},
    {"grace", required_argument, NULL, GRACE},
    {"help", no_argument, NULL, HELP},
    {"kill-after", required_argument, NULL, 'k'},
    {"preserve-status", no_argument, NULL, PRESERVE_STATUS},
    {"ruby", no_argument, NULL, RUBY},
    {"signal", required_argument, NULL, 's'},
    {"verbose", no_argument, NULL, 'v'},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

/* `also` is what is accepted beside a duration. */
static int64_t to_duration(const char *text, const char *also)
{
    int64_t nanoseconds;
    if (coopdl_duration(text, &nanoseconds) != 0)
        fail("invalid duration '%s'%s: accepted are %sseconds (5, 2.5) or numbers with units "
             "d h m s ms us ns (250ms, 1m30s), without a sign, up to 292 years",
             text, errno == ERANGE ? " (too large)" : "", also);
    return nanoseconds;
}

static int64_t to_grace(const char *text)
{
    return strcmp(text, "off") == 0 ? COOPDL_NEVER : to_duration(text, "off, ");
}

static int to_signal(const char *text)
{
    int number = signal_number(text);
    if (!number)
        fail("invalid signal '%s': accepted are names with or without SIG (TERM, SIGTERM), "
             "numbers from 1 to %d, RTMIN+n and RTMAX-n",
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
    bool is_letter =
        found == '?' && optopt > 0 && optopt < FOREGROUND && !strchr(short_options, optopt);
    fail("%s '%s': accepted are --grace=DURATION|off, -s or --signal=SIGNAL, -k or "
         "--kill-after=DURATION, --foreground, --preserve-status, --ruby, -v or --verbose, --help, "
         "--version",
         found == ':' ? "missing value of option" : "invalid option",
         is_letter ? letter : arguments[optind - 1]);
}

static void read_options(int count, char **arguments, struct plan *plan)
{
    int found;
    opterr = 0;
    while ((found = getopt_long(count, arguments, short_options, long_options, NULL)) != -1) {
        switch (found) {
        case GRACE:
            plan->grace = to_grace(optarg);
            break;
        case 'k':
            plan->kill_after = to_duration(optarg, "");
            break;
        case 's':
            plan->signal = to_signal(optarg);
            break;
        case 'v':
            plan->verbose = true;
            break;
        case FOREGROUND:
            plan->foreground = true;
            break;
        case PRESERVE_STATUS:
            plan->preserve_status = true;
            break;
        case RUBY:
            plan->ruby = true;
            break;
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
    fprintf(stderr,
            "coopdl: warning: '%s' %s, LD_PRELOAD cannot reach it: at the deadline it gets SIG%s\n",
            program, why, signal_name(plan->signal));
    plan->grace = 0;
    return false;
}

static void set_deadline(int64_t duration, const char *command, struct plan *plan)
{
    char *library = find_library();
    bool preload = can_preload(command, plan);
    int64_t outer = coopdl_deadline();
    plan->deadline = coopdl_after(duration);
    if (outer < plan->deadline)
        plan->deadline = outer;
    hand_down(plan->deadline, preload ? library : NULL);
    if (plan->ruby)
        require_in_ruby();
    free(library);
}

int main(int count, char **arguments)
{
    struct plan plan = {
        .deadline = COOPDL_NEVER,
        /* 'off' in the environment does not count: an outer coopdl sets it for its program, since
         * it signals that itself at its own deadline.  At ours we must. */
        .grace = environment_duration("COOPDL_GRACE", 5 * COOPDL_SECOND),
        .kill_after = environment_duration("COOPDL_KILL_AFTER", 0),
        .signal = SIGTERM,
    };
    read_options(count, arguments, &plan);
    if (plan.kill_after == 0)
        plan.kill_after = COOPDL_NEVER;

    if (count - optind < 2)
        fail("missing %s: usage is coopdl [OPTION]... DURATION COMMAND [ARG]...",
             count == optind ? "duration and command" : "command");
    int64_t duration = to_duration(arguments[optind], "");
    char **command = arguments + optind + 1;
    if (duration > 0)
        set_deadline(duration, command[0], &plan);
    return supervise(command, &plan);
}
