/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports.c -- the names that programs call.
 *
 * With no deadline: one TLS load, one test, one branch, and a jump to libc's
 * function.  Everything else is in the families.
 */
/* Variadic in their headers, or redirected, or with another type for the same.  They are defined
 * here with all their arguments, which are passed in the same places. */
#define open hidden_open
#define open64 hidden_open64
#define openat hidden_openat
#define openat64 hidden_openat64
#define fcntl hidden_fcntl
#define fcntl64 hidden_fcntl64
#define syscall hidden_syscall
#define sigpause hidden_sigpause
#define aio_suspend64 hidden_aio_suspend64
#include <aio.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <unistd.h>
#undef open
#undef open64
#undef openat
#undef openat64
#undef fcntl
#undef fcntl64
#undef syscall
#undef sigpause
#undef aio_suspend64

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
#define CHILD(type, name, parameters, arguments)                                                   \
    EXPORT type name parameters;                                                                   \
    type name parameters                                                                           \
    {                                                                                              \
        if (unlikely(!coopdl_real.name))                                                           \
            coopdl_resolve();                                                                      \
        return coopdl_child_##name arguments;                                                      \
    }
#define ALIAS(alias_name, name) /* NOLINTNEXTLINE(bugprone-macro-parentheses): declares it */      \
    EXPORT extern __typeof__(name) alias_name __attribute__((alias(#name)));
#include "preload/calls.def"
