/* SPDX-License-Identifier: Apache-2.0 */
/* test_hooks.c -- what a runtime gets to see and to say. */
#include "support.h"

#include <poll.h>
#include <stdatomic.h>

TestSuite(hooks, .timeout = 30);

static _Atomic int verdict, asked, kicked;
static _Atomic pid_t asked_for;
static coopdl_scope *_Atomic asked_about;

static enum coopdl_verdict on_expired(pid_t thread, coopdl_scope *scope)
{
    asked_for = thread;
    asked_about = scope;
    asked++;
    return (enum coopdl_verdict)verdict;
}

static void on_kicked(void)
{
    kicked++;
}

static const struct coopdl_hooks hooks = {.expired = on_expired, .kicked = on_kicked};

static void await(_Atomic int *count, int at_least)
{
    int64_t give_up = coopdl_now() + 5 * COOPDL_SECOND;
    while (*count < at_least)
        cr_assert(coopdl_now() < give_up, "only %d", *count);
}

Test(hooks, cut)
{
    coopdl_scope outer, scope;
    verdict = COOPDL_CUT;
    cr_assert(coopdl_set_hooks(&hooks) == 0);
    coopdl_enter(&outer, coopdl_after(3600 * COOPDL_SECOND));
    coopdl_enter(&scope, coopdl_after(20 * MS));
    cr_expect(read_errno(silent_pipe()) == EINTR);
    cr_expect(asked >= 1 && kicked >= 1);
    cr_expect(asked_for == gettid());
    cr_expect(asked_about == &scope);
    cr_expect(coopdl_leave(&scope) == 1);
    coopdl_leave(&outer);
}

Test(hooks, kicked_but_not_cut)
{
    coopdl_scope scope;
    verdict = COOPDL_KICK;
    coopdl_set_hooks(&hooks);
    coopdl_enter(&scope, coopdl_after(20 * MS));
    cr_expect(read_errno(silent_pipe()) == EINTR, "out of the call that it was in");
    verdict = COOPDL_HANDLING;
    int now = asked;
    await(&asked, now + 2);
    int64_t until = coopdl_after(50 * MS);
    cr_expect(poll(NULL, 0, 50) == 0, "the clean-up may wait");
    cr_expect(coopdl_now() >= until);

    /* Swallowed: it begins again. */
    verdict = COOPDL_CUT;
    now = asked;
    await(&asked, now + 1);
    cr_expect(poll(NULL, 0, 5000) == -1 && errno == EINTR);
    cr_expect(poll(NULL, 0, 5000) == -1 && errno == ETIMEDOUT);
    cr_expect(coopdl_leave(&scope) == 1);
    now = asked;
    poll(NULL, 0, 120);
    cr_expect(asked == now, "nobody asks about a scope that was left");
}

static _Atomic int64_t limit;

static enum coopdl_verdict until_the_limit(pid_t thread, coopdl_scope *scope)
{
    (void)on_expired(thread, scope);
    return coopdl_now() < limit ? COOPDL_HANDLING : COOPDL_CUT;
}

Test(hooks, clean_up_with_a_limit)
{
    static const struct coopdl_hooks limited = {.expired = until_the_limit};
    coopdl_scope scope, inner;
    limit = COOPDL_NEVER;
    coopdl_set_hooks(&limited);
    coopdl_enter(&scope, coopdl_after(5 * MS));
    await(&asked, 1);
    int64_t bound = coopdl_after(30 * MS);
    limit = bound;
    coopdl_enter(&inner, bound);
    cr_expect(read_errno(silent_pipe()) == EINTR);
    assert_on_time(bound, "inner");
    coopdl_leave(&inner);
    cr_expect(coopdl_leave(&scope) == 1);
}

/* Peace at first, in which another scope is entered that is yet to expire. */
Test(hooks, swallowed_around_another)
{
    coopdl_scope scope, inner;
    verdict = COOPDL_HANDLING;
    coopdl_set_hooks(&hooks);
    coopdl_enter(&scope, coopdl_after(5 * MS));
    await(&asked, 1);
    coopdl_enter(&inner, coopdl_after(3600 * COOPDL_SECOND));
    int now = asked;
    await(&asked, now + 2);
    cr_expect(asked_about == &scope);
    verdict = COOPDL_CUT;
    cr_expect(read_errno(silent_pipe()) == EINTR);
    coopdl_leave(&inner);
    cr_expect(coopdl_leave(&scope) == 1);
}

