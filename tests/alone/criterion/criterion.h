/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criterion.h -- stands in for Criterion where there is none for this libc or
 * architecture: as much of it as the unit tests use, so that they can be
 * compiled there as they are.
 *
 * Each test runs in a process of its own, bounded by its suite's time-out
 * (criterion.c).
 */
#ifndef COOPDL_TESTS_ALONE_CRITERION_H
#define COOPDL_TESTS_ALONE_CRITERION_H

#include <stdbool.h>
#include <string.h>

struct criterion_suite {
    int timeout; /* seconds */
};

struct criterion_test {
    const char *suite, *name;
    void (*run)(void);
    struct criterion_test *next;
};

/* Of the program's one suite. */
extern struct criterion_suite criterion_suite;

void criterion_add(struct criterion_test *test);
bool criterion_check(bool holds, const char *file, int line, const char *condition);
void criterion_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
__attribute__((noreturn)) void criterion_end(void);
__attribute__((noreturn)) void criterion_skip(const char *reason);

#define TestSuite(suite_, ...)                                                                     \
    __attribute__((constructor)) static void set_up_##suite_(void)                                 \
    {                                                                                              \
        criterion_suite = (struct criterion_suite){__VA_ARGS__};                                   \
    }                                                                                              \
    struct criterion_suite

#define Test(suite_, name_)                                                                        \
    static void suite_##_##name_(void);                                                            \
    __attribute__((constructor)) static void add_##suite_##_##name_(void)                          \
    {                                                                                              \
        static struct criterion_test test = {                                                      \
            .suite = #suite_, .name = #name_, .run = suite_##_##name_};                            \
        criterion_add(&test);                                                                      \
    }                                                                                              \
    static void suite_##_##name_(void)

/* The message, if there is one, follows the condition. */
#define cr_expect(condition, ...)                                                                  \
    do {                                                                                           \
        if (!criterion_check((condition), __FILE__, __LINE__, #condition))                         \
            criterion_say(" " __VA_ARGS__);                                                        \
    } while (0)

#define cr_assert(condition, ...)                                                                  \
    do {                                                                                           \
        if (!criterion_check((condition), __FILE__, __LINE__, #condition)) {                       \
            criterion_say(" " __VA_ARGS__);                                                        \
            criterion_end();                                                                       \
        }                                                                                          \
    } while (0)

#define cr_expect_str_not_empty(string, ...) cr_expect(*(string) != '\0', __VA_ARGS__)
#define cr_log_info(...) criterion_say(__VA_ARGS__)
#define cr_skip_test(reason) criterion_skip(reason)

#endif
