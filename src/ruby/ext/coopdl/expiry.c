/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expiry.c -- how a deadline that has passed becomes an exception in its thread.
 *
 *   the library's thread        the waiter, a Ruby thread    the expired thread
 *
 *   hook: marks the scope, ---> wakes, wants the GVL
 *         answers KICK -------------------------------------> kicked: a postponed job
 *                               gets the GVL <--------------- the job hands it over
 *                               Thread#raise ---------------> #exception is called: it is
 *                                                             being raised, the scope is
 *                                                             delivered
 *
 * What must hold:
 * - The hook takes no GVL: coopdl_leave waits for it with the GVL held.
 * - The job raises nothing.  It is run in the middle of others' interrupts, and
 *   an exception there corrupts the VM.
 * - The waiter's wait ends when Ruby wants it to (its unblocking function posts
 *   the semaphore), or the interpreter would not exit.
 * - The waiter is outside every deadline, the budget's too (it enters a shield).
 *
 * Nothing is cut at first, so that Ruby's own calls get their exception and no
 * Errno::ETIMEDOUT.  Where it does not come through, the call is one that Ruby
 * cannot interrupt, and is cut: when the exception was sent a while ago, or when
 * not even that was possible the third time that the hook is asked, since such a
 * call holds the GVL.
 *
 * Once raised, the scope is left in peace as long as the exception is at work,
 * which the waiter looks at each time the hook is asked (Coopdl.at_work?).  One
 * that was swallowed is followed by another, and that one is thrown: no rescue
 * catches a throw.
 */
#include "expiry.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <ruby/debug.h>
#include <ruby/thread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In ns: how long a thread that hands over the GVL waits for the waiter to have had it, and how
 * long one that has been sent its exception may take to raise it. */
enum { HAND_OVER = 20000000, PATIENCE = 500000 };

/* The main thread under a budget that has ended. */
static struct scope budget;
static pid_t main_thread;

static sem_t expiries;
static _Atomic uint32_t urgent, served; /* how often there was something to send; a futex */
static _Atomic bool waiting;            /* there is a waiter, or will be */
static struct scope *sending;           /* between counting what is sent and sending it */
static VALUE coopdl, delivery;
static ID id_owner;
#ifdef HAVE_RB_POSTPONED_JOB_PREREGISTER
static rb_postponed_job_handle_t job;
#endif

static enum coopdl_verdict verdict(struct scope *scope, int64_t now)
{
    switch (atomic_load(&scope->stage)) {
    case STAGE_ENTERED:
        return atomic_fetch_add(&scope->asked, 1) < 2 ? COOPDL_KICK : COOPDL_CUT;
    case STAGE_SENT:
        return now < atomic_load(&scope->sent_at) + PATIENCE ? COOPDL_KICK : COOPDL_CUT;
    default:
        return COOPDL_PEACE;
    }
}

struct inquiry {
    int64_t now;
    enum coopdl_verdict verdict;
};

/* While the exception of one scope is at work, another that was entered by the clean-up may
 * expire. */
static bool inquire(struct scope *scope, void *data)
{
    struct inquiry *inquiry = data;
    if (scope->deadline > inquiry->now || atomic_load(&scope->stage) == STAGE_OVER)
        return true;
    atomic_store(&scope->wanted, true);
    if (atomic_load(&scope->stage) == STAGE_ENTERED)
        atomic_fetch_add(&urgent, 1);
    inquiry->verdict = verdict(scope, inquiry->now);
    return inquiry->verdict == COOPDL_PEACE;
}

static enum coopdl_verdict expired(pid_t thread, coopdl_scope *core)
{
    struct inquiry inquiry = {.now = coopdl_now(), .verdict = COOPDL_PEACE};
    if (!atomic_load(&waiting) || (!core && thread != main_thread))
        return COOPDL_CUT;
    if (!core)
        inquire(&budget, &inquiry);
    else if (!coopdl_scope_visit(core, inquire, &inquiry))
        return COOPDL_CUT;
    sem_post(&expiries);
    return inquiry.verdict;
}

