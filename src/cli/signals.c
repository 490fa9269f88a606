/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c -- the table of signal names, and numbers beside it. */
#include "signals.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    int number;
} names[] = {
    {"EXIT", 0}, /* as a shell calls it */
    {"HUP", SIGHUP},
    {"INT", SIGINT},
    {"QUIT", SIGQUIT},
    {"ILL", SIGILL},
    {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT},
    {"BUS", SIGBUS},
    {"FPE", SIGFPE},
    {"KILL", SIGKILL},
    {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV},
    {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE},
    {"ALRM", SIGALRM},
    {"TERM", SIGTERM},
    {"CHLD", SIGCHLD},
    {"CONT", SIGCONT},
    {"STOP", SIGSTOP},
    {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU},
    {"URG", SIGURG},
    {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ},
    {"VTALRM", SIGVTALRM},
    {"PROF", SIGPROF},
    {"POLL", SIGPOLL},
    {"SYS", SIGSYS},
    {"WINCH", SIGWINCH},
#ifdef SIGSTKFLT
    {"STKFLT", SIGSTKFLT},
#endif
#ifdef SIGPWR
    {"PWR", SIGPWR},
#endif
    /* Second names. */
    {"IOT", SIGABRT},
    {"CLD", SIGCHLD},
    {"IO", SIGPOLL},
};

enum { NAMES = sizeof(names) / sizeof(names[0]) };

/* Digits only, up to three; else -1. */
static int decimal(const char *text)
{
    int value = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits < 1 || digits > 3 || text[digits])
        return -1;
    for (; *text; text++)
        value = 10 * value + (*text - '0');
    return value;
}

/* What libc keeps for itself, between the named signals and SIGRTMIN, is none of the user's. */
static int valid(int number)
{
    int named = number >= 0 && number <= 31;
    return named || (number >= SIGRTMIN && number <= SIGRTMAX) ? number : -1;
}

/* RTMIN, RTMIN+n, RTMAX or RTMAX-n: `text` begins behind the T of RT. */
static int realtime(const char *text)
{
    int upwards = strncasecmp(text, "MIN", 3) == 0;
    if (!upwards && strncasecmp(text, "MAX", 3) != 0)
        return -1;
    text += 3;
    int distance = 0;
    if (*text) {
        distance = *text == (upwards ? '+' : '-') ? decimal(text + 1) : -1;
        if (distance < 0 || distance > SIGRTMAX - SIGRTMIN)
            return -1;
    }
    return upwards ? SIGRTMIN + distance : SIGRTMAX - distance;
}

int signal_number(const char *text)
{
    if (decimal(text) >= 0)
        return valid(decimal(text));
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    if (strncasecmp(text, "RT", 2) == 0)
        return realtime(text + 2);
    for (int i = 0; i < NAMES; i++)
        if (strcasecmp(text, names[i].name) == 0)
            return names[i].number;
    return -1;
}

const char *signal_name(int number)
{
    static char name[sizeof("RTMIN+2147483647")];
    for (int i = 0; i < NAMES; i++)
        if (names[i].number == number)
            return names[i].name;
    if (number == SIGRTMIN || number == SIGRTMAX)
        return number == SIGRTMIN ? "RTMIN" : "RTMAX";
    if (number < SIGRTMIN)
        snprintf(name, sizeof(name), "%d", number);
    else if (number - SIGRTMIN <= SIGRTMAX - number)
        snprintf(name, sizeof(name), "RTMIN+%d", number - SIGRTMIN);
    else
        snprintf(name, sizeof(name), "RTMAX-%d", SIGRTMAX - number);
    return name;
}