/* Peace after a cut: what is called in it sleeps behind the trap, and is kicked when peace ends. */
Test(hooks, peace_in_between)
{
    coopdl_scope scope;
    verdict = COOPDL_CUT;
    coopdl_set_hooks(&hooks);
    coopdl_enter(&scope, coopdl_after(5 * MS));
    cr_expect(read_errno(silent_pipe()) == EINTR);
    verdict = COOPDL_HANDLING;
    int now = asked;
    await(&asked, now + 2);
    verdict = COOPDL_CUT;
    int64_t begun = coopdl_now();
    cr_expect(read_errno(silent_pipe()) != 0);
    cr_expect(coopdl_now() - begun < 5 * COOPDL_SECOND);
    cr_expect(coopdl_leave(&scope) == 1);
}

/* Delivered, while a scope around it is yet to expire. */
Test(hooks, swallowed_inside_another)
{
    coopdl_scope outer, scope;
    int64_t far = coopdl_after(3600 * COOPDL_SECOND);
    verdict = COOPDL_KICK;
    coopdl_set_hooks(&hooks);
    coopdl_enter(&outer, far);
    coopdl_enter(&scope, coopdl_after(5 * MS));
    await(&asked, 1);
    verdict = COOPDL_HANDLING;
    cr_assert(coopdl_deliver(&scope) == 0);
    int now = asked;
    await(&asked, now + 4);
    cr_expect(asked_about == &scope);
    int64_t until = coopdl_after(50 * MS);
    cr_expect(poll(NULL, 0, 50) == 0, "the clean-up may wait");
    cr_expect(coopdl_now() >= until);

    verdict = COOPDL_CUT;
    while (poll(NULL, 0, 5000) == -1 && errno == EINTR) /* by the kick, then by the first cut */
        ;
    cr_expect(errno == ETIMEDOUT);
    verdict = COOPDL_HANDLING;
    cr_assert(coopdl_deliver(&scope) == 0);
    cr_expect(coopdl_deadline() - far < MS, "that around it rules the clean-up");
    cr_expect(coopdl_leave(&scope) == 1);
    now = asked;
    cr_expect(poll(NULL, 0, 120) == 0);
    cr_expect(asked == now, "nobody asks about a scope that was left");
    coopdl_leave(&outer);
}

static _Atomic int64_t told;

/* Peace is over when the library has asked so often that it asks every 100 ms only. */
static void *tell(void *tid)
{
    await(&asked, 9);
    verdict = COOPDL_CUT;
    told = coopdl_now();
    coopdl_ask_now(*(pid_t *)tid);
    return NULL;
}

Test(hooks, asked_at_once)
{
    pid_t here = gettid();
    coopdl_set_hooks(&hooks);
    int64_t soonest = COOPDL_NEVER;
    for (int i = 0; i < 5; i++) {
        coopdl_scope scope;
        pthread_t thread;
        asked = 0;
        verdict = COOPDL_HANDLING;
        pthread_create(&thread, NULL, tell, &here);
        coopdl_enter(&scope, coopdl_after(1 * MS));
        cr_expect(read_errno(silent_pipe()) == EINTR);
        int64_t took = coopdl_now() - told;
        soonest = took < soonest ? took : soonest;
        cr_expect(coopdl_leave(&scope) == 1);
        pthread_join(thread, NULL);
    }
    cr_expect(soonest < 25 * MS, "%lld ns", (long long)soonest);

    int now = asked;
    coopdl_ask_now(here);
    coopdl_ask_now(-1);
    cr_expect(poll(NULL, 0, 20) == 0);
    cr_expect(asked == now, "nobody asks where nothing has expired");
}

static enum coopdl_verdict slow(pid_t thread, coopdl_scope *scope)
{
    (void)thread;
    int64_t until = coopdl_after(30 * MS);
    asked++;
    spin_until(until);
    /* Whoever leaves waits for us: the scope is still there. */
    asked_about = scope;
    return scope->place == 0 ? COOPDL_CUT : COOPDL_HANDLING;
}

Test(hooks, leaving_waits_for_the_hook)
{
    static const struct coopdl_hooks slow_hooks = {.expired = slow};
    coopdl_set_hooks(&slow_hooks);
    coopdl_scope *scope = malloc(sizeof(*scope));
    coopdl_enter(scope, coopdl_after(1 * MS));
    await(&asked, 1);
    cr_expect(coopdl_leave(scope) == 1);
    cr_expect(asked_about == scope, "leave returned while the hook had the scope in hand");
    free(scope);
    cr_expect(poll(NULL, 0, 50) == 0);
}

Test(hooks, removed)
{
    coopdl_scope scope;
    coopdl_set_hooks(&hooks);
    cr_assert(coopdl_set_hooks(NULL) == 0);
    coopdl_enter(&scope, coopdl_after(10 * MS));
    cr_expect(read_errno(silent_pipe()) == EINTR);
    coopdl_leave(&scope);
    cr_expect(asked == 0 && kicked == 0);
}
