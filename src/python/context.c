/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.c -- the life of a scope of Python: entered, rescheduled, cancelled, left or abandoned.
 *
 * The object holds a limit.  While the scope is entered, the object has an entry on the list of its
 * thread.  What must hold: this list and the library's own stack have the same scopes in the same
 * order, innermost first.  A scope that is left out of order, or is destroyed while it is entered,
 * is removed from the middle.  The library then leaves the scopes inside it as well, so these are
 * entered again.
 *
 * Another thread may reschedule an entered scope, or cancel it, which sets its deadline to now.
 * That thread holds the GIL, and no scope is entered, left or delivered without the GIL.  This
 * works only while nothing has been raised for the scope.  Once the deadline has passed, no other
 * thread can know that: then a cancel changes nothing, and only the scope's own thread may set a
 * new deadline.  Our list is changed first and the library's stack second.  If the library's
 * deadline expires in between, nothing is due by our list and nothing is cut (hooks.c).
 *
 * One look at the clock, when the scope is left, decides whether it has expired.  A body that ends
 * after its deadline is late, whether or not anything was raised or cut.  Nothing is raised or cut
 * before the deadline, so this look misses no expiry.
 */
#include "context.h"

#include "clock.h"
#include "error.h"
#include "expiry.h"
#include "explain.h"
#include "frame_id.h"
#include "handling.h"
#include "hooks.h"
#include "limit.h"
#include "method.h"
#include "pool.h"

#include <string.h>
#include <unistd.h>

static _Thread_local struct pool pool;

static struct module_state *state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

static int fail(const char *message)
{
    PyErr_SetString(PyExc_RuntimeError, message);
    return -1;
}

static int enter_library(struct context *self, struct entry *entry)
{
    int result =
        self->shield ? coopdl_shield(&entry->scope) : coopdl_enter(&entry->scope, self->deadline);
    if (unlikely(result < 0))
        coopdl_py_set_errno();
    return result;
}

static int64_t later(int64_t time, int64_t by)
{
    return time >= COOPDL_NEVER - by ? COOPDL_NEVER : time + by;
}

static bool is_watched(const struct thread *thread)
{
    return thread->watch.errors || thread->watch.code.object;
}

static void fill(struct context *self, const struct thread *thread, struct entry *entry)
{
    atomic_store_explicit(&entry->deadline, self->deadline, memory_order_relaxed);
    atomic_store_explicit(&entry->overdue, later(self->deadline, self->limit.grace),
                          memory_order_relaxed);
    atomic_store_explicit(&entry->life, LIFE_ARMED, memory_order_relaxed);
    entry->length = self->cancelled                                            ? CANCELLED
                    : self->limit.absolute || self->limit.time == COOPDL_NEVER ? NO_LENGTH
                                                                               : self->limit.time;
    entry->owner = (PyObject *)self;
    /* The frame that keeps `__exit__` lives as long as the scope is entered (method.c). */
    entry->frame = self->entered.exit ? coopdl_py_frame_id_now(thread->attached.state) : NULL;
    entry->instead = self->instead;
    entry->shield = self->shield;
    entry->stays = self->limit.stays;
    entry->inherited = false;
    entry->lent_until = 0;
}

static int enter(struct context *self)
{
    if (unlikely(self->entry))
        return fail("this scope is entered already");
    struct thread *thread = coopdl_py_thread();
    if (unlikely(!thread || coopdl_py_prepare(thread) < 0))
        return -1;
    struct entry *entry = coopdl_py_entry(thread);
    if (unlikely(!entry))
        return -1;
    self->deadline = self->limit.absolute || self->limit.time == COOPDL_NEVER
                         ? self->limit.time
                         : coopdl_after(self->limit.time);
    self->thread = thread;
    self->expired = false;
    self->used = true;
    fill(self, thread, entry);
    coopdl_py_push(thread, entry);
    if (unlikely(self->shield && is_watched(thread)))
        coopdl_py_settle(thread, entry);
    if (unlikely(enter_library(self, entry) < 0)) {
        coopdl_py_drop(thread, entry);
        return -1;
    }
    self->entry = entry;
    self->entered.entered = true;
    return 0;
}

/* Enters again what the library left with an outer scope, the outermost first. */
static void enter_again(struct entry *entry, const struct entry *end)
{
    if (!entry || entry == end)
        return;
    enter_again(atomic_load(&entry->outer), end);
    if (entry->owner)
        enter_library((struct context *)entry->owner, entry);
}

/* Takes the scope off, wherever it is on the list.  What it has ended is explained if it has
 * expired. */
static void take_off(struct context *self, struct explanation *explanation)
{
    bool expired = coopdl_passed(self->deadline);
    struct entry *entry = self->entry, *outer = atomic_load(&entry->outer);
    struct thread *thread = self->thread;
    struct entry *top = atomic_load(&thread->top);
    coopdl_leave(&entry->scope);
    if (unlikely(expired && explanation))
        coopdl_py_explain(explanation, &entry->scope, entry->length);
    self->entry = NULL;
    self->entered.entered = false;
    self->expired = expired;
    entry->owner = NULL;
    coopdl_py_drop(thread, entry);
    if (unlikely(expired || is_watched(thread)))
        coopdl_py_settle(thread, entry);
    if (unlikely(top != entry))
        enter_again(atomic_load(&thread->top), outer);
}

/* Whether this error is to be left as it is: one that is about an outer scope that has expired
 * (`owner`), or that was set by the program and is no Exception. */
