/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.c -- all scopes: the chain of each thread, and the list of all.
 *
 * What must hold:
 * - A scope lies on the machine stack of the fiber that entered it, and that fiber is marked as
 *   long as the scope is linked.  So an Enumerator that is dropped in the middle leaves no scope
 *   in freed memory.
 * - The chains and the list are changed with the GVL and the lock held, since the hook reads
 *   them without the GVL.  A thread that holds the lock waits for nothing.
 *
 * Interleaving: fibers of one thread leave in any order, but the library's scopes of a thread
 * are a stack.  So a fiber that leaves a scope leaves the inner ones with it in the library, and
 * enters them again.
 */
#include "scope.h"

#include "activity.h"
#include "turn.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

__thread struct scope *coopdl_innermost;

struct scope coopdl_budget;

static struct scope *youngest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t serials;

static void link_in(struct scope *scope)
{
    scope->outer = coopdl_innermost;
    scope->inner = NULL;
    scope->younger = NULL;
    pthread_mutex_lock(&lock);
    if (coopdl_innermost)
        coopdl_innermost->inner = scope;
    coopdl_innermost = scope;
    scope->older = youngest;
    if (youngest)
        youngest->younger = scope;
    youngest = scope;
    pthread_mutex_unlock(&lock);
}

void coopdl_scope_unqueue(struct scope *scope)
{
    if (NIL_P(scope->queued))
        return;
    scope->queued = Qnil;
    coopdl_turn_raised(scope->activity);
}

void coopdl_scope_unlink(struct scope *scope)
{
    if (scope->given_up)
        return;
    coopdl_scope_unqueue(scope); /* it went with the queue of a thread that was killed */
    pthread_mutex_lock(&lock);
    if (scope->inner)
        scope->inner->outer = scope->outer;
    else
        coopdl_innermost = scope->outer;
    if (scope->outer)
        scope->outer->inner = scope->inner;
    if (scope->younger)
        scope->younger->older = scope->older;
    else
        youngest = scope->older;
    if (scope->older)
        scope->older->younger = scope->younger;
    pthread_mutex_unlock(&lock);
}

static int enter_core(struct scope *scope)
{
    return scope->shield ? coopdl_shield(&scope->core)
                         : coopdl_enter(&scope->core, scope->deadline);
}

static void enter(struct scope *scope)
{
    scope->thread = rb_thread_current();
    scope->fiber = rb_fiber_current();
    scope->exception = scope->queued = scope->handle = Qnil;
    scope->left = scope->given_up = scope->inherited = scope->thrown = false;
    scope->serial = ++serials;
    scope->sent = scope->raised = false;
    scope->activity = coopdl_activity();
    scope->held = scope->activity->held - scope->activity->entering;
    scope->stopped = 0;
    scope->insists = false;
    atomic_init(&scope->stage, STAGE_ENTERED);
    atomic_init(&scope->deferred, false);
    atomic_init(&scope->asked, 0);
    atomic_init(&scope->sent_at, 0);
    atomic_init(&scope->wanted, false);
    link_in(scope);
    if (enter_core(scope) == 0)
        return;
    int error = errno;
    coopdl_scope_unlink(scope);
    rb_syserr_fail(error, "cannot keep a deadline");
}

void coopdl_scope_enter(struct scope *scope, int64_t deadline)
{
    scope->shield = false;
    scope->deadline = deadline;
    enter(scope);
}

void coopdl_scope_shield(struct scope *scope)
{
    scope->shield = true;
    scope->deadline = scope->grace = COOPDL_NEVER;
    scope->klass = scope->message = scope->tag = Qnil;
    enter(scope);
}

int coopdl_scope_leave(struct scope *scope)
{
    if (scope->given_up)
        return 1;
    scope->left = true;
    int passed = coopdl_leave(&scope->core);
    for (struct scope *inner = scope->inner; inner; inner = inner->inner)
        enter_core(inner);
    return passed;
}

bool coopdl_scope_over(const struct scope *scope, int64_t now)
{
    return scope->grace < COOPDL_NEVER - scope->deadline && now >= scope->deadline + scope->grace;
}

struct scope *coopdl_scope_own(uint64_t serial)
{
    struct scope *scope = coopdl_innermost;
    while (scope && scope->serial != serial)
        scope = scope->outer;
    if (serial == coopdl_budget.serial && rb_thread_current() == coopdl_budget.thread)
        scope = &coopdl_budget;
    return scope;
}

struct scope *coopdl_scope_youngest(void)
{
    return youngest;
}

struct scope *coopdl_scope_find(uint64_t serial)
{
    struct scope *scope = youngest;
    while (scope && scope->serial != serial)
        scope = scope->older;
    return scope;
}