static void *await_service(void *unused)
{
    (void)unused;
    int64_t end = coopdl_now() + HAND_OVER;
    uint32_t wanted = atomic_load(&urgent), seen;
    while ((int32_t)(wanted - (seen = atomic_load(&served))) > 0) {
        int64_t left = end - coopdl_now();
        if (left <= 0 || !atomic_load(&waiting))
            break;
        struct timespec limit = {.tv_nsec = (long)left};
        syscall(SYS_futex, &served, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
    }
    return NULL;
}

/* In whatever thread has the GVL.  The 2: interrupts are not looked at afterwards, since that may
 * raise.  Without need it is not released, or a thread that computes would look like one that
 * waits (remind). */
static void hand_over(void *unused)
{
    (void)unused;
    if (atomic_load(&urgent) != atomic_load(&served))
        rb_thread_call_without_gvl2(await_service, NULL, NULL, NULL);
}

/* In a signal handler; under a budget also in threads that are not Ruby's. */
static void kicked(void)
{
    if (!ruby_native_thread_p())
        return;
#ifdef HAVE_RB_POSTPONED_JOB_PREREGISTER
    if (job != POSTPONED_JOB_HANDLE_INVALID) /* others have taken all there are */
        rb_postponed_job_trigger(job);
#else
    rb_postponed_job_register_one(0, hand_over, NULL);
#endif
}

static const struct coopdl_hooks hooks = {.expired = expired, .kicked = kicked};

static bool linked(const struct scope *scope, uint64_t serial)
{
    return scope == &budget || coopdl_scope_find(serial) == scope;
}

static VALUE make(VALUE arguments)
{
    const VALUE *argument = (const VALUE *)arguments;
    return rb_funcall(argument[0], rb_intern("exception"), 1, argument[1]);
}

static VALUE failure(VALUE unused, VALUE error)
{
    (void)unused;
    return error;
}

/* The class may be anything, and have an `exception` that fails: that failure is raised then.  No
 * rb_protect: it would swallow the kill that ends the waiter. */
VALUE coopdl_expiry_exception(struct scope *scope, VALUE klass)
{
    VALUE arguments[] = {klass, scope->message}, serial = ULL2NUM(scope->serial);
    VALUE exception = rb_rescue2(make, (VALUE)arguments, failure, Qnil, rb_eException, (VALUE)0);
    if (!rb_obj_is_kind_of(exception, rb_eException))
        exception = rb_exc_new_cstr(rb_eTypeError, "exception object expected");
    if (OBJ_FROZEN(exception))
        exception = rb_obj_dup(exception);
    rb_ivar_set(exception, id_owner, serial);
    rb_extend_object(exception, delivery);
    return exception;
}

uint64_t coopdl_expiry_owner(VALUE exception)
{
    VALUE serial = rb_ivar_get(exception, id_owner);
    return NIL_P(serial) ? 0 : NUM2ULL(serial);
}

static VALUE internal_class(void)
{
    return rb_const_get(coopdl, rb_intern("ExitException"));
}

/* Making the exception runs Ruby code, and the scope may be gone after it.  From the count of what
 * was sent to the sending other threads may run: whoever leaves the scope waits for it. */
static void send_exception(struct scope *scope)
{
    uint64_t serial = scope->serial;
    VALUE thread = scope->thread;
    VALUE exception =
        coopdl_expiry_exception(scope, NIL_P(scope->klass) ? internal_class() : scope->klass);
    if (!linked(scope, serial))
        return;
    scope->exception = scope->queued = exception;
    scope->sent = true;
    atomic_store(&scope->sent_at, coopdl_now());
    atomic_store(&scope->stage, STAGE_SENT);
    sending = scope;
    rb_funcall(thread, rb_intern("raise"), 1, exception);
    sending = NULL;
}

/* Whoever names a class may rescue it in the block: that is sent once. */
static bool swallowed(struct scope *scope)
{
    uint64_t serial = scope->serial;
    VALUE at_work = rb_funcall(coopdl, rb_intern("at_work?"), 2, scope->thread, scope->exception);
    return !RTEST(at_work) && linked(scope, serial) && atomic_load(&scope->stage) == STAGE_AT_WORK;
}

/* What it had forgotten behind another's exception: see remind_of_queue.  In a call that waits it
 * looks again by itself, and `wakeup` would end a sleep of a program that has masked ours. */
static void remind(VALUE thread)
{
    VALUE status = rb_funcall(thread, rb_intern("status"), 0);
    if (RB_TYPE_P(status, T_STRING) && rb_str_equal(status, rb_str_new_cstr("run")) == Qtrue)
        rb_thread_wakeup_alive(thread);
}

static void serve_scope(struct scope *scope)
{
    if (coopdl_scope_shielded(scope))
        return; /* the hook is asked again when the shield has been left */
    switch (atomic_load(&scope->stage)) {
    case STAGE_ENTERED:
        send_exception(scope);
        break;
    case STAGE_SENT:
        remind(scope->thread);
        break;
    case STAGE_AT_WORK:
        if (swallowed(scope))
            send_exception(scope);
        break;
    }
}

static struct scope *wanted(void)
{
    if (atomic_exchange(&budget.wanted, false))
        return &budget;
    struct scope *oldest = NULL;
    for (struct scope *scope = coopdl_scope_youngest(); scope; scope = scope->older)
        if (atomic_load(&scope->wanted))
            oldest = scope;
    if (oldest)
        atomic_store(&oldest->wanted, false);
    return oldest;
}

static void *await_expiry(void *unused)
{
    (void)unused;
    sem_wait(&expiries); /* for whatever reason it ends: the caller looks */
    return NULL;
}

static void end_wait(void *unused)
{
    (void)unused;
    sem_post(&expiries);
}

static VALUE wait_and_serve(VALUE unused)
{
    coopdl_scope shield;
    coopdl_shield(&shield);
    for (;;) {
        rb_thread_call_without_gvl(await_expiry, NULL, end_wait, NULL);
        uint32_t seen = atomic_load(&urgent);
        struct scope *scope;
        while ((scope = wanted()))
            serve_scope(scope);
        atomic_store(&served, seen);
        syscall(SYS_futex, &served, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    }
    return unused;
}

static VALUE stop_waiting(VALUE unused)
{
    sending = NULL;
    atomic_store(&waiting, false);
    return unused;
}

/* The body of the waiter. */
static VALUE waiter_run(VALUE self)
{
    return rb_ensure(wait_and_serve, self, stop_waiting, self);
}

/* Ruby's own handler for SIGSYS does nothing, but with a handler of the program's the library does
 * not trap its threads: libc's own calls, as in getaddrinfo, would go on.  The program's is kept.
 */
static void make_room_for_the_trap(void)
{
    struct sigaction action;
    if (sigaction(SIGSYS, NULL, &action) != 0 || action.sa_handler == SIG_DFL ||
        action.sa_handler == SIG_IGN)
        return;
    VALUE number = INT2FIX(SIGSYS), standard = rb_str_new_cstr("SYSTEM_DEFAULT");
    VALUE before = rb_funcall(rb_mKernel, rb_intern("trap"), 2, number, standard);
    if (!NIL_P(before))
        rb_funcall(rb_mKernel, rb_intern("trap"), 2, number, before);
}

static VALUE start_waiter(VALUE unused)
{
    make_room_for_the_trap();
    rb_funcall(coopdl, rb_intern("start_waiter"), 0);
    return unused;
}

void coopdl_expiry_start(void)
{
    if (RB_LIKELY(atomic_load(&waiting)))
        return;
    if (coopdl_set_hooks(&hooks) != 0)
        rb_sys_fail("cannot watch deadlines");
    int failed;
    atomic_store(&waiting, true); /* it may be another thread that runs next */
    rb_protect(start_waiter, Qnil, &failed);
    if (failed) {
        atomic_store(&waiting, false);
        rb_jump_tag(failed);
    }
}

/* What was entered inside the scope ends with it, and is left in peace as well. */
void coopdl_expiry_deliver(struct scope *scope, VALUE exception)
{
    bool once = !NIL_P(scope->klass) && scope != &budget;
    for (struct scope *inner = scope; inner; inner = inner->inner) {
        inner->exception = exception;
        if (atomic_load(&inner->stage) == STAGE_ENTERED || inner == scope)
            atomic_store(&inner->stage, STAGE_AT_WORK);
    }
    scope->raised = true;
    if (exception == scope->queued)
        scope->queued = Qnil;
    if (once)
        atomic_store(&scope->stage, STAGE_OVER);
    if (scope != &budget)
        coopdl_deliver(&scope->core);
}

/* Another fiber than the scope's gets its exception for the second time.  If that fiber is one that
 * the scope's has resumed, it swallows it; more likely the scope's own was given up in the middle,
 * and the scope with it. */
static void give_up(struct scope *scope)
{
    coopdl_scope_leave(scope);
    coopdl_scope_unlink(scope);
    scope->given_up = true;
}

static VALUE nothing(RB_BLOCK_CALL_FUNC_ARGLIST(unused, self))
{
    (void)argc, (void)argv, (void)blockarg, (void)self;
    rb_thread_schedule();
    return unused;
}

/* Of two exceptions in a thread's queue Ruby 3.1 forgets the second: it stays there until something
 * else interrupts the thread.  Were that the kill at the interpreter's exit, it would never end. */
static void remind_of_queue(void)
{
    if (!RTEST(rb_funcall(rb_thread_current(), rb_intern("pending_interrupt?"), 0)))
        return;
    VALUE mask = rb_hash_new();
    rb_hash_aset(mask, rb_cObject, ID2SYM(rb_intern("never")));
    rb_block_call(rb_cThread, rb_intern("handle_interrupt"), 1, &mask, nothing, Qnil);
}

static struct scope *own_scope(uint64_t serial)
{
    struct scope *scope = coopdl_innermost;
    while (scope && scope->serial != serial)
        scope = scope->outer;
    return scope;
}

/* Ruby calls this in the thread that raises, at that moment; but also when the waiter sends it. */
static VALUE delivery_exception(int argc, const VALUE *argv, VALUE self)
{
    if (argc > 0)
        return rb_call_super(argc, argv);
    uint64_t owner = coopdl_expiry_owner(self);
    struct scope *scope = own_scope(owner);
    if (owner == budget.serial && rb_thread_current() == budget.thread)
        scope = &budget;
    bool again =
        scope && scope != &budget && self == scope->queued && scope->raised && !scope->left;
    if (scope)
        coopdl_expiry_deliver(scope, self);
    remind_of_queue();
    if (again && rb_fiber_current() == scope->fiber)
        rb_throw_obj(scope->tag, self);
    if (again)
        give_up(scope);
    return self;
}

/* Lets through what is queued, even if the program has masked it. */
static VALUE take(VALUE exception)
{
    VALUE mask = rb_hash_new();
    rb_hash_aset(mask, rb_obj_class(exception), ID2SYM(rb_intern("immediate")));
    return rb_block_call(rb_cThread, rb_intern("handle_interrupt"), 1, &mask, nothing, Qnil);
}

void coopdl_expiry_take(const struct scope *scope)
{
    take(scope->queued);
}

/* Killing a thread empties its queue: what was sent to it never comes.  (To ask for the class alone
 * crashes Ruby 3.1.) */
bool coopdl_expiry_on_its_way(const struct scope *scope)
{
    return !NIL_P(scope->queued) &&
           (sending == scope ||
            RTEST(rb_funcall(rb_thread_current(), rb_intern("pending_interrupt?"), 0)));
}

static VALUE drop_own(VALUE scope, VALUE error)
{
    if (coopdl_expiry_owner(error) != ((struct scope *)scope)->serial)
        rb_exc_raise(error);
    return Qnil;
}

static VALUE take_all(VALUE argument)
{
    struct scope *scope = (struct scope *)argument;
    while (coopdl_expiry_on_its_way(scope))
        rb_rescue2(take, scope->queued, drop_own, argument, rb_eException, (VALUE)0);
    return Qnil;
}

/* Another's exception, throw or kill that comes meanwhile goes on when ours is out. */
static VALUE collect(VALUE argument)
{
    if (coopdl_expiry_on_its_way((struct scope *)argument))
        rb_ensure(take_all, argument, collect, argument);
    return Qnil;
}

void coopdl_expiry_collect(struct scope *scope)
{
    collect((VALUE)scope);
}

static void in_forked_child(void)
{
    coopdl_scope_forked();
    sending = NULL;
    sem_init(&expiries, 0, 0);
    atomic_store(&served, atomic_load(&urgent));
    atomic_store(&waiting, false);
    main_thread = getpid();
}

/* In a forked child, with the GVL: deadlines that it has inherited are to be raised. */
static VALUE after_fork(VALUE self)
{
    (void)self;
    budget.thread = rb_thread_current();
    if (coopdl_deadline() != COOPDL_NEVER)
        coopdl_expiry_start();
    return Qnil;
}

/* What expires from here on, while the VM is taken down, cuts without it. */
static void at_end(VALUE unused)
{
    (void)unused;
    coopdl_set_hooks(NULL);
}

void coopdl_expiry_init(VALUE module)
{
    coopdl = module;
    id_owner = rb_intern("coopdl_owner"); /* no @: not to be seen from Ruby */
    sem_init(&expiries, 0, 0);
    pthread_atfork(NULL, NULL, in_forked_child);
#ifdef HAVE_RB_POSTPONED_JOB_PREREGISTER
    job = rb_postponed_job_preregister(0, hand_over, NULL);
#endif
    main_thread = getpid();
    budget.klass = rb_path2class("Timeout::Error");
    budget.message = rb_obj_freeze(rb_str_new_cstr("execution expired"));
    budget.exception = budget.queued = Qnil;
    budget.serial = UINT64_MAX;
    budget.thread = rb_thread_main();
    rb_gc_register_address(&budget.message);
    rb_gc_register_address(&budget.exception);
    rb_gc_register_address(&budget.thread);
    rb_gc_register_address(&budget.klass);

    delivery = rb_define_module_under(module, "Delivery");
    rb_define_method(delivery, "exception", delivery_exception, -1);
    rb_funcall(module, rb_intern("private_constant"), 1, ID2SYM(rb_intern("Delivery")));
    rb_define_private_method(rb_singleton_class(module), "wait_and_serve", waiter_run, 0);
    rb_define_private_method(rb_singleton_class(module), "after_fork", after_fork, 0);
    rb_set_end_proc(at_end, Qnil);
}