static bool stands(struct module_state *state, PyObject *error, const struct entry *owner)
{
    if (!coopdl_py_is_reached(state, error) && !PyErr_GivenExceptionMatches(error, PyExc_Exception))
        return true;
    return owner && coopdl_py_is_about(state, error, coopdl_py_scope(owner));
}

/* The scope has expired and is left: with `error`, or null.  -1 with another one set, 1 if nothing
 * is to be raised. */
static int conclude(struct context *self, PyObject *error, bool inherited,
                    const struct explanation *explanation)
{
    struct module_state *state = state_of((PyObject *)self);
    /* There a SystemExit ends the thread alone, and those of ours would keep the process. */
    if (inherited && coopdl_py_worker_child)
        _exit(COOPDL_PY_STATUS);
    if (error && stands(state, error, coopdl_py_owner(self->thread, coopdl_now())))
        return 0;
    /* An outer one that has expired too owns the expiry, but not in its clean-up. */
    struct entry *owner = coopdl_py_due(self->thread);
    if (owner) {
        coopdl_py_raise(state, owner);
        return -1;
    }
    if (self->limit.maker && self->limit.maker->silent && !inherited)
        return !error || coopdl_py_stems_from(state, error, (PyObject *)self);
    if (!inherited)
        coopdl_py_raise_at_end(state->exceeded, (PyObject *)self, error, explanation);
    else if (error && PyErr_GivenExceptionMatches(error, PyExc_SystemExit))
        return 0;
    else /* its parent has the scope's end */
        coopdl_py_raise_at_end(PyExc_SystemExit, (PyObject *)self, NULL, NULL);
    return -1;
}

static int leave(struct context *self, PyObject *error)
{
    if (unlikely(!self->entry))
        return fail("this scope is not entered");
    if (unlikely(self->thread != coopdl_py_self()))
        return fail("a scope is left by the thread that entered it");
    bool ordered = atomic_load(&self->thread->top) == self->entry;
    bool inherited = self->entry->inherited;
    struct explanation explanation;
    take_off(self, &explanation);
    if (unlikely(!ordered))
        return fail("a scope was left before one that was entered inside it");
    return unlikely(self->expired) ? conclude(self, error, inherited, &explanation) : 0;
}

/* Its `with` statement, or the last reference to it, is gone without an `__exit__`. */
static void abandon(PyObject *object)
{
    struct context *self = (struct context *)object;
    if (self->thread == coopdl_py_self()) {
        take_off(self, NULL);
    } else {
        /* In another thread: the entry stands until an outer one is left, but limits nothing. */
        self->entry->owner = NULL;
        self->entered.entered = false;
    }
}

static void on_lost(PyObject *object)
{
    coopdl_log(COOPDL_LOG_CUTS,
               "python: a with statement ended without calling __exit__: its scope "
               "has been left");
    abandon(object);
}

static PyObject *context_enter(PyObject *object)
{
    return enter((struct context *)object) < 0 ? NULL : Py_NewRef(object);
}

static PyObject *context_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *error = count > 1 && arguments[1] != Py_None ? arguments[1] : NULL;
    int silent = leave((struct context *)object, error);
    return silent < 0 ? NULL : PyBool_FromLong(silent);
}

const struct coopdl_py_methods coopdl_py_context_methods = {
    .enter = context_enter, .exit = context_exit, .lost = on_lost};

static void set_deadline(struct context *self, int64_t deadline)
{
    self->deadline = deadline;
    atomic_store(&self->entry->deadline, deadline);
    atomic_store(&self->entry->overdue, later(deadline, self->limit.grace));
}

/* Gives an entered scope another deadline; false if its thread has ended inside it: that may have
 * been the last use of its entry. */
static bool move(struct context *self, int64_t deadline)
{
    int64_t before = self->deadline;
    if (self->entry->owner != (PyObject *)self)
        return false;
    set_deadline(self, deadline);
    if (coopdl_move(&self->entry->scope, deadline) == 0)
        return true;
    set_deadline(self, before);
    return false;
}

/* For a scope that is not entered yet. */
static void move_limit(struct context *self, int64_t deadline)
{
    self->deadline = self->limit.time = deadline;
    self->limit.absolute = true;
}

const char *coopdl_py_reschedule(struct context *self, int64_t deadline)
{
    bool here = self->thread == coopdl_py_self();
    if (!self->used) {
        self->cancelled = false;
        move_limit(self, deadline);
        return NULL;
    }
    if (self->entry && !here && coopdl_passed(self->deadline))
        return "the deadline of this scope has passed: only its own thread reschedules it now";
    if (!self->entry || !move(self, deadline))
        return "this scope was left already";
    self->entry->length = NO_LENGTH;
    if (here)
        atomic_store(&self->entry->life, LIFE_ARMED);
    if (here && is_watched(self->thread))
        coopdl_py_settle(self->thread, self->entry);
    return NULL;
}

void coopdl_py_cancel(struct context *self)
{
    int64_t now = coopdl_now();
    if (self->entry ? self->deadline <= now : self->used)
        return;
    if (self->entry && move(self, now))
        self->entry->length = CANCELLED;
    if (!self->entry) {
        move_limit(self, now);
        self->cancelled = true;
    }
}

struct context *coopdl_py_context_new(PyTypeObject *type)
{
    PyObject *object = coopdl_py_pool_new(&pool, type);
    if (likely(object))
        memset((char *)object + sizeof(PyObject), 0, sizeof(struct context) - sizeof(PyObject));
    return (struct context *)object;
}

void coopdl_py_context_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (((struct context *)object)->entry)
        abandon(object);
    Py_XDECREF(((struct context *)object)->instead);
    coopdl_py_pool_free(&pool, object);
    Py_DECREF(type);
}
