/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_budget_settings.c -- the variables of the environment: what each of them changes, and that a
 * value that cannot be understood is refused.
 */
#include "preloaded.h"

Test(budget, zero_and_others_are_no_limit)
{
    static const char *none[] = {"0", "0.0s", "0e5", "off", "infinity", "99999999999", "1e999"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        char setting[64];
        snprintf(setting, sizeof(setting), "COOPDL_BUDGET=%s", none[i]);
        struct outcome o = run(setting, "sh -c 'sleep 0.02; echo ${COOPDL_DEADLINE-none}'");
        cr_expect_str_eq(o.output, "none\n", "%s: %s", setting, o.output);
    }
}

Test(budget, errno_policy)
{
    static const struct {
        const char *policy, *expected;
    } policies[] = {
        {"escalate", "[4, 110, 110]"}, {"eintr", "[4, 4, 4]"}, {"etimedout", "[110, 110, 110]"}};
    for (size_t i = 0; i < 3; i++) {
        char settings[100];
        snprintf(settings, sizeof(settings), "COOPDL_BUDGET=50ms COOPDL_ERRNO=%s",
                 policies[i].policy);
        struct outcome o =
            run(settings, "perl -e 'pipe(R, W); for (1..3) { sysread(R, $x, 1); push @e, $!+0 } "
                          "print \"[\" . join(\", \", @e) . \"]\"'");
        cr_expect_str_eq(o.output, policies[i].expected, "%s: %s", policies[i].policy, o.output);
    }
}

Test(budget, stdio_is_told_an_error_if_asked)
{
    struct outcome o =
        run("COOPDL_BUDGET=100ms COOPDL_READ=error COOPDL_TRAP=0", getenv("COOPDL_STDIO_READER"));
    cr_expect(strstr(o.output, "main 4\n"), "%s", o.output);
    o = run("COOPDL_BUDGET=100ms COOPDL_READ=nonsense", "true");
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 125);
}

Test(budget, log)
{
    char path[] = "/tmp/coopdl-test-XXXXXX", settings[200], text[4096] = "";
    int fd = mkstemp(path);
    snprintf(settings, sizeof(settings), "COOPDL_BUDGET=50ms COOPDL_TRAP=1 COOPDL_LOG=%s", path);
    run(settings, "sleep 60");
    cr_expect(read(fd, text, sizeof(text) - 1) > 0);
    unlink(path);
    cr_expect(strncmp(text, "coopdl=cut name=sleep pid=", 26) == 0, "%s", text);
    cr_expect(strstr(text, " deadline=budget length_ms=50 late_us="), "%s", text);
    cr_expect(strstr(text, "nanosleep library=sleep waited_ms="), "%s", text);
    cr_expect(lines(text) == 1, "one line for each first cut: %s", text);
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_LOG=1", "sleep 60");
    cr_expect(strstr(o.output, "coopdl=cut name=sleep "), "%s", o.output);
    o = run("COOPDL_BUDGET=50ms COOPDL_LOG=1 COOPDL_LOG_FORMAT=json", "sleep 60");
    cr_expect(strstr(o.output, "{\"coopdl\":\"cut\",\"name\":\"sleep\",\"pid\":"), "%s", o.output);
    cr_expect(strstr(o.output, ",\"deadline\":\"budget\",\"length_ms\":50,"), "%s", o.output);
}

/* A name that is not a word is quoted, as a JSON string is; whatever it is, the line is one. */
Test(budget, log_quotes_what_is_not_a_word)
{
    static const char command[] = "perl -e '$0 = q(a \"b=); sleep 60'";
    struct outcome o = run("COOPDL_BUDGET=300ms COOPDL_LOG=1", command);
    const char *cut = strstr(o.output, "coopdl=cut name=\"a \\\"b=\" pid=");
    cr_expect(cut && !strstr(cut + 1, "coopdl=cut"), "%s", o.output);
    o = run("COOPDL_BUDGET=300ms COOPDL_LOG=1 COOPDL_LOG_FORMAT=json", command);
    cr_expect(strstr(o.output, "\"name\":\"a \\\"b=\",\"pid\":"), "%s", o.output);
}

Test(budget, log_says_once_why_there_is_no_trap)
{
    /* Two threads, and the reason of one of them. */
    struct outcome o = run("COOPDL_BUDGET=50ms COOPDL_GRACE=off COOPDL_LOG=1 COOPDL_TRAP=0",
                           getenv("COOPDL_STDIO_READER"));
    const char *said = strstr(o.output, "the trap is not in use");
    cr_expect(said && strstr(said, "why=\"COOPDL_TRAP=0\"\n"), "%s", o.output);
    cr_expect(said && !strstr(said + 1, "the trap is not in use"), "%s", o.output);
}

