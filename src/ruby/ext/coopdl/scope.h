/* SPDX-License-Identifier: Apache-2.0 */
/* scope.h -- a Ruby scope: the library's scope, and the exception that is raised when it expires.
 */
#ifndef COOPDL_RUBY_SCOPE_H
#define COOPDL_RUBY_SCOPE_H

#include "coopdl.h"

#include <ruby.h>
#include <stdatomic.h>
#include <stdbool.h>

/* The state of an expired scope, for the hook. */
enum stage {
    STAGE_ENTERED, /* no exception has been sent */
    STAGE_SENT,    /* one is in the thread's queue */
    STAGE_RAISED,  /* it has been raised; whether it is still being handled must be looked at */
    STAGE_OVER     /* one of a given class has been raised and rescued: nothing follows */
};

struct scope {
    coopdl_scope core; /* first: the hook gets its address */
    bool shield;
    bool inherited;                /* by a forked child, which is inside the block no more */
    struct scope *outer, *inner;   /* of the same native thread */
    struct scope *older, *younger; /* of all threads */
    _Atomic int64_t deadline;      /* the hook reads it, and a thread that cancels sets it */
    int64_t grace; /* ns behind the deadline for the clean-up; COOPDL_NEVER: no limit */
    bool left;     /* but still linked */
    bool given_up; /* and not linked */
    VALUE thread, fiber, klass, message;
    VALUE tag;                 /* to throw to its end */
    VALUE handle;              /* the Coopdl::Scope that Ruby code has of it, or nil */
    VALUE exception;           /* the last one that was sent or raised for this scope */
    VALUE queued;              /* the one that was sent and has not been raised yet, or nil */
    uint64_t serial;           /* never used again, unlike the address */
    bool sent, raised;         /* ever */
    bool thrown;               /* to its tag */
    int64_t raised_work;       /* the processor time that its thread had used then */
    struct activity *activity; /* what its thread is in */
    int held;                  /* monitors that it had entered before the scope */
    unsigned stopped;          /* how often in a row the waiter found its thread waiting */
    _Atomic int stage;
    bool insists;           /* the waiter sends to it wherever its thread is */
    _Atomic bool deferred;  /* the waiter sends nothing now: nothing is cut either */
    _Atomic unsigned asked; /* by the hook, how often, while nothing has been sent */
    _Atomic int64_t sent_at;
    _Atomic bool wanted; /* the waiter is to look at it */
};

/* The calling thread's innermost scope. */
extern __thread struct scope *coopdl_innermost;

/* The budget as a scope: the main thread is inside it.  It is in no chain. */
extern struct scope coopdl_budget;

/* Whether the grace for the clean-up is over as well. */
bool coopdl_scope_over(const struct scope *scope, int64_t now);

/* The calling thread's scope of that serial number; the budget in the main thread. */
struct scope *coopdl_scope_own(uint64_t serial);

/* Fills in a scope, links it and enters it; raises if the library refuses. */
void coopdl_scope_enter(struct scope *scope, int64_t deadline);
void coopdl_scope_shield(struct scope *scope);

/* The library's coopdl_leave, which lets inner scopes of other fibers stand.  The scope stays
 * linked, for an exception that was sent to find it. */
int coopdl_scope_leave(struct scope *scope);
void coopdl_scope_unlink(struct scope *scope);

/* The exception that was sent is no longer in its thread's queue. */
void coopdl_scope_unqueue(struct scope *scope);

/* The youngest of all scopes; the next is `older`.  With the GVL. */
struct scope *coopdl_scope_youngest(void);

/* The scope of that serial number, if it is still linked.  With the GVL. */
struct scope *coopdl_scope_find(uint64_t serial);

/* Whether that address still is the scope of that serial number, or the budget's, which stays.
 * With the GVL. */
bool coopdl_scope_linked(const struct scope *scope, uint64_t serial);

/* Looks at the scope around `core`, and then inwards to the next shield, until `look` says no.
 * False if `core` is not one of Ruby's.  Without the GVL. */
bool coopdl_scope_visit(const coopdl_scope *core, bool (*look)(struct scope *, void *), void *data);

/* Whether a shield was entered after the scope in the same thread. */
bool coopdl_scope_shielded(const struct scope *scope);

/* Whether its thread has entered a monitor inside the scope and is yet to leave it. */
bool coopdl_scope_in_monitor(const struct scope *scope);

/* Another deadline for a scope of the calling thread. */
void coopdl_scope_move(struct scope *scope, int64_t deadline);

/* In a forked child, before anything else: only the forking thread's scopes are left. */
void coopdl_scope_forked(void);

/* In a forked child, with the GVL: marks the scopes of this thread as inherited, and lets them
 * expire later than in the parent by `later` ns; or takes the thread out of them. */
void coopdl_scope_inherit(int64_t later);
void coopdl_scope_detach(void);

void coopdl_scope_init(void);

#endif
