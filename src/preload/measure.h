/* SPDX-License-Identifier: Apache-2.0 */
/* measure.h -- how long each call waits, where a report was asked for. */
#ifndef COOPDL_PRELOAD_MEASURE_H
#define COOPDL_PRELOAD_MEASURE_H

#include "core/thread.h"

#include <string.h>

struct coopdl_waits_live;

/* A call that is being measured. */
struct coopdl_measuring {
    struct coopdl_thread *thread; /* null: there is no record */
    bool counts;
    const char *call;
    const void *caller, *outer; /* the address that it returns to; and the call that a signal
                                   handler has interrupted */
    struct coopdl_place place;
    int64_t begun;
    uint32_t cut_version, row;
    uint64_t outer_begun;
    uint32_t outer_row;
    uint32_t site;
    struct coopdl_waits_live *live;
};

/* The target of the call, by the beginning of its parameters, which is hashed. */
static inline enum coopdl_object coopdl_object_of(const char *name, const char *parameters)
{
#define BEGINS(with) (strncmp(parameters, with, sizeof(with) - 1) == 0)
    return strncmp(name, "epoll_", 6) == 0                                             ? ON_EPOLL
           : strcmp(name, "connect") == 0                                              ? ON_CONNECT
           : BEGINS("(int n, fd_set")                                                  ? ON_SELECT
           : BEGINS("(struct pollfd")                                                  ? ON_POLL
           : BEGINS("(const char *path") || BEGINS("(int directory, const char *path") ? ON_PATH
           : BEGINS("(pid_t pid") || BEGINS("(int *status") || BEGINS("(idtype_t")     ? ON_CHILD
           : BEGINS("(int fd") || BEGINS("(int in") || BEGINS("(int out") || BEGINS("(mqd_t")
               ? ON_DESCRIPTOR
               : ON_NOTHING;
#undef BEGINS
}

/* Of those that start programs: whether it waits for one. */
static inline bool coopdl_is_wait(const char *name)
{
    return strcmp(name, "system") == 0 || strcmp(name, "pclose") == 0;
}

/* The first arguments as longs, whatever they are; 0 for those that are not there. */
#define COOPDL_LONG(value)                                                                         \
    __extension__({                                                                                \
        union {                                                                                    \
            long bits;                                                                             \
            __typeof__(value) held;                                                                \
        } both = {.bits = 0};                                                                      \
        both.held = (value);                                                                       \
        both.bits;                                                                                 \
    })
#define COOPDL_FIVE(zero, a, b, c, d, ...)                                                         \
    {                                                                                              \
        COOPDL_LONG(a), COOPDL_LONG(b), COOPDL_LONG(c), COOPDL_LONG(d)                             \
    }
#define COOPDL_LONGS(...) COOPDL_FIVE(0, ##__VA_ARGS__, 0, 0, 0, 0, 0)

/* errno is left alone. */
void coopdl_measure_begin(struct coopdl_measuring *measuring, const char *call,
                          enum coopdl_object object, const long arguments[4], const void *caller);
void coopdl_measure_end(struct coopdl_measuring *measuring, long result);

#endif
