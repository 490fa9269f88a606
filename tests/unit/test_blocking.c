/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_blocking.c -- the calls that test_wrappers.c does not have: output,
 * files, children, locks, queues, signals and syscall(), through each of their
 * names: cut when they would wait, unharmed by a far deadline, performed after
 * expiry when they do not wait.  The table is in blocking_cases.h.
 */
#include "blocking_cases.h"

TestSuite(blocking, .timeout = 60);

Test(blocking, no_case_is_skipped_but_under_the_emulator)
{
    int left_out = 0;
    for (int i = 0; i < CASES; i++)
        if (cases[i].flags & UNEMULATED) {
            cr_log_info("%s, case %d", cases[i].name, i);
            left_out++;
        }
    if (EMULATED)
        cr_skip_test("qemu-user does not have these");
    cr_expect(left_out == 0);
}

static void begin(int i, bool ready)
{
    memset(&f, 0, sizeof(f));
    *(void **)&f.call = dlsym(RTLD_DEFAULT, cases[i].name);
    cr_assert(f.call, "%s", cases[i].name);
    cases[i].prepare(ready);
}

static void end(void)
{
    /* A request that is under way has our memory. */
    if (f.aio.aio_buf && write(f.pipe[1], "x", 1) == 1)
        while (aio_error(&f.aio) == EINPROGRESS)
            sched_yield();
    int *fds[] = {&f.pipe[0],   &f.pipe[1], &f.other[0], &f.other[1], &f.socket[0],
                  &f.socket[1], &f.event,   &f.file,     &f.locked};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (*fds[i] > 2)
            close(*fds[i]);
    if (f.child > 0) {
        kill(f.child, SIGKILL);
        waitpid(f.child, NULL, 0);
    }
    if (f.queue)
        msgctl(f.queue, IPC_RMID, NULL);
    if (f.semaphores)
        semctl(f.semaphores, 0, IPC_RMID);
    if (f.mq)
        mq_close(f.mq);
    if (*f.fifo)
        unlink(f.fifo);
}

Test(blocking, cut_at_the_deadline)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        int first = cases[i].flags & OWN_TIMEOUT  ? ETIMEDOUT
                    : cases[i].flags & OWN_EAGAIN ? EAGAIN
                                                  : EINTR;
        int then = cases[i].flags & (EINTR_ONLY | OWN_EAGAIN) ? first : ETIMEDOUT;
        coopdl_scope scope;
        begin(i, false);
        int64_t deadline = coopdl_after(20 * MS);
        coopdl_enter(&scope, deadline);
        int error = cases[i].call();
        assert_on_time(deadline, cases[i].name);
        expect(error == first, "%s, case %d: first %s", cases[i].name, i, strerror(error));
        int64_t now = coopdl_now();
        error = cases[i].call();
        assert_on_time(now, cases[i].name);
        expect(error == then, "%s, case %d: then %s", cases[i].name, i, strerror(error));
        expect(coopdl_leave(&scope) == 1);
        end();
    }
}

Test(blocking, unharmed_by_a_far_deadline)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        coopdl_scope scope;
        int expected = cases[i].flags & WAITS_ALWAYS ? EINTR : 0;
        begin(i, true);
        coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
        alarmed = expected;
        if (alarmed)
            set_alarm(10000);
        int error = cases[i].call();
        stop_alarm();
        expect(error == expected, "%s, case %d: %s", cases[i].name, i, strerror(error));
        expect(coopdl_leave(&scope) == 0);
        end();
    }
}

Test(blocking, what_would_not_wait_is_performed)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        coopdl_scope scope;
        if (cases[i].flags & WAITS_ALWAYS)
            continue;
        begin(i, true);
        coopdl_enter(&scope, 0);
        await_expiry(&scope);
        int error = cases[i].call();
        expect(error == 0, "%s, case %d: %s", cases[i].name, i, strerror(error));
        coopdl_leave(&scope);
        end();
    }
}

Test(blocking, cancelled)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        if (cases[i].flags & NO_CANCEL || is_raw(cases[i].name))
            continue;
        begin(i, false);
        assert_cancellable(cases[i].call, cases[i].name);
        end();
    }
}

/* No file here makes a write at an offset wait, and no machine that is up getrandom. */
Test(blocking, what_cannot_be_made_to_wait_is_unharmed)
{
    static const char *names[] = {"pwrite", "pwrite64", "__pwrite64", "pwritev", "pwritev64"};
    char path[] = "/tmp/coopdl-test-file-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    unlink(path);
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        coopdl_enter(&scope, expired ? 0 : coopdl_after(3600 * COOPDL_SECOND));
        if (expired)
            await_expiry(&scope);
        for (int i = 0; i < 5; i++) {
            if (!is_here(names[i]))
                continue;
            *(void **)&f.call = dlsym(RTLD_DEFAULT, names[i]);
            ssize_t put =
                i < 3 ? AS(ssize_t(*)(int, const void *, size_t, off_t))(fd, "x", 1, 5)
                      : AS(ssize_t(*)(int, const struct iovec *, int, off_t))(fd, &iov, 1, 5);
            expect(put == (i < 3 ? 1 : 100), "%s, expired %d", names[i], expired);
        }
        *(void **)&f.call = dlsym(RTLD_DEFAULT, "getrandom");
        ssize_t got = AS(ssize_t(*)(void *, size_t, unsigned))(buffer, 16, 0);
        expect(got == 16);
        coopdl_leave(&scope);
    }
}

/* The names by which old programs know them. */
Test(blocking, streams_by_their_other_names)
{
    static const char *closers[] = {"fclose", "_IO_fclose", "pclose"};
    FILE *(*open_stream)(const char *, const char *);
    if (!is_here("_IO_popen"))
        cr_skip_test("this libc has no other names for them");
    *(void **)&open_stream = dlsym(RTLD_DEFAULT, "_IO_popen");
    for (int inside = 0; inside < 2; inside++)
        for (int i = 0; i < 3; i++) {
            coopdl_scope scope;
            int (*close_stream)(FILE *);
            *(void **)&close_stream = dlsym(RTLD_DEFAULT, closers[i]);
            if (inside)
                coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
            FILE *stream = open_stream("exit 3", "r");
            int status = stream ? close_stream(stream) : -1;
            if (inside)
                coopdl_leave(&scope);
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: %x", closers[i], status);
        }
}
