/* SPDX-License-Identifier: Apache-2.0 */
/* test_lend.c -- a deadline for another thread: there as a budget is, and gone without a trace. */
#include "support.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>

TestSuite(lend, .timeout = 60);

/* A thread that does as it is told, and says who it is. */
struct borrower {
    pthread_t thread;
    _Atomic pid_t tid;
    void (*body)(struct borrower *);
    _Atomic int stage;
    int64_t deadline;
    int fd, error, then, rest;
};

static void *run(void *argument)
{
    struct borrower *b = argument;
    atomic_store(&b->tid, gettid());
    b->body(b);
    return NULL;
}

/* Without a wrapped call: spinning is what needs no record. */
static void await(_Atomic int *stage, int wanted)
{
    int64_t give_up = coopdl_now() + 10 * COOPDL_SECOND;
    while (atomic_load(stage) < wanted)
        if (coopdl_now() > give_up)
            abort();
}

static void start(struct borrower *b, void (*body)(struct borrower *))
{
    atomic_store(&b->tid, 0);
    atomic_store(&b->stage, 0);
    b->body = body;
    b->fd = silent_pipe();
    cr_assert(pthread_create(&b->thread, NULL, run, b) == 0);
    while (!atomic_load(&b->tid))
        sched_yield();
}

static void end(struct borrower *b)
{
    pthread_join(b->thread, NULL);
    close(b->fd);
}

/* Twice under the loan, and once, after `stage` 2, when it has been taken back. */
static void read_twice(struct borrower *b)
{
    b->error = read_errno(b->fd);
    int64_t late = coopdl_now() - b->deadline;
    b->then = read_errno(b->fd);
    for (int i = 0; b->then == EINTR && i < 3; i++) /* the first was no wrapper's */
        b->then = read_errno(b->fd);
    b->rest = late < 0 ? -1 : late > LATEST;
    atomic_store(&b->stage, 1);
    await(&b->stage, 2);
    b->rest |= poll(NULL, 0, 150) != 0 ? 4 : 0;
    b->rest |= coopdl_deadline() != COOPDL_NEVER ? 8 : 0;
}

static void in_a_far_scope(struct borrower *b)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    b->error = read_errno(b->fd);
    int64_t late = coopdl_now() - b->deadline;
    b->then = read_errno(b->fd);
    b->rest = late < 0 ? -1 : late > LATEST;
    b->rest |= coopdl_expired(&scope) ? 2 : 0;
    atomic_store(&b->stage, 1);
    await(&b->stage, 2);
    b->rest |= poll(NULL, 0, 150) != 0 ? 4 : 0;
    b->rest |= coopdl_leave(&scope) != 0 ? 8 : 0;
}

static void lend_and_take_back(void (*body)(struct borrower *))
{
    static const int64_t after[] = {0, 50 * MS};
    for (size_t i = 0; i < 2; i++) {
        struct borrower b = {0};
        start(&b, body);
        usleep(20000); /* it sits in its read */
        b.deadline = coopdl_after(after[i]);
        cr_assert(coopdl_lend(b.tid, b.deadline) == 0);
        await(&b.stage, 1);
        cr_expect(coopdl_lend(b.tid, COOPDL_NEVER) == 0);
        atomic_store(&b.stage, 2);
        end(&b);
        cr_expect(b.error == EINTR && b.then == ETIMEDOUT && b.rest == 0, "%d %d %d", b.error,
                  b.then, b.rest);
    }
}

Test(lend, to_a_thread_that_nobody_has_seen)
{
    lend_and_take_back(read_twice);
}

Test(lend, to_a_thread_in_a_scope_of_its_own)
{
    lend_and_take_back(in_a_far_scope);
}

