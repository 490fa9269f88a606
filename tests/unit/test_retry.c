/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_retry.c -- programs that try again and again after expiry: none of them
 * burns a core, and each ends as soon as by its own lights it can.
 */
#include "support.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/select.h>
#include <time.h>

TestSuite(retry, .timeout = 60);

static void enter_expired(coopdl_scope *scope)
{
    coopdl_enter(scope, 0);
    await_expiry(scope);
}

static int64_t processor_time(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * COOPDL_SECOND + used.tv_nsec;
}

Test(retry, loops_do_not_spin)
{
    /* After the fourth cut each waits: 300 ms hold a few dozen of them, not thousands. */
    coopdl_scope scope;
    int fd = silent_pipe();
    enter_expired(&scope);
    int64_t until = coopdl_after(300 * MS);
    int rounds = 0;
    while (coopdl_now() < until && read_errno(fd))
        rounds++;
    expect(rounds >= 5 && rounds < 60, "%d", rounds);
    coopdl_leave(&scope);
}

Test(retry, counted_sleeps_end_soon)
{
    /* Five seconds in pieces of 100 ms, as SQLite counts them; then thirty. */
    coopdl_scope scope;
    enter_expired(&scope);
    int64_t begun = coopdl_now();
    for (int i = 0; i < 50; i++)
        expect(usleep(100000) == -1);
    int64_t five = coopdl_now() - begun;
    for (int i = 50; i < 300; i++)
        expect(usleep(100000) == -1);
    int64_t thirty = coopdl_now() - begun;
    coopdl_leave(&scope);
    cr_log_info("5 s of sleeps over in %.1f ms, 30 s in %.1f ms", (double)five / MS,
                (double)thirty / MS);
    cr_expect(five < LATEST, "%lld us", (long long)five / 1000);
    cr_expect(thirty < 4 * LATEST, "%lld us", (long long)thirty / 1000);
}

Test(retry, endless_sleeps_do_not_spin)
{
    coopdl_scope scope;
    struct timespec second = {.tv_sec = 1};
    enter_expired(&scope);
    int64_t until = coopdl_after(1500 * MS), used = processor_time();
    int rounds = 0;
    while (coopdl_now() < until && nanosleep(&second, NULL) == -1)
        rounds++;
    used = processor_time() - used;
    coopdl_leave(&scope);
    cr_log_info("%d sleeps, %.1f ms of processor time in 1.5 s", rounds, (double)used / MS);
    cr_expect(rounds > 64 && rounds < 1000, "%d", rounds);
    cr_expect(used < 100 * MS, "%lld us", (long long)used / 1000);
}

Test(retry, no_sleep_lasts_longer_than_it_was_asked_for)
{
    /* Far beyond the point where a pause would be 50 ms. */
    coopdl_scope scope;
    struct timespec short_one = {.tv_nsec = 1000}, until;
    enter_expired(&scope);
    for (int i = 0; i < 1000; i++)
        nanosleep(&short_one, NULL);
    int64_t begun = coopdl_now();
    for (int i = 0; i < 100; i++)
        nanosleep(&short_one, NULL);
    for (int i = 0; i < 100; i++) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += until.tv_nsec == 999999999;
        until.tv_nsec = until.tv_nsec == 999999999 ? 0 : until.tv_nsec + 1;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    int64_t took = coopdl_now() - begun;
    coopdl_leave(&scope);
    cr_expect(took < 2 * LATEST, "200 sleeps of a microsecond took %lld us",
              (long long)took / 1000);
}

/* What a poll is told: an errno, or how many descriptors are ready. */
static int poll_for(int fd, int timeout)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN, .revents = POLLIN};
    int ready = poll(&pollfd, 1, timeout);
    expect(ready != 0 || pollfd.revents == 0);
    return ready < 0 ? errno : ready;
}

static int ppoll_for(int fd, int timeout)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    struct timespec wait = {.tv_sec = timeout / 1000};
    int ready = ppoll(&pollfd, 1, timeout < 0 ? NULL : &wait, NULL);
    return ready < 0 ? errno : ready;
}

/* An error leaves the set alone, and time that has run out empties it. */
static int told_of_select(int ready, int error, int fd, fd_set *set)
{
    expect(!FD_ISSET(fd, set) == (ready == 0));
    return ready < 0 ? error : ready;
}

static int select_for(int fd, int timeout)
{
    fd_set set;
    struct timeval wait = {.tv_sec = timeout / 1000};
    FD_ZERO(&set);
    FD_SET(fd, &set);
    int ready = select(fd + 1, &set, NULL, NULL, timeout < 0 ? NULL : &wait);
    return told_of_select(ready, errno, fd, &set);
}

static int pselect_for(int fd, int timeout)
{
    fd_set set;
    struct timespec wait = {.tv_sec = timeout / 1000};
    FD_ZERO(&set);
    FD_SET(fd, &set);
    int ready = pselect(fd + 1, NULL, NULL, &set, timeout < 0 ? NULL : &wait, NULL);
    return told_of_select(ready, errno, fd, &set);
}

