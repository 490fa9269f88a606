/* SPDX-License-Identifier: Apache-2.0 */
/* process.h -- runs a program, and holds what it says and how it ends. */
#ifndef COOPDL_TESTS_CLI_PROCESS_H
#define COOPDL_TESTS_CLI_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MS INT64_C(1000000)

/* The tests' own clock: CLOCK_MONOTONIC in nanoseconds. */
int64_t now(void);

struct output {
    int fd;
    size_t length;
    char text[1 << 16];
};

struct process {
    pid_t pid;
    int pidfd;
    int64_t started, ended;
    int64_t cpu; /* its own and its children's, in ns */
    int status;  /* as wait gives it */
    struct output out, err;
};

/* What the started program is to do to itself before exec; null: nothing. */
extern void (*before_exec)(void);

/* What meson names; empty if there is none. */
const char *tested(const char *variable);

/* Starts argv[0] (looked up in PATH) in a process group of its own. */
struct process *start(const char *const *argv);

/* Waits until the output has `text`; the test fails after 10 s. */
void await_text(struct process *process, struct output *output, const char *text);

/* Waits until nobody has the output any more; the test fails after 10 s. */
void await_end(struct output *output);

/* Waits until it ends; the test fails after 15 s.  Ends what it has left in its group. */
void await_exit(struct process *process);

/* Both.  The result lasts until the test's end. */
struct process *run(const char *const *argv);

#define START(...) start((const char *const[]){__VA_ARGS__, NULL})
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})
#define COOPDL tested("COOPDL")
#define DEAF tested("TEST_DEAF")

/* The port, in digits, of a listener on this machine that never answers. */
const char *silent_port(void);

/* How often `text` occurs in `whole`. */
int occurrences(const char *whole, const char *text);

/* One line on stderr that begins with "coopdl: ", and all of `words` (null-terminated) in it. */
void assert_one_line(const struct process *process, const char *const *words);

/* Exit status 125 for the reason in `words`, nothing on stdout, one line on stderr. */
void assert_refused(const struct process *process, const char *const *words);

#define ASSERT_REFUSED(process, ...)                                                               \
    assert_refused(process, (const char *const[]){__VA_ARGS__, NULL})
#define ASSERT_ONE_LINE(process, ...)                                                              \
    assert_one_line(process, (const char *const[]){__VA_ARGS__, NULL})

/* The exit status; the test fails if it ended by a signal. */
int exit_status(const struct process *process);

/* A clean environment for each test. */
void set_up(void);

/* Makes a directory, and gives the path of a file in it; removed after the test. */
const char *scratch(const char *name);
void tear_down(void);

#endif
