/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_retry.c -- programs that try again and again after expiry: none of them
 * burns a core, and each ends as soon as by its own lights it can.
 */
#include "emulator.h"
#include "support.h"

#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

/* The library has it also where libc does not (glibc before 2.35).
 * NOLINTNEXTLINE(readability-redundant-declaration) */
int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *timeout,
                 const sigset_t *mask);

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

/* Calls that libc does not make for the library everywhere: musl has no epoll_pwait2, and restarts
 * its sigtimedwait.  A kick that comes just before the system call is not lost. */
Test(retry, a_kick_just_before_the_system_call)
{
    static const struct timespec second = {.tv_sec = 1};
    enum { ROUNDS = 20000 };
    int64_t worst = 0;
    int epoll = epoll_create1(0);
    struct epoll_event event;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        coopdl_scope scope;
        int64_t begun = coopdl_now();
        coopdl_enter(&scope, begun + i % 32 * COOPDL_MICROSECOND);
        if (i % 2)
            sigtimedwait(&set, NULL, &second);
        else
            epoll_pwait2(epoll, &event, 1, &second, NULL);
        int64_t took = coopdl_now() - begun;
        worst = took > worst ? took : worst;
        coopdl_leave(&scope);
        if (worst >= COOPDL_SECOND)
            break;
    }
    cr_expect(worst < COOPDL_SECOND, "%lld us", (long long)worst / 1000);
}

Test(retry, counted_sleeps_end_soon)
{
    /* Two minutes in pieces of 100 ms, as SQLite counts them; then nine. */
    coopdl_scope scope;
    enter_expired(&scope);
    int64_t begun = coopdl_now(), used = processor_time();
    int cut = 0;
    for (int i = 0; i < 1200; i++)
        cut += usleep(100000) == -1;
    int64_t short_one = coopdl_now() - begun;
    used = processor_time() - used;
    for (int i = 1200; i < 5400; i++)
        cut += usleep(100000) == -1;
    int64_t long_one = coopdl_now() - begun;
    coopdl_leave(&scope);
    cr_log_info("2 minutes of sleeps over in %.1f ms, %.1f of them processor time, 9 in %.1f s",
                (double)short_one / MS, (double)used / MS, (double)long_one / COOPDL_SECOND);
    cr_expect(cut == 5400);
    cr_expect(short_one < LATEST, "%lld us", (long long)short_one / 1000);
    cr_expect(long_one < 5 * COOPDL_SECOND, "%lld us: a share, no more",
              (long long)long_one / 1000);
}

Test(retry, endless_sleeps_come_to_rest)
{
    /* The thousandth sleep of a second, and the 20,000th of a millisecond. */
    coopdl_scope scope;
    static const struct timespec second = {.tv_sec = 1}, short_one = {.tv_nsec = MS};
    enter_expired(&scope);
    for (int i = 0; i < 1000; i++)
        nanosleep(&second, NULL);
    int64_t begun = coopdl_now();
    for (int i = 0; i < 20; i++)
        nanosleep(&second, NULL);
    cr_expect(coopdl_now() - begun > 300 * MS);
    coopdl_move(&scope, 1);
    await_expiry(&scope);
    for (int i = 0; i < 20000; i++)
        nanosleep(&short_one, NULL);
    begun = coopdl_now();
    int64_t used = processor_time();
    for (int i = 0; i < 10000; i++)
        nanosleep(&short_one, NULL);
    used = processor_time() - used;
    int64_t took = coopdl_now() - begun;
    coopdl_leave(&scope);
    cr_log_info("%.1f ms of processor time in %.1f", (double)used / MS, (double)took / MS);
    cr_expect(took > 500 * MS && used < took / 4, "%lld us of %lld", (long long)used / 1000,
              (long long)took / 1000);
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
            int told = calls[i](fd, timeout), after = calls[i](fd, timeout);
            expect(told == (timeout < 0 ? ETIMEDOUT : 0), "%d with %d", told, timeout);
            expect(after == ETIMEDOUT, "%d with %d", after, timeout);
            coopdl_leave(&scope);
        }
}

Test(retry, no_place_in_a_loop_is_told_the_same_for_ever)
{
    /* As many polls in each round as there are places; what each place was told. */
    enum { CUTS = 40, PLACES = 4 };
    int fd = silent_pipe();
    coopdl_scope scope;
    bool ran_out[CUTS];
    enter_expired(&scope);
    for (int i = 0; i < 4; i++)
        poll_for(fd, 30000);
    for (int i = 0; i < CUTS; i++)
        ran_out[i] = poll_for(fd, 30000) == 0;
    coopdl_leave(&scope);
    for (int places = 1; places <= PLACES; places++)
        for (int place = 0; place < places; place++) {
            int zeros = 0, errors = 0;
            for (int i = place; i < CUTS; i += places)
                *(ran_out[i] ? &zeros : &errors) += 1;
            expect(zeros && errors, "place %d of %d: %d and %d", place, places, zeros, errors);
        }
}

