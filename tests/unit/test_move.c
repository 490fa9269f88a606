/* SPDX-License-Identifier: Apache-2.0 */
/* test_move.c -- a scope's deadline changed by another thread, with a lock as a runtime has it. */
#include "support.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>

TestSuite(move, .timeout = 60);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* A thread inside a scope, and inside a shield too if `shielded`. */
struct mover {
    pthread_t thread;
    coopdl_scope shield, scope;
    bool shielded;
    _Atomic int stage;
    int64_t first; /* its deadline at the beginning */
    int fd, error, then, left;
    int64_t ended;
};

static void *wait_in_scope(void *argument)
{
    struct mover *m = argument;
    pthread_mutex_lock(&mutex);
    if (m->shielded)
        coopdl_shield(&m->shield);
    coopdl_enter(&m->scope, m->first);
    pthread_mutex_unlock(&mutex);
    atomic_store(&m->stage, 1);
    m->error = read_errno(m->fd);
    m->ended = coopdl_now();
    m->then = read_errno(m->fd);
    pthread_mutex_lock(&mutex);
    m->left = coopdl_leave(&m->scope);
    if (m->shielded)
        coopdl_leave(&m->shield);
    pthread_mutex_unlock(&mutex);
    m->left |= poll(NULL, 0, 50) == 0 ? 0 : 2;
    return NULL;
}

static void start(struct mover *m)
{
    m->fd = silent_pipe();
    cr_assert(pthread_create(&m->thread, NULL, wait_in_scope, m) == 0);
    while (!atomic_load(&m->stage))
        sched_yield();
}

static int move(struct mover *m, int64_t deadline)
{
    pthread_mutex_lock(&mutex);
    int result = coopdl_move(&m->scope, deadline);
    pthread_mutex_unlock(&mutex);
    return result;
}

static void ends_at(struct mover *m, int64_t deadline)
{
    pthread_join(m->thread, NULL);
    close(m->fd);
    cr_expect(m->error == EINTR && m->then == ETIMEDOUT && m->left == 1, "%d %d %d", m->error,
              m->then, m->left);
    cr_expect(m->ended >= deadline && m->ended - deadline < LATEST, "%lld us",
              (long long)(m->ended - deadline) / 1000);
}

/* Starts a thread whose deadline is `after` from now, and moves that deadline by `by`, or to never.
 * Beside load the first deadline may pass before the move: then with a later one again. */
static int64_t start_and_move(struct mover *m, int64_t after, int64_t by)
{
    for (;; after *= 2) {
        *m = (struct mover){.first = coopdl_after(after)};
        start(m);
        int64_t deadline = by == COOPDL_NEVER ? COOPDL_NEVER : m->first + by;
        int result = move(m, deadline);
        if (coopdl_now() < m->first) {
            cr_expect(result == 0);
            return deadline;
        }
        move(m, 0);
        pthread_join(m->thread, NULL);
        close(m->fd);
    }
}

Test(move, to_an_earlier_time)
{
    static const int64_t after[] = {0, 50 * MS};
    for (int i = 0; i < 4; i++) {
        struct mover m = {.first = coopdl_after(3600 * COOPDL_SECOND), .shielded = i / 2};
        start(&m);
        int64_t deadline = coopdl_after(after[i % 2]);
        cr_expect(move(&m, deadline) == 0);
        ends_at(&m, deadline);
    }
}

Test(move, to_a_later_time)
{
    struct mover m;
    int64_t deadline = start_and_move(&m, 100 * MS, 150 * MS);
    ends_at(&m, deadline);
}

Test(move, to_never_and_back)
{
    struct mover m;
    start_and_move(&m, 30 * MS, COOPDL_NEVER);
    while (coopdl_now() < m.first + 30 * MS)
        poll(NULL, 0, 10);
    int64_t deadline = coopdl_after(0);
    cr_expect(move(&m, deadline) == 0);
    ends_at(&m, deadline);
}

Test(move, what_is_no_scope_of_a_thread)
{
    struct mover m = {.first = coopdl_after(10 * MS)};
    coopdl_scope nobody = {.thread = (struct coopdl_thread *)(void *)&m};
    start(&m);
    pthread_join(m.thread, NULL);
    close(m.fd);
    errno = 0;
    cr_expect(move(&m, 0) == -1 && errno == EINVAL, "it was left");
    errno = 0;
    cr_expect(coopdl_move(&nobody, 0) == -1 && errno == EINVAL, "it was entered by nobody");
}

/* In and out of scopes, while another thread moves them to and fro: what has not been moved to a
 * time in the past is not disturbed, and what has been is ended. */
struct race {
    coopdl_scope scope;
    bool entered; /* with the mutex */
    _Atomic bool cancelled, over;
    int disturbed, stuck, rounds;
};

static void set_entered(struct race *race, bool entered, int64_t deadline)
{
    pthread_mutex_lock(&mutex);
    if (entered)
        coopdl_enter(&race->scope, deadline);
    else
        coopdl_leave(&race->scope);
    race->entered = entered;
    atomic_store(&race->cancelled, false);
    pthread_mutex_unlock(&mutex);
}

static void *in_and_out(void *argument)
{
    struct race *race = argument;
    for (; !atomic_load(&race->over); race->rounds++) {
        set_entered(race, true, coopdl_after(3600 * COOPDL_SECOND));
        coopdl_scope inner;
        bool nested = race->rounds % 2;
        if (nested) {
            pthread_mutex_lock(&mutex);
            coopdl_enter(&inner, coopdl_after(7200 * COOPDL_SECOND));
            pthread_mutex_unlock(&mutex);
        }
        int ready = poll(NULL, 0, 1);
        if (ready < 0 && !atomic_load(&race->cancelled))
            race->disturbed++;
        if (atomic_load(&race->cancelled) && poll(NULL, 0, 2000) == 0)
            race->stuck++;
        if (nested) {
            pthread_mutex_lock(&mutex);
            coopdl_leave(&inner);
            pthread_mutex_unlock(&mutex);
        }
        set_entered(race, false, 0);
    }
    return NULL;
}

Test(move, to_and_fro)
{
    struct race race = {0};
    pthread_t thread;
    unsigned int seed = 1;
    cr_assert(pthread_create(&thread, NULL, in_and_out, &race) == 0);
    for (int64_t end = coopdl_after(3 * COOPDL_SECOND); coopdl_now() < end; usleep(100)) {
        pthread_mutex_lock(&mutex);
        bool cancels = rand_r(&seed) % 8 == 0;
        if (race.entered && !atomic_load(&race.cancelled)) {
            atomic_store(&race.cancelled, cancels);
            coopdl_move(&race.scope, cancels ? 0 : coopdl_after(1800 * COOPDL_SECOND));
        }
        pthread_mutex_unlock(&mutex);
    }
    atomic_store(&race.over, true);
    pthread_join(thread, NULL);
    cr_expect(race.rounds > 10 && race.disturbed == 0 && race.stuck == 0, "%d: %d %d", race.rounds,
              race.disturbed, race.stuck);
}
