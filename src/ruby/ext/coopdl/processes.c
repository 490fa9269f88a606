/* SPDX-License-Identifier: Apache-2.0 */
/*
 * processes.c -- children whose wait was ended, and deadlines that a new session drops.
 *
 * `system` and backticks are the only wait for their child, since no other code knows its
 * number.  If the wait is ended, the child would stay a zombie: so it is handed to
 * Process.detach.  A child whose number the program knows is left for the program to wait for,
 * also where Process.wait was ended: the program may kill it and wait again.
 *
 * What must hold: a child is detached only if the ended call has started it.  It is a child of
 * this native thread that was none before the call.  During the call this thread runs nothing
 * else but the handlers of traps.
 *
 * Interleaving: the exception comes while the child is being started, and the call ends without
 * an exception, because `system` takes it for a failure to start and returns nil.  So the test
 * is whether a deadline has passed, however the call has ended.
 *
 * A process that leaves its parent's session (Process.setsid, Process.daemon) means to outlive
 * the parent: it is taken out of the scopes that it has inherited.
 */
#include "processes.h"

#include "exception.h"
#include "scope.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of more children than this the rest cannot be distinguished: nothing is detached then. */
enum { CHILDREN = 256 };

struct children {
    int count; /* -1: not known */
    pid_t pids[CHILDREN];
};

static VALUE coopdl;

static void list(struct children *children)
{
    char path[64], text[CHILDREN * 12];
    snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)syscall(SYS_gettid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    children->count = -1;
    if (length < 0 || length == (ssize_t)sizeof(text) - 1)
        return;
    text[length] = '\0';
    children->count = 0;
    char *at = text, *end;
    for (long pid; children->count < CHILDREN && (pid = strtol(at, &end, 10)) > 0; at = end)
        children->pids[children->count++] = (pid_t)pid;
}

static bool is_among(const struct children *children, pid_t pid)
{
    for (int i = 0; i < children->count; i++)
        if (children->pids[i] == pid)
            return true;
    return false;
}

static void detach_new(const struct children *before)
{
    struct children now;
    list(&now);
    if (before->count < 0 || now.count < 0)
        return;
    for (int i = 0; i < now.count; i++)
        if (!is_among(before, now.pids[i]))
            rb_funcall(rb_mProcess, rb_intern("detach"), 1, INT2NUM(now.pids[i]));
}

struct command {
    VALUE self;
    int count;
    const VALUE *arguments;
    ID original;
    struct children before;
    bool detached;
};

static VALUE original(VALUE argument)
{
    const struct command *command = (const struct command *)argument;
    return rb_funcallv_kw(command->self, command->original, command->count, command->arguments,
                          rb_keyword_given_p() ? RB_PASS_KEYWORDS : RB_NO_KEYWORDS);
}

static bool has_expired(void)
{
    for (const struct scope *scope = coopdl_innermost; scope; scope = scope->outer)
        if (coopdl_passed(scope->deadline))
            return true;
    return coopdl_remaining() == 0;
}

/* A thread outside every deadline is raised in, too, when an expired thread joins it.  Other
 * exceptions are none of the library's: the program may still need its children. */
static bool was_ended_by_us(void)
{
    return has_expired() || coopdl_exception_owner(rb_errinfo()) != 0;
}

static VALUE detach(VALUE argument)
{
    struct command *command = (struct command *)argument;
    detach_new(&command->before);
    command->detached = true;
    return Qnil;
}

/* Another exception may come meanwhile: to the waiter, which looks for clauses of Ruby code, this
 * is no clean-up. */
static VALUE detach_for_sure(VALUE argument)
{
    if (!((struct command *)argument)->detached)
        rb_ensure(detach, argument, detach_for_sure, argument);
    return Qnil;
}

static VALUE has_run(VALUE argument)
{
    return was_ended_by_us() ? detach_for_sure(argument) : Qnil;
}

static VALUE run(struct command command)
{
    list(&command.before);
    return rb_ensure(original, (VALUE)&command, has_run, (VALUE)&command);
}

static VALUE run_system(int argc, const VALUE *argv, VALUE self)
{
    return run((struct command){
        .self = self, .count = argc, .arguments = argv, .original = rb_intern("coopdl_system")});
}

static VALUE run_backticks(VALUE self, VALUE line)
{
    return run((struct command){
        .self = self, .count = 1, .arguments = &line, .original = rb_intern("coopdl_backticks")});
}

static VALUE set_session(VALUE self)
{
    VALUE session = rb_funcall(self, rb_intern("coopdl_setsid"), 0);
    coopdl_scope_detach();
    return session;
}

/* Ruby 3.1 forks inside, and calls no Process._fork. */
static VALUE become_daemon(int argc, const VALUE *argv, VALUE self)
{
    pid_t parent = getpid();
    VALUE done = rb_funcallv(self, rb_intern("coopdl_daemon"), argc, argv);
    if (getpid() != parent)
        rb_funcall(coopdl, rb_intern("after_fork"), 0);
    coopdl_scope_detach();
    return done;
}

static void keep(VALUE klass, const char *name, const char *kept)
{
    rb_alias(klass, rb_intern(kept), rb_intern(name));
    rb_funcall(klass, rb_intern("private"), 1, ID2SYM(rb_intern(kept)));
}

void coopdl_processes_init(VALUE module)
{
    VALUE kernel = rb_singleton_class(rb_mKernel), process = rb_singleton_class(rb_mProcess);
    coopdl = module;
    keep(rb_mKernel, "system", "coopdl_system");
    keep(rb_mKernel, "`", "coopdl_backticks");
    rb_define_private_method(rb_mKernel, "system", run_system, -1);
    rb_define_private_method(rb_mKernel, "`", run_backticks, 1);
    keep(kernel, "system", "coopdl_system");
    keep(kernel, "`", "coopdl_backticks");
    rb_define_method(kernel, "system", run_system, -1);
    rb_define_method(kernel, "`", run_backticks, 1);
    keep(process, "setsid", "coopdl_setsid");
    keep(process, "daemon", "coopdl_daemon");
    rb_define_method(process, "setsid", set_session, 0);
    rb_define_method(process, "daemon", become_daemon, -1);
}