static void in_a_near_scope(struct borrower *b)
{
    coopdl_scope scope;
    b->deadline = coopdl_after(100 * MS);
    coopdl_enter(&scope, b->deadline);
    atomic_store(&b->stage, 1);
    b->error = read_errno(b->fd);
    b->rest = coopdl_now() < b->deadline ? -1 : 0;
    b->rest |= coopdl_leave(&scope) == 1 ? 0 : 2;
    await(&b->stage, 2);
    /* Nothing has passed that it is inside now. */
    b->rest |= coopdl_remaining() > 1800 * COOPDL_SECOND ? 0 : 4;
    b->rest |= coopdl_remaining() < 3600 * COOPDL_SECOND ? 0 : 8;
    b->rest |= poll(NULL, 0, 50) == 0 ? 0 : 16;
}

Test(lend, a_nearer_scope_rules)
{
    struct borrower b = {0};
    start(&b, in_a_near_scope);
    await(&b.stage, 1);
    cr_expect(coopdl_lend(b.tid, coopdl_after(3600 * COOPDL_SECOND)) == 0);
    atomic_store(&b.stage, 2);
    end(&b);
    cr_expect(b.error == EINTR && b.rest == 0, "%d %d", b.error, b.rest);
}

static void behind_a_shield(struct borrower *b)
{
    coopdl_scope shield;
    coopdl_shield(&shield);
    atomic_store(&b->stage, 1);
    b->rest = poll(NULL, 0, 150) == 0 ? 0 : 1;
    b->rest |= coopdl_deadline() == COOPDL_NEVER ? 0 : 2;
    coopdl_leave(&shield);
    b->error = read_errno(b->fd);
    b->then = read_errno(b->fd);
    /* And in again: the first shield was there before the loan. */
    coopdl_shield(&shield);
    b->rest |= poll(NULL, 0, 20) == 0 ? 0 : 4;
    coopdl_leave(&shield);
}

Test(lend, a_shield_hides_it)
{
    struct borrower b = {0};
    start(&b, behind_a_shield);
    await(&b.stage, 1);
    cr_expect(coopdl_lend(b.tid, coopdl_after(30 * MS)) == 0);
    end(&b);
    cr_expect(b.rest == 0 && b.error == EINTR && b.then == ETIMEDOUT, "%d %d %d", b.rest, b.error,
              b.then);
}

static void nothing(struct borrower *b)
{
    (void)b;
}

static void claims_and_ends(struct borrower *b)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(COOPDL_SECOND));
    await(&b->stage, 1);
}

Test(lend, to_nobody)
{
    struct borrower b = {0};
    int64_t hour = coopdl_after(3600 * COOPDL_SECOND);
    start(&b, nothing);
    end(&b);
    int64_t give_up = coopdl_now() + 5 * COOPDL_SECOND;
    while (syscall(SYS_tgkill, getpid(), b.tid, 0) == 0 && coopdl_now() < give_up)
        sched_yield();
    pid_t nobody[] = {b.tid, 0, -1, getppid()};
    for (size_t i = 0; i < 4; i++) {
        errno = 0;
        cr_expect(coopdl_lend(nobody[i], hour) == -1 && errno == ESRCH, "%d", nobody[i]);
        errno = 0;
        cr_expect(coopdl_lend(nobody[i], COOPDL_NEVER) == -1 && errno == ESRCH);
    }
    cr_expect(coopdl_lend(gettid(), COOPDL_NEVER) == 0);
}

Test(lend, to_itself)
{
    int fd = silent_pipe();
    int64_t deadline = coopdl_after(30 * MS);
    cr_assert(coopdl_lend(gettid(), deadline) == 0);
    int error = read_errno(fd);
    int64_t late = coopdl_now() - deadline;
    coopdl_lend(gettid(), COOPDL_NEVER);
    cr_expect(error == EINTR && late >= 0 && late < LATEST);
    cr_expect(poll(NULL, 0, 50) == 0);
}

static void is_clean(struct borrower *b)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    b->rest = coopdl_remaining() > 1800 * COOPDL_SECOND ? 0 : 1;
    b->rest |= poll(NULL, 0, 2) == 0 ? 0 : 2;
    b->rest |= coopdl_leave(&scope) == 0 ? 0 : 4;
}