Test(budget, under_valgrind_there_is_no_trap)
{
    /* It makes the program's system calls from code of its own. */
    char command[1000];
    if (access("/usr/bin/valgrind", X_OK) != 0)
        cr_skip_test("there is no valgrind");
    snprintf(command, sizeof(command), "valgrind -q %s", getenv("COOPDL_STDIO_READER"));
    struct outcome o = run("COOPDL_BUDGET=3s COOPDL_GRACE=off", command);
    cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0, "status %x: %s", o.status,
              o.output);
    cr_expect_str_eq(o.output, "main 4\nthread 4\n");
}

Test(budget, another_signal)
{
    static const char *signals[] = {"RTMIN+7", "SIGRTMAX-1", "USR2", "SIGURG", "50"};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        char settings[100];
        snprintf(settings, sizeof(settings), "COOPDL_BUDGET=100ms COOPDL_SIGNAL=%s", signals[i]);
        struct outcome o = run(settings, "perl -e 'pipe(R, W); sysread(R, $x, 1); print $!+0'");
        cr_expect_str_eq(o.output, "4", "%s: %s, status %x", signals[i], o.output, o.status);
        cr_expect(o.took >= 100 * MS && o.took < 100 * MS + LATEST);
    }
}

Test(budget, excluded_threads)
{
    char command[1000];
    snprintf(command, sizeof(command), "%s excluded", getenv("COOPDL_STDIO_READER"));
    struct outcome o =
        run("COOPDL_BUDGET=200ms COOPDL_GRACE=off COOPDL_EXCLUDE_THREADS=a,excluded", command);
    cr_expect_str_eq(o.output, "main 4\n", "%s", o.output);
}

static const struct {
    const char *name, *value, *accepted;
} refused[] = {
    {"COOPDL_BUDGET", "", "accepted: seconds"},
    {"COOPDL_BUDGET", "5x", "accepted: seconds"},
    {"COOPDL_BUDGET", "-5", "accepted: seconds"},
    {"COOPDL_BUDGET", "nan", "accepted: seconds"},
    {"COOPDL_BUDGET", "293y", "accepted: seconds"},
    {"COOPDL_DEADLINE", "", "CLOCK_MONOTONIC"},
    {"COOPDL_DEADLINE", "5s", "CLOCK_MONOTONIC"},
    {"COOPDL_DEADLINE", "-5", "CLOCK_MONOTONIC"},
    {"COOPDL_DEADLINE", "9223372036854775808", "CLOCK_MONOTONIC"},
    {"COOPDL_ERRNO", "", "escalate, eintr, etimedout"},
    {"COOPDL_ERRNO", "EINTR", "escalate, eintr, etimedout"},
    {"COOPDL_GRACE", "soon", "or off"},
    {"COOPDL_GRACE", "", "or off"},
    {"COOPDL_KILL_AFTER", "-1", "or off"},
    {"COOPDL_SIGNAL", "KILL", "RTMIN+n"},
    {"COOPDL_SIGNAL", "SEGV", "RTMIN+n"},
    {"COOPDL_SIGNAL", "0", "RTMIN+n"},
    {"COOPDL_SIGNAL", "33", "RTMIN+n"},
    {"COOPDL_SIGNAL", "65", "RTMIN+n"},
    {"COOPDL_SIGNAL", "RTMIN+99", "RTMIN+n"},
    {"COOPDL_SIGNAL", "RTMAX-", "RTMIN+n"},
    {"COOPDL_SIGNAL", "", "RTMIN+n"},
    {"COOPDL_TRAP", "2", "0, 1"},
    {"COOPDL_TRAP", "", "0, 1"},
    {"COOPDL_LOG", "", "path of a file"},
    {"COOPDL_LOG", "/dev/null/log", "path of a file"},
    {"COOPDL_LOG_FORMAT", "yaml", "accepted: text, json"},
};

Test(budget, what_cannot_be_understood_is_refused)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        char settings[200], quoted[100];
        snprintf(settings, sizeof(settings), "%s='%s'", refused[i].name, refused[i].value);
        snprintf(quoted, sizeof(quoted), "%s='%s'", refused[i].name, refused[i].value);
        struct outcome o = run(settings, "echo started");
        cr_expect(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 125, "%s: status %x", quoted,
                  o.status);
        cr_expect_null(strstr(o.output, "started"), "%s: it was started", quoted);
        cr_expect(lines(o.output) == 1, "%s: %s", quoted, o.output);
        cr_expect(strstr(o.output, quoted), "%s is not named: %s", quoted, o.output);
        cr_expect(strstr(o.output, refused[i].accepted), "%s: %s", quoted, o.output);
    }
}