static int epoll_of(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    cr_assert(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    return epoll;
}

static int epoll_wait_for(int epoll, int timeout)
{
    struct epoll_event event;
    int ready = epoll_wait(epoll, &event, 1, timeout);
    return ready < 0 ? errno : ready;
}

static int epoll_pwait_for(int epoll, int timeout)
{
    struct epoll_event event;
    sigset_t none;
    sigemptyset(&none);
    int ready = epoll_pwait(epoll, &event, 1, timeout, &none);
    return ready < 0 ? errno : ready;
}

#ifdef __GLIBC__ /* others have no declaration of it */
static int epoll_pwait2_for(int epoll, int timeout)
{
    struct epoll_event event;
    struct timespec wait = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * MS};
    int ready = epoll_pwait2(epoll, &event, 1, timeout < 0 ? NULL : &wait, NULL);
    return ready < 0 ? errno : ready;
}
#endif

static int (*const epolls[])(int, int) = {
    epoll_wait_for,
    epoll_pwait_for,
#ifdef __GLIBC__
    epoll_pwait2_for,
#endif
};
enum { EPOLLS = sizeof(epolls) / sizeof(epolls[0]) - EMULATED };

/* As gRPC waits: how long until it gets to look at its signals. */
static int64_t slice(int (*call)(int, int), int epoll, int timeout, int *rounds)
{
    int64_t begun = coopdl_now();
    int told;
    *rounds = 0;
    do
        told = call(epoll, timeout);
    while (++*rounds < 1000 && told == EINTR);
    int64_t took = coopdl_now() - begun;
    expect(told == 0, "%d", told);
    return took;
}

Test(retry, epoll_is_told_eintr_alone)
{
    int epoll = epoll_of(silent_pipe());
    for (int i = 0; i < EPOLLS; i++) {
        coopdl_scope scope;
        enter_expired(&scope);
        for (int j = 0; j < 8; j++)
            expect(epolls[i](epoll, -1) == EINTR);
        coopdl_leave(&scope);
    }
}

Test(retry, epoll_has_waited_for_as_long_as_it_was_to)
{
    int epoll = epoll_of(silent_pipe());
    for (int i = 0; i < EPOLLS; i++) {
        coopdl_scope scope;
        int rounds;
        enter_expired(&scope);
        for (int j = 0; j < 3; j++) {
            int64_t took = slice(epolls[i], epoll, 200, &rounds);
            expect(took >= 200 * MS && took < 200 * MS + LATEST, "%lld us", (long long)took / 1000);
            expect(rounds <= (j ? 4 : 12), "%d", rounds);
        }
        /* Another timeout, and one that is shorter than a pause. */
        int64_t took = slice(epolls[i], epoll, 10, &rounds);
        expect(took >= 10 * MS && took < LATEST && rounds <= 2);
        coopdl_leave(&scope);
    }
}

Test(retry, epoll_counts_from_before_the_deadline)
{
    /* It had waited for 150 of its 200 ms when it was first cut. */
    int epoll = epoll_of(silent_pipe()), rounds;
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(150 * MS));
    int64_t took = slice(epoll_wait_for, epoll, 200, &rounds);
    expect(took >= 200 * MS && took < 200 * MS + LATEST, "%lld us", (long long)took / 1000);
    coopdl_leave(&scope);
}

Test(retry, a_wait_by_epoll_ends_with_an_event)
{
    /* What came before counts neither for the wait after it, nor in another scope. */
    int ends[2], rounds;
    struct epoll_event event = {.events = EPOLLIN};
    cr_assert(pipe(ends) == 0);
    int epoll = epoll_of(ends[0]);
    coopdl_scope scope;
    for (int i = 0; i < 2; i++) {
        enter_expired(&scope);
        for (int j = 0; j < 10; j++)
            expect(epoll_wait_for(epoll, 400) == EINTR);
        if (i == 0) {
            char byte;
            expect(write(ends[1], "x", 1) == 1);
            expect(epoll_wait(epoll, &event, 1, 400) == 1);
            expect(read(ends[0], &byte, 1) == 1);
        } else {
            coopdl_leave(&scope);
            enter_expired(&scope);
        }
        int64_t took = slice(epoll_wait_for, epoll, 400, &rounds);
        expect(took >= 400 * MS && took < 400 * MS + LATEST, "%lld us", (long long)took / 1000);
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
    struct timespec until = {.tv_sec = time(NULL) + 2};
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