Test(lend, ends_with_the_thread)
{
    /* The records of those that ended with a loan serve others. */
    for (int round = 0; round < 200; round++) {
        struct borrower b = {0}, next = {0};
        start(&b, round % 2 ? claims_and_ends : nothing);
        coopdl_lend(b.tid, coopdl_after((int64_t)(round % 3) * 200 * COOPDL_MICROSECOND));
        atomic_store(&b.stage, 1);
        end(&b);
        start(&next, is_clean);
        end(&next);
        cr_assert(next.rest == 0, "round %d: %d", round, next.rest);
    }
    cr_expect(poll(NULL, 0, 20) == 0);
}

static void forks(struct borrower *b)
{
    atomic_store(&b->stage, 1);
    (void)read_errno(b->fd);
    pid_t child = fork();
    if (child == 0)
        _exit(poll(NULL, 0, 100) == 0 ? 0 : 1);
    coopdl_scope shield;
    coopdl_shield(&shield);
    b->rest = status_of(child);
    coopdl_leave(&shield);
}

Test(lend, is_not_inherited)
{
    struct borrower b = {0};
    start(&b, forks);
    await(&b.stage, 1);
    cr_expect(coopdl_lend(b.tid, coopdl_after(20 * MS)) == 0);
    end(&b);
    cr_expect(b.rest == 0, "%x", b.rest);
}

/* The hook, which lends to a second thread in its turn. */
static _Atomic pid_t asked_for, lend_to;
static coopdl_scope *_Atomic asked_about;
static _Atomic int asked, lent;

static enum coopdl_verdict on_expired(pid_t thread, coopdl_scope *scope)
{
    pid_t other = atomic_load(&lend_to);
    if (asked++ == 0) {
        asked_for = thread;
        asked_about = scope;
    }
    if (other && thread != other && lent == 0)
        lent = coopdl_lend(other, 1) == 0 ? 1 : 2;
    return COOPDL_CUT;
}

static const struct coopdl_hooks hooks = {.expired = on_expired};

Test(lend, the_hook_is_asked_without_a_scope)
{
    struct borrower b = {0}, other = {0};
    asked_about = (coopdl_scope *)&b;
    cr_assert(coopdl_set_hooks(&hooks) == 0);
    start(&b, in_a_far_scope);
    start(&other, read_twice);
    lend_to = other.tid;
    b.deadline = other.deadline = coopdl_after(30 * MS);
    cr_assert(coopdl_lend(b.tid, b.deadline) == 0);
    await(&b.stage, 1);
    await(&other.stage, 1);
    cr_expect(asked_for == b.tid && asked_about == NULL);
    cr_expect(lent == 1);
    coopdl_lend(b.tid, COOPDL_NEVER);
    coopdl_lend(other.tid, COOPDL_NEVER);
    atomic_store(&b.stage, 2);
    atomic_store(&other.stage, 2);
    end(&b);
    end(&other);
    cr_expect(b.rest == 0 && other.rest == 0, "%d %d", b.rest, other.rest);
    cr_expect(b.error == EINTR && other.error == EINTR);
    coopdl_set_hooks(NULL);
}

/* Lent and taken back as fast as can be, while the borrower goes in and out of scopes: what begins
 * after it was taken back is not disturbed, and a loan is never lost. */
struct race {
    struct borrower b;
    _Atomic int64_t ruled; /* the deadline that was lent and not taken back; 0: none */
    _Atomic int over, disturbed, rounds;
};

