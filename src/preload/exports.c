/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports.c -- the names that programs call.
 *
 * With no deadline: one TLS load, one test, one branch, and a jump to libc's
 * function.  Everything else is in the families.
 */
#include "preload/preload.h"

#ifndef __clang__ /* an alias is not declared nothrow where its function is: no harm */
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif

#define EXPORT __attribute__((visibility("default")))

/* The thread of a process with a budget that has no record yet gets one; out of the way, so that
 * the rest needs no stack frame. */
#define CALL(type, name, parameters, arguments, ...)                                               \
    __attribute__((noinline, cold)) static type first_##name parameters                            \
    {                                                                                              \
        struct coopdl_thread *thread = coopdl_claim();                                             \
        if (!thread || coopdl_load(thread) == WORD_NEVER)                                          \
            return coopdl_real.name arguments;                                                     \
        return coopdl_timed_##name arguments;                                                      \
    }                                                                                              \
    EXPORT type name parameters;                                                                   \
    type name parameters                                                                           \
    {                                                                                              \
        struct coopdl_thread *thread = coopdl_self;                                                \
        if (likely(!thread)) {                                                                     \
            if (likely(!coopdl_budgeted))                                                          \
                return coopdl_real.name arguments;                                                 \
            return first_##name arguments;                                                         \
        }                                                                                          \
        if (coopdl_load(thread) == WORD_NEVER)                                                     \
            return coopdl_real.name arguments;                                                     \
        return coopdl_timed_##name arguments;                                                      \
    }
#define FORTIFIED(type, chk, parameters, arguments, fits, name, base)                              \
    EXPORT type chk parameters;                                                                    \
    type chk parameters                                                                            \
    {                                                                                              \
        struct coopdl_thread *thread = coopdl_active();                                            \
        if ((!thread && coopdl_real.chk) || !(fits))                                               \
            return coopdl_real.chk arguments;                                                      \
        return thread ? coopdl_timed_##name base : coopdl_real.name base;                          \
    }
#define MASK(type, name, parameters, arguments)                                                    \
    EXPORT type name parameters;                                                                   \
    type name parameters                                                                           \
    {                                                                                              \
        if (unlikely(!coopdl_real.name))                                                           \
            coopdl_resolve();                                                                      \
        return coopdl_mask_##name arguments;                                                       \
    }
#define ALIAS(alias_name, name) /* NOLINTNEXTLINE(bugprone-macro-parentheses): declares it */      \
    EXPORT extern __typeof__(name) alias_name __attribute__((alias(#name)));
#include "preload/calls.def"