Test(retry, a_time_out_of_its_own_has_run_out_in_the_end)
{
    static int (*const calls[])(int, int) = {poll_for, ppoll_for, select_for, pselect_for};
    int fd = silent_pipe();
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        for (int timeout = -1; timeout <= 30000; timeout += 30001) {
            coopdl_scope scope;
            enter_expired(&scope);
            expect(calls[i](fd, timeout) == EINTR);
            for (int j = 0; j < 3; j++)
                expect(calls[i](fd, timeout) == ETIMEDOUT);
            for (int j = 0; j < 3; j++) {
                int told = calls[i](fd, timeout);
                expect(told == (timeout < 0 ? ETIMEDOUT : 0), "%d with %d", told, timeout);
            }
            coopdl_leave(&scope);
        }
}

/* A lock that another thread frees after a while. */
struct lock {
    sem_t semaphore;
    int64_t wait;
    _Atomic int64_t freed;
};

static void *free_later(void *argument)
{
    struct lock *lock = argument;
    struct timespec wait = {.tv_nsec = (long)lock->wait};
    nanosleep(&wait, NULL);
    atomic_store(&lock->freed, coopdl_now());
    sem_post(&lock->semaphore);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

Test(retry, a_lock_is_had_as_soon_as_it_is_free)
{
    /* Waited for as a runtime does that takes EINTR for a reason to look at something and to try
     * again. */
    enum { ROUNDS = 15 };
    int64_t late[ROUNDS], used = processor_time(), median, worst;
    int kicks = 0;
    for (int i = 0; i < ROUNDS; i++) {
        coopdl_scope scope;
        pthread_t thread;
        struct lock lock = {.wait = (110 + 7 * i) * MS};
        sem_init(&lock.semaphore, 0, 0);
        cr_assert(pthread_create(&thread, NULL, free_later, &lock) == 0);
        coopdl_enter(&scope, coopdl_after(5 * MS));
        int error = EINTR;
        /* No expect in here: its shield would begin the expiry anew. */
        while (error == EINTR) {
            (void)getppid();
            errno = 0;
            error = sem_wait(&lock.semaphore) ? errno : 0;
        }
        late[i] = coopdl_now() - atomic_load(&lock.freed);
        expect(errno == 0, "one that was had has set errno");
        expect(error == 0, "%s", strerror(error));
        expect(sem_trywait(&lock.semaphore) == -1, "it was freed once");
        expect(coopdl_leave(&scope) == 1);
        pthread_join(thread, NULL);
        sem_destroy(&lock.semaphore);
    }
    used = processor_time() - used;
    for (int cause = COOPDL_KICK_FUTEX; cause < COOPDL_KICK_CAUSES; cause++)
        kicks += (int)coopdl_kicks(cause);
    qsort(late, ROUNDS, sizeof(late[0]), compare);
    median = late[ROUNDS / 2];
    worst = late[ROUNDS - 1];
    cr_log_info("had %.2f ms after it was freed at the median, %.2f at the worst; %.1f ms of "
                "processor time and %d further kicks in all",
                (double)median / MS, (double)worst / MS, (double)used / MS, kicks);
    cr_expect(late[0] >= 0);
    cr_expect(median < 15 * MS, "%lld us", (long long)median / 1000);
    cr_expect(worst < LATEST, "%lld us", (long long)worst / 1000);
    cr_expect(used < 20 * MS * ROUNDS, "a core was burnt: %lld us", (long long)used / 1000);
    cr_expect(kicks < 30 * ROUNDS, "a pause asks for none: %d", kicks);
}

Test(retry, timed_locks_are_counted_as_sleeps_are)
{
    coopdl_scope scope;
    struct timespec until = {.tv_sec = time(NULL) + 1000};
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    enter_expired(&scope);
    int64_t begun = coopdl_now();
    int missed = 0;
    for (int i = 0; i < 300; i++)
        missed += sem_timedwait(&semaphore, &until) == -1 && errno == ETIMEDOUT;
    int64_t took = coopdl_now() - begun;
    coopdl_leave(&scope);
    cr_expect(missed == 300, "%d", missed);
    cr_expect(took < 4 * LATEST, "%lld us", (long long)took / 1000);
}

Test(retry, a_timed_lock_is_had_or_is_not)
{
    coopdl_scope scope;
    struct timespec until = {.tv_sec = time(NULL) + 1000};
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    enter_expired(&scope);
    for (int i = 0; i < 8; i++)
        expect(sem_timedwait(&semaphore, &until) == -1 && errno == ETIMEDOUT);
    sem_post(&semaphore);
    errno = 0;
    expect(sem_timedwait(&semaphore, &until) == 0 && errno == 0);
    expect(sem_timedwait(&semaphore, &until) == -1 && errno == ETIMEDOUT);
    coopdl_leave(&scope);
}
