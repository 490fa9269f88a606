/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports.c -- the names that programs call.
 *
 * With no deadline: one TLS load, one test, one branch, and a jump to libc's
 * function.  Everything else is in the families.
 *
 * In C each function is entry_NAME: the headers declare some of libc's as
 * variadic or with other types for the same, and send some to another name.
 */
#include "preload/measure.h"
#include "preload/preload.h"

#define EXPORT __attribute__((visibility("default")))

#define EXPORTED(type, name, parameters)                                                           \
    EXPORT type entry_##name parameters __asm__(#name);                                            \
    type entry_##name parameters
#define ANOTHER_NAME(other, name, symbol)                                                          \
    EXPORT extern __typeof__(entry_##name) entry_##other __asm__(#other)                           \
        __attribute__((alias(symbol)));

#ifdef COOPDL_WIDE /* exported are the names for this size alone, whose calls are among these */
#define ENTRY(type, name, parameters) __attribute__((unused)) static type entry_##name parameters
#else
#define ENTRY EXPORTED
#endif

/* The call, measured, where all are (measure.c): the rest of the function is not reached then. */
#define MEASURED(type, name, parameters, arguments, call)                                          \
    if (unlikely(coopdl_measures)) {                                                               \
        struct coopdl_measuring measuring;                                                         \
        const long first[] = COOPDL_LONGS arguments;                                               \
        coopdl_measure_begin(&measuring, #name, coopdl_object_of(#name, #parameters), first,       \
                             __builtin_extract_return_addr(__builtin_return_address(0)));          \
        type measured = (call);                                                                    \
        coopdl_measure_end(&measuring, (long)measured);                                            \
        return measured;                                                                           \
    }

/* The thread of a process with a budget that has no record yet gets one; out of the way, so that
 * the rest needs no stack frame. */
#define CALL(type, name, parameters, arguments, ...)                                               \
    __attribute__((noinline, cold)) static type first_##name parameters                            \
    {                                                                                              \
        MEASURED(type, name, parameters, arguments,                                                \
                 measuring.thread &&coopdl_load(measuring.thread) != WORD_NEVER                    \
                     ? coopdl_timed_##name arguments                                               \
                     : coopdl_real.name arguments)                                                 \
        struct coopdl_thread *thread = coopdl_claim();                                             \
        if (!thread || coopdl_load(thread) == WORD_NEVER)                                          \
            return coopdl_real.name arguments;                                                     \
        return coopdl_timed_##name arguments;                                                      \
    }                                                                                              \
    ENTRY(type, name, parameters)                                                                  \
    {                                                                                              \
        struct coopdl_thread *thread = coopdl_shown;                                               \
        if (likely(!thread)) {                                                                     \
            if (likely(!coopdl_budgeted))                                                          \
                return coopdl_real.name arguments;                                                 \
            return first_##name arguments;                                                         \
        }                                                                                          \
        if (coopdl_load(thread) == WORD_NEVER)                                                     \
            return coopdl_real.name arguments;                                                     \
        return coopdl_timed_##name arguments;                                                      \
    }
#define CHECKED(type, chk, parameters, arguments, fits, name, base)                                \
    EXPORTED(type, chk, parameters)                                                                \
    {                                                                                              \
        struct coopdl_thread *thread = coopdl_shown;                                               \
        bool none = thread ? coopdl_load(thread) == WORD_NEVER : !coopdl_budgeted;                 \
        if ((none && coopdl_real.chk) || !(fits))                                                  \
            return coopdl_real.chk arguments;                                                      \
        if (none)                                                                                  \
            return coopdl_real.name base;                                                          \
        return thread ? coopdl_timed_##name base : first_##name base;                              \
    }

#ifndef __GLIBC__ /* a program may ask whether a name is there */
#define GNU(...)
#endif
#ifdef COOPDL_WIDE
#define WIDE(wide, name) ANOTHER_NAME(wide, name, "entry_" #name)
#define WIDE_FORTIFIED CHECKED
#else
#define ALIAS(alias_name, name) ANOTHER_NAME(alias_name, name, #name)
#define FORTIFIED CHECKED
#define MASK(type, name, parameters, arguments)                                                    \
    EXPORTED(type, name, parameters)                                                               \
    {                                                                                              \
        if (unlikely(!coopdl_real.name))                                                           \
            coopdl_resolve();                                                                      \
        return coopdl_mask_##name arguments;                                                       \
    }
#define CHILD(type, name, parameters, arguments)                                                   \
    __attribute__((noinline, cold, unused)) static type measured_##name parameters                 \
    {                                                                                              \
        MEASURED(type, name, parameters, arguments, coopdl_child_##name arguments)                 \
        return coopdl_child_##name arguments;                                                      \
    }                                                                                              \
    EXPORTED(type, name, parameters)                                                               \
    {                                                                                              \
        if (unlikely(!coopdl_real.name))                                                           \
            coopdl_resolve();                                                                      \
        if (unlikely(coopdl_measures) && coopdl_is_wait(#name))                                    \
            return measured_##name arguments;                                                      \
        return coopdl_child_##name arguments;                                                      \
    }
#define JOIN(type, name, parameters, arguments)                                                    \
    __attribute__((noinline, cold)) static type measured_##name parameters                         \
    {                                                                                              \
        MEASURED(type, name, parameters, arguments, coopdl_join_##name arguments)                  \
        return coopdl_join_##name arguments;                                                       \
    }                                                                                              \
    EXPORTED(type, name, parameters)                                                               \
    {                                                                                              \
        if (unlikely(!coopdl_real.name))                                                           \
            coopdl_resolve();                                                                      \
        if (unlikely(coopdl_measures))                                                             \
            return measured_##name arguments;                                                      \
        return coopdl_join_##name arguments;                                                       \
    }
#ifndef __LP64__ /* the wide names are those of the other size */
#define WIDE(wide, name)
#define WIDE_FORTIFIED(type, chk, ...)
#endif
#endif
#include "preload/calls.def"
