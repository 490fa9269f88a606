/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle.c -- Coopdl::Scope: what Ruby code has of a scope.
 *
 * What must hold: a handle outlives its scope, which lies on a stack.  So it
 * has the scope's number, never its address, and the end is written into it.
 */
#include "handle.h"

#include "waiter.h"

struct handle {
    uint64_t serial;
    int64_t deadline; /* once ended */
    bool ended, expired;
};

static VALUE klass;

static const rb_data_type_t handle_type = {
    .wrap_struct_name = "Coopdl::Scope",
    .function = {.dfree = RUBY_DEFAULT_FREE},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

VALUE coopdl_handle(struct scope *scope)
{
    struct handle *handle;
    if (NIL_P(scope->handle)) {
        scope->handle = TypedData_Make_Struct(klass, struct handle, &handle_type, handle);
        handle->serial = scope->serial;
    }
    return scope->handle;
}

static struct handle *get(VALUE self)
{
    struct handle *handle;
    TypedData_Get_Struct(self, struct handle, &handle_type, handle);
    return handle;
}

void coopdl_handle_end(struct scope *scope, bool expired)
{
    if (NIL_P(scope->handle))
        return;
    struct handle *handle = get(scope->handle);
    handle->ended = true;
    handle->expired = expired;
    handle->deadline = scope->deadline;
}

static struct scope *scope_of(const struct handle *handle)
{
    return handle->ended ? NULL : coopdl_scope_find(handle->serial);
}

/*
 * Ends the block now, as if its deadline were this moment. From any thread; after the block's end,
 * or a second time, it does nothing.
 * @return [nil]
 */
static VALUE cancel(VALUE self)
{
    struct scope *scope = scope_of(get(self));
    int64_t now = coopdl_now();
    if (!scope || scope->left || scope->deadline <= now)
        return Qnil;
    if (scope->thread == rb_thread_current())
        coopdl_scope_move(scope, now);
    else
        scope->deadline = now;
    coopdl_waiter_cancelled(scope);
    return Qnil;
}

/*
 * Whether the deadline has passed; once the block has ended: whether it did so before its end.
 * From any thread.
 * @return [Boolean]
 */
static VALUE expired(VALUE self)
{
    const struct handle *handle = get(self);
    const struct scope *scope = scope_of(handle);
    return (scope ? coopdl_passed(scope->deadline) : handle->expired) ? Qtrue : Qfalse;
}

/*
 * The scope's own deadline. From any thread.
 * @return [Float, nil] seconds of Process::CLOCK_MONOTONIC; nil without one
 */
static VALUE deadline(VALUE self)
{
    const struct handle *handle = get(self);
    const struct scope *scope = scope_of(handle);
    int64_t ns = scope ? scope->deadline : handle->deadline;
    return ns == COOPDL_NEVER ? Qnil : DBL2NUM((double)ns / COOPDL_SECOND);
}

/*
 * The innermost block of Coopdl.timeout or Coopdl.move_on_after around the call.
 * @return [Coopdl::Scope, nil]
 */
static VALUE innermost(VALUE self)
{
    struct scope *scope = coopdl_innermost;
    (void)self;
    while (scope && (scope->shield || scope->left))
        scope = scope->outer;
    return scope ? coopdl_handle(scope) : Qnil;
}

void coopdl_handle_init(VALUE module)
{
    klass = rb_define_class_under(module, "Scope", rb_cObject);
    rb_undef_alloc_func(klass);
    rb_define_method(klass, "cancel", cancel, 0);
    rb_define_method(klass, "expired?", expired, 0);
    rb_define_method(klass, "deadline", deadline, 0);
    rb_define_singleton_method(module, "scope", innermost, 0);
}