static void in_and_out(struct borrower *b)
{
    struct race *race = (struct race *)(void *)b;
    unsigned int seed = 1;
    while (!atomic_load(&race->over)) {
        coopdl_scope outer, inner;
        int which = rand_r(&seed) % 4;
        coopdl_enter(&outer, coopdl_after(which ? 3600 * COOPDL_SECOND : 100000));
        if (which == 1)
            coopdl_shield(&inner);
        int64_t before = atomic_load(&race->ruled);
        int ready = which ? poll(NULL, 0, 1) : 0, error = errno;
        /* Nothing was lent, and nothing came meanwhile. */
        if (which == 1 ? ready != 0 : ready != 0 && before == 0 && atomic_load(&race->ruled) == 0) {
            atomic_fetch_add(&race->disturbed, 1);
            dprintf(2, "disturbed: %d, %d\n", which, error);
        }
        if (which == 2)
            coopdl_move(&outer, coopdl_after(7200 * COOPDL_SECOND));
        coopdl_leave(&outer);
        atomic_fetch_add(&race->rounds, 1);
    }
}

Test(lend, taken_back_without_a_trace)
{
    struct race race = {0};
    int64_t until = coopdl_after(2 * COOPDL_SECOND);
    unsigned int seed = 2;
    int loans = 0;
    start(&race.b, in_and_out);
    for (; coopdl_now() < until; loans++) {
        int64_t when = coopdl_after((int64_t)(rand_r(&seed) % 3) * 100 * COOPDL_MICROSECOND);
        atomic_store(&race.ruled, when);
        cr_assert(coopdl_lend(race.b.tid, when) == 0);
        if (loans % 2)
            spin_until(coopdl_after(rand_r(&seed) % 300 * COOPDL_MICROSECOND));
        cr_assert(coopdl_lend(race.b.tid, COOPDL_NEVER) == 0);
        usleep(1500); /* a call that had been kicked has returned */
        atomic_store(&race.ruled, 0);
        usleep(3000);
    }
    /* And the last one is not lost. */
    atomic_store(&race.over, 1);
    end(&race.b);
    cr_log_info("%d loans, %d rounds", loans, race.rounds);
    cr_expect(race.disturbed == 0, "%d of %d", race.disturbed, race.rounds);
    cr_expect(race.rounds > 100 && loans > 100);
}

static void claims_at_once(struct borrower *b)
{
    coopdl_scope scope;
    await(&b->stage, 1);
    coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
    b->error = read_errno(b->fd);
    b->rest = coopdl_leave(&scope);
}

Test(lend, to_a_thread_that_is_claiming_its_record)
{
    for (int round = 0; round < 300; round++) {
        struct borrower b = {0};
        start(&b, claims_at_once);
        atomic_store(&b.stage, 1);
        spin_until(coopdl_after(round % 20 * COOPDL_MICROSECOND));
        int64_t deadline = round % 2 ? 0 : coopdl_after(300 * COOPDL_MICROSECOND);
        cr_assert(coopdl_lend(b.tid, deadline) == 0, "errno %d", errno);
        end(&b); /* a loan that was lost would hang here */
        cr_assert(b.error == EINTR || b.error == ETIMEDOUT);
    }
}

static void *lend_often(void *argument)
{
    struct borrower *b = argument;
    for (int i = 0; i < 2000; i++)
        if (coopdl_lend(b->tid, i % 2 ? COOPDL_NEVER : coopdl_after((int64_t)(i % 7) * 10000)) != 0)
            return argument;
    return NULL;
}

Test(lend, by_many_at_once)
{
    enum { LENDERS = 4 };
    struct borrower b = {0};
    pthread_t lenders[LENDERS];
    start(&b, read_twice);
    for (int i = 0; i < LENDERS; i++)
        pthread_create(&lenders[i], NULL, lend_often, &b);
    for (int i = 0; i < LENDERS; i++) {
        void *failed;
        pthread_join(lenders[i], &failed);
        cr_expect(!failed);
    }
    cr_assert(coopdl_lend(b.tid, 0) == 0);
    await(&b.stage, 1);
    cr_assert(coopdl_lend(b.tid, COOPDL_NEVER) == 0);
    atomic_store(&b.stage, 2);
    end(&b);
    cr_expect((b.rest & ~3) == 0, "%d", b.rest);
}