bool coopdl_scope_linked(const struct scope *scope, uint64_t serial)
{
    return scope == &coopdl_budget || coopdl_scope_find(serial) == scope;
}

bool coopdl_scope_visit(const coopdl_scope *core, bool (*look)(struct scope *, void *), void *data)
{
    pthread_mutex_lock(&lock);
    struct scope *scope = youngest;
    while (scope && &scope->core != core)
        scope = scope->older;
    bool found = scope;
    while (scope && !scope->shield && look(scope, data))
        scope = scope->inner;
    pthread_mutex_unlock(&lock);
    return found;
}

bool coopdl_scope_shielded(const struct scope *scope)
{
    for (scope = scope->inner; scope; scope = scope->inner)
        if (scope->shield)
            return true;
    return false;
}

bool coopdl_scope_in_monitor(const struct scope *scope)
{
    const struct activity *activity = scope->activity;
    return activity && activity->held > activity->entering + scope->held;
}

void coopdl_scope_forked(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    youngest = NULL;
    struct scope *scope = coopdl_innermost;
    while (scope && scope->outer)
        scope = scope->outer;
    for (; scope; scope = scope->inner) {
        scope->younger = NULL;
        scope->older = youngest;
        if (youngest)
            youngest->younger = scope;
        youngest = scope;
    }
}

/* An exception that was sent was for the old deadline; one that is in the queue still comes. */
void coopdl_scope_move(struct scope *scope, int64_t deadline)
{
    scope->deadline = deadline;
    if (coopdl_move(&scope->core, deadline) != 0 || !NIL_P(scope->queued))
        return;
    atomic_store(&scope->asked, 0);
    atomic_store(&scope->stage, STAGE_ENTERED);
}

/* A scope whose exception is being handled here, too, goes on with that. */
void coopdl_scope_inherit(int64_t later)
{
    for (struct scope *scope = coopdl_innermost; scope; scope = scope->outer) {
        int64_t now = coopdl_now(), from = scope->deadline > now ? scope->deadline : now;
        scope->inherited = true;
        scope->queued = Qnil; /* the child's queue is empty */
        if (!scope->shield && !scope->left && atomic_load(&scope->stage) != STAGE_RAISED &&
            later < COOPDL_NEVER - from)
            coopdl_scope_move(scope, from + later);
    }
}

void coopdl_scope_detach(void)
{
    for (struct scope *scope = coopdl_innermost; scope; scope = scope->outer)
        if (scope->inherited && !scope->shield && !scope->left)
            coopdl_scope_move(scope, COOPDL_NEVER);
}

static void mark(void *unused)
{
    (void)unused;
    for (const struct scope *scope = youngest; scope; scope = scope->older) {
        rb_gc_mark(scope->thread);
        rb_gc_mark(scope->fiber);
        rb_gc_mark(scope->klass);
        rb_gc_mark(scope->message);
        rb_gc_mark(scope->tag);
        rb_gc_mark(scope->handle);
        rb_gc_mark(scope->exception);
        rb_gc_mark(scope->queued);
    }
}

static const rb_data_type_t scopes_type = {
    .wrap_struct_name = "coopdl scopes",
    .function = {.dmark = mark},
};

/* As the library reads the variable; a value that it does not understand has ended the process
 * before main. */
static int64_t budgets_grace(void)
{
    const char *text = getenv("COOPDL_GRACE");
    int64_t grace = COOPDL_NEVER;
    if (!text)
        return 5 * COOPDL_SECOND;
    coopdl_duration(text, &grace); /* or `off` */
    return grace;
}

static void init_budget(void)
{
    coopdl_budget.deadline = coopdl_deadline();
    coopdl_budget.grace = budgets_grace();
    coopdl_budget.klass = coopdl_budget.handle = Qnil;
    coopdl_budget.message = rb_obj_freeze(rb_str_new_cstr("execution expired"));
    coopdl_budget.exception = coopdl_budget.queued = Qnil;
    coopdl_budget.serial = UINT64_MAX;
    coopdl_budget.thread = rb_thread_main();
    if (rb_thread_current() == coopdl_budget.thread)
        coopdl_budget.activity = coopdl_activity();
    rb_gc_register_address(&coopdl_budget.message);
    rb_gc_register_address(&coopdl_budget.exception);
    rb_gc_register_address(&coopdl_budget.thread);
}

void coopdl_scope_init(void)
{
    init_budget();
    static char something; /* an object without data is not marked */
    rb_gc_register_mark_object(TypedData_Wrap_Struct(rb_cObject, &scopes_type, &something));
}
