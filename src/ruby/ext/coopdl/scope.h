/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.h -- a Ruby scope: the library's, and what there is to raise when it
 * expires.
 */
#ifndef COOPDL_RUBY_SCOPE_H
#define COOPDL_RUBY_SCOPE_H

#include "coopdl.h"

#include <ruby.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What the hook is to know of an expired scope. */
enum stage {
    STAGE_ENTERED, /* no exception has been sent */
    STAGE_SENT,    /* one is in the thread's queue */
    STAGE_AT_WORK, /* it has been raised; whether it still is at work is to be looked at */
    STAGE_OVER     /* it has been raised, and that was that */
};

struct scope {
    coopdl_scope core; /* first: the hook gets its address */
    bool shield;
    struct scope *outer, *inner;   /* of the same native thread */
    struct scope *older, *younger; /* of all threads */
    int64_t deadline;
    bool left;     /* but still linked */
    bool given_up; /* and not linked */
    VALUE thread, fiber, klass, message;
    VALUE tag;         /* to throw to its end */
    VALUE exception;   /* the last one that was sent or raised for this scope */
    VALUE queued;      /* the one that was sent and has not been raised yet, or nil */
    uint64_t serial;   /* never used again, unlike the address */
    bool sent, raised; /* ever */
    _Atomic int stage;
    _Atomic unsigned asked; /* by the hook, how often, while nothing has been sent */
    _Atomic int64_t sent_at;
    _Atomic bool wanted; /* the waiter is to look at it */
};

/* The calling thread's innermost scope. */
extern __thread struct scope *coopdl_innermost;

/* Fills in a scope, links it and enters it; raises if the library refuses. */
void coopdl_scope_enter(struct scope *scope, int64_t deadline);
void coopdl_scope_shield(struct scope *scope);

/* The library's coopdl_leave, which lets inner scopes of other fibers stand.  The scope stays
 * linked, for an exception that was sent to find it. */
int coopdl_scope_leave(struct scope *scope);
void coopdl_scope_unlink(struct scope *scope);

/* The youngest of all scopes; the next is `older`.  With the GVL. */
struct scope *coopdl_scope_youngest(void);

/* The scope of that serial number, if it is still linked.  With the GVL. */
struct scope *coopdl_scope_find(uint64_t serial);

/* Looks at the scope around `core`, and then inwards to the next shield, until `look` says no.
 * False if `core` is not one of Ruby's.  Without the GVL. */
bool coopdl_scope_visit(const coopdl_scope *core, bool (*look)(struct scope *, void *), void *data);

/* Whether a shield was entered after the scope in the same thread. */
bool coopdl_scope_shielded(const struct scope *scope);

/* In a forked child, before anything else: what is left is the forking thread's. */
void coopdl_scope_forked(void);

void coopdl_scope_init(void);

#endif
