/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_trap.c -- what a thread does after expiry, past the wrappers: everything
 * that would break if the trap were naive.
 *
 * The same tests run with COOPDL_TRAP=0 too: then the only thing that
 * ends such a call is another kick, and its error is EINTR alone.
 */
#include "cancel.h"
#include "trapped.h"

TestSuite(trap, .timeout = 30);

Test(trap, an_inline_system_call_is_cut)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    int64_t deadline = coopdl_after(30 * MS);
    coopdl_enter(&scope, deadline);
    long error = inline_read(silent);
    assert_on_time(deadline, "inline read");
    expect(error == -EINTR, "%ld", error);
    expect_cut(silent);
    coopdl_leave(&scope);
}

Test(trap, needs_no_second_kick)
{
    /* The thread has been kicked once; whatever it waits in then, it is cut by the trap. */
    coopdl_scope scope;
    struct timespec second = {.tv_sec = 1};
    int silent = silent_pipe();
    if (!trapping())
        cr_skip_test("COOPDL_TRAP=0");
    enter_expired(&scope, silent);
    for (int i = 0; i < 8; i++)
        expect(inline_read(silent) == -ETIMEDOUT);
    expect(inline_syscall(SYS_nanosleep, (long)&second, 0, 0, 0) == -ETIMEDOUT);
    coopdl_leave(&scope);
    cr_expect(coopdl_kicks(COOPDL_KICK_EXPIRY) >= 1);
    for (int cause = COOPDL_KICK_FUTEX; cause < COOPDL_KICK_CAUSES; cause++)
        cr_expect(coopdl_kicks(cause) == 0, "%d", cause);
}

Test(trap, what_does_not_wait_is_performed)
{
    coopdl_scope scope;
    char text[4] = "", name[64] = "";
    int ends[2], silent = silent_pipe();
    cr_assert(pipe(ends) == 0);
    long pid = getpid();
    enter_expired(&scope, silent);
    long written = inline_syscall(SYS_write, ends[1], (long)"abc", 3, 0);
    long got = inline_syscall(SYS_read, ends[0], (long)text, 4, 0);
    errno = ENOTTY;
    long bad = inline_syscall(SYS_read, -1, (long)text, 4, 0);
    int left = errno;
    long fault = inline_syscall(SYS_write, ends[1], 16, 4, 0);
    long ours = inline_syscall(SYS_getpid, 0, 0, 0, 0);
    long cwd = inline_syscall(SYS_getcwd, (long)name, sizeof(name), 0, 0);
    expect(written == 3 && got == 3 && strcmp(text, "abc") == 0);
    expect(bad == -EBADF && fault == -EFAULT && left == ENOTTY);
    expect(ours == pid);
    expect(cwd > 0 && name[0] == '/');
    expect_cut(silent);
    coopdl_leave(&scope);
}

static void *add_one(void *number)
{
    ++*(int *)number;
    return number;
}

Test(trap, threads_can_be_created)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *result;
        int number = 1;
        enter_expired(&scope, silent);
        int error = pthread_create(&thread, NULL, add_one, &number);
        expect(error == 0);
        error = pthread_join(thread, &result);
        expect(error == 0 && result == &number && number == 2);
        expect_cut_soon(silent);
        coopdl_leave(&scope);
    }
}

/* What a child wrote before it ended, which is awaited outside the deadline. */
static void expect_child(pid_t child, int fd, const char *expected)
{
    coopdl_scope shield;
    char text[16] = "";
    coopdl_shield(&shield);
    cr_assert(child > 0, "%s", strerror(errno));
    cr_expect(read(fd, text, sizeof(text) - 1) >= 0);
    int status = status_of(child);
    cr_expect_str_eq(text, expected);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%x", status);
    coopdl_leave(&shield);
}

Test(trap, children_can_be_started)
{
    coopdl_scope scope;
    int ends[2], silent = silent_pipe();
    char command[64], sh[] = "sh", option[] = "-c";
    cr_assert(pipe(ends) == 0);
    snprintf(command, sizeof(command), "echo ran >/dev/fd/%d; exit 3", ends[1]);
    char *const argv[] = {sh, option, command, NULL};
    enter_expired(&scope, silent);

    pid_t child = fork();
    if (child == 0) {
        dprintf(ends[1], "ran\n");
        _exit(3);
    }
    expect_child(child, ends[0], "ran\n");
    expect_cut_soon(silent);

    child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): what is tested */
    if (child == 0) {
        execv("/bin/sh", argv);
        _exit(1);
    }
    expect_child(child, ends[0], "ran\n");
    expect_cut_soon(silent);

    int error = posix_spawn(&child, "/bin/sh", NULL, NULL, argv, environ);
    expect(error == 0, "%s", strerror(error));
    expect_child(child, ends[0], "ran\n");
    expect_cut_soon(silent);
    coopdl_leave(&scope);
}

/* Ends the shell that has written its number, which nobody has waited for. */
static void end_shell(int fd)
{
    coopdl_scope shield;
    char text[16] = "";
    coopdl_shield(&shield);
    cr_expect(read(fd, text, sizeof(text) - 1) > 0);
    pid_t pid = atoi(text);
    cr_assert(pid > 1);
    kill(pid, SIGKILL);
    status_of(pid);
    coopdl_leave(&shield);
}

/* libc's own, which no wrapper sees. */
Test(trap, libcs_own_system_and_popen)
{
    coopdl_scope scope;
    char command[64];
    int ends[2], silent = silent_pipe();
    cr_assert(pipe(ends) == 0);
    snprintf(command, sizeof(command), "echo $$ >/dev/fd/%d; exec sleep 60", ends[1]);
    int (*libc_system)(const char *);
    FILE *(*libc_popen)(const char *, const char *);
    int (*libc_pclose)(FILE *);
    *(void **)&libc_system = libcs("system");
    *(void **)&libc_popen = libcs("popen");
    *(void **)&libc_pclose = libcs("pclose");
    if (!trapping())
        cr_skip_test("COOPDL_TRAP=0: they restart on EINTR, for ever");
    enter_expired(&scope, silent);

    int64_t begun = coopdl_now();
    int status = libc_system(command);
    expect(status == -1 && coopdl_now() - begun < LATEST, "%x", status);
    end_shell(ends[0]);

    FILE *stream = libc_popen(command, "r");
    expect(stream != NULL);
    begun = coopdl_now();
    status = libc_pclose(stream);
    expect(status == -1 && coopdl_now() - begun < LATEST, "%x", status);
    end_shell(ends[0]);
    expect_cut(silent);
    coopdl_leave(&scope);
}
/* A trapped call with SIGSYS blocked would kill. */
static void expect_no_trap(void)
{
    sigset_t sigsys;
    sigemptyset(&sigsys);
    sigaddset(&sigsys, SIGSYS);
    pthread_sigmask(SIG_BLOCK, &sigsys, NULL);
    cr_expect(inline_syscall(SYS_getpid, 0, 0, 0, 0) == getpid());
    pthread_sigmask(SIG_UNBLOCK, &sigsys, NULL);
}

Test(trap, leaving_stops_it_at_once)
{
    coopdl_scope scope;
    struct timespec nap = {.tv_nsec = 2 * MS};
    int silent = silent_pipe();
    for (int i = 0; i < 20; i++) {
        enter_expired(&scope, silent);
        coopdl_leave(&scope);
        expect_no_trap();
        int64_t begun = coopdl_now();
        long error = inline_syscall(SYS_nanosleep, (long)&nap, 0, 0, 0);
        cr_expect(error == 0 && coopdl_now() - begun >= 2 * MS, "%ld", error);
    }
}

static volatile sig_atomic_t delivered;

static enum coopdl_verdict cut_until_delivered(pid_t tid, coopdl_scope *scope)
{
    (void)tid;
    (void)scope;
    return delivered ? COOPDL_HANDLING : COOPDL_CUT;
}

Test(trap, delivering_stops_it_at_once)
{
    static const struct coopdl_hooks hooks = {.expired = cut_until_delivered};
    coopdl_scope scope;
    struct timespec nap = {.tv_nsec = 2 * MS};
    int silent = silent_pipe();
    cr_assert(coopdl_set_hooks(&hooks) == 0);
    for (int i = 0; i < 20; i++) {
        delivered = false;
        enter_expired(&scope, silent);
        delivered = true;
        cr_assert(coopdl_deliver(&scope) == 0);
        expect_no_trap();
        int64_t begun = coopdl_now();
        long error = inline_syscall(SYS_nanosleep, (long)&nap, 0, 0, 0);
        cr_expect(error == 0 && coopdl_now() - begun >= 2 * MS, "%ld", error);
        coopdl_leave(&scope);
    }
}

static _Atomic pid_t inside;

/* Without assertions: a detached thread may outlive the test. */
static void *end_inside(void *silent)
{
    coopdl_scope scope;
    coopdl_enter(&scope, 0);
    while (inline_read(*(int *)silent) != (trapping() ? -ETIMEDOUT : -EINTR))
        ;
    inside = gettid();
    return NULL;
}

Test(trap, threads_end_inside_it)
{
    pthread_t thread;
    pthread_attr_t detached;
    int silent = silent_pipe();
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 100; i++) {
        cr_assert(pthread_create(&thread, NULL, end_inside, &silent) == 0);
        cr_assert(pthread_join(thread, NULL) == 0);
        inside = 0;
        cr_assert(pthread_create(&thread, &detached, end_inside, &silent) == 0);
        while (!inside || syscall(SYS_tgkill, getpid(), inside, 0) == 0)
            ;
    }
    pthread_attr_destroy(&detached);
}

Test(trap, the_outer_scope_is_still_expired)
{
    coopdl_scope outer, inner;
    struct timespec nap = {.tv_nsec = 2 * MS};
    int silent = silent_pipe();
    enter_expired(&outer, silent);
    for (int i = 0; i < 20; i++) {
        coopdl_enter(&inner, coopdl_now());
        coopdl_leave(&inner);
        long error = inline_read(silent);
        expect(error == -ETIMEDOUT || error == -EINTR, "%ld", error);
    }
    expect_cut(silent);
    coopdl_shield(&inner);
    long error = inline_syscall(SYS_nanosleep, (long)&nap, 0, 0, 0);
    coopdl_leave(&inner);
    expect(error == 0, "a shield inside: %ld", error);
    expect_cut(silent);
    coopdl_leave(&outer);
}

Test(trap, a_forked_child_is_cut_as_well)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    enter_expired(&scope, silent);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 2; i++)
            inline_read(silent);
        long error = inline_read(silent);
        coopdl_scope own; /* it starts a scheduler of its own */
        int entered = coopdl_enter(&own, 0), left = coopdl_leave(&own);
        _exit(error == (trapping() ? -ETIMEDOUT : -EINTR) && !entered && left == 1 ? 0 : 1);
    }
    coopdl_leave(&scope);
    cr_expect(status_of(child) == 0);
}

Test(trap, a_trapped_process_can_run_another_program)
{
    coopdl_scope scope;
    int silent = silent_pipe();
    enter_expired(&scope, silent);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 3; i++)
            inline_read(silent);
        execl("/nonexistent/program", "program", (char *)NULL);
        bool failed = errno == ENOENT && inline_read(silent) != 0;
        execl("/bin/sh", "sh", "-c", failed ? "kill -ALRM $$; exit 3" : "exit 4", (char *)NULL);
        _exit(1);
    }
    coopdl_leave(&scope);
    int status = status_of(child);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM, "its mask is open: %x", status);
}

static sigjmp_buf back;

static void jump(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

Test(trap, a_handler_that_leaves_by_longjmp)
{
    /* Out of the pause that a retry loop gets. */
    coopdl_scope scope;
    struct itimerval soon = {.it_value.tv_usec = 20000};
    int silent = silent_pipe();
    signal(SIGALRM, jump);
    enter_expired(&scope, silent);
    for (volatile int i = 0; i < 3; i++)
        if (sigsetjmp(back, 1) == 0) {
            setitimer(ITIMER_REAL, &soon, NULL);
            for (;;)
                inline_read(silent);
        }
    expect_cut(silent);
    coopdl_leave(&scope);
    cr_expect(!is_blocked(SIGALRM));
    cr_expect(read_errno(open("/dev/null", O_RDONLY)) == 0);
}

static void alarm_once(void)
{
    static bool done;
    if (!done)
        raise(SIGALRM);
    done = true;
}

Test(trap, a_handler_that_would_leave_the_kick_by_longjmp)
{
    /* A kick that is never taken to its end would be the last. */
    static const struct coopdl_hooks hooks = {.expired = cut_until_delivered, .kicked = alarm_once};
    coopdl_scope scope;
    volatile int jumps = 0;
    int silent = silent_pipe();
    signal(SIGALRM, jump);
    cr_assert(coopdl_set_hooks(&hooks) == 0);
    coopdl_enter(&scope, coopdl_after(20 * MS));
    if (sigsetjmp(back, 1) == 0)
        inline_read(silent);
    else
        jumps = 1;
    long error = 0;
    for (int i = 0; i < 3; i++) /* what comes of the kick, and twice of the trap */
        error = inline_read(silent);
    coopdl_leave(&scope);
    coopdl_set_hooks(NULL);
    cr_expect(jumps == 1 && error == (trapping() ? -ETIMEDOUT : -EINTR), "%ld", error);
}

/* Gives back the pages below the caller's frame, from wherever in a page that is. */
static void give_back_below(size_t depth)
{
    volatile char deeper[512];
    char *here = __builtin_frame_address(0);
    deeper[0] = 0;
    if (depth) {
        give_back_below(depth - 1);
    } else {
        char *end = (char *)((uintptr_t)(here - 1536) & ~(uintptr_t)4095);
        long error = inline_syscall(SYS_madvise, (long)(end - 16384), 16384, MADV_DONTNEED, 0);
        deeper[0] = (char)error;
    }
    if (deeper[0])
        abort();
}

Test(trap, memory_comes_and_goes)
{
    /* malloc's mappings, and the stack that the handler itself may stand on. */
    coopdl_scope scope;
    int silent = silent_pipe();
    enter_expired(&scope, silent);
    for (size_t size = 1 << 10; size < 64 << 20; size *= 4) {
        char *memory = malloc(size);
        memory[0] = memory[size - 1] = 1;
        free(memory);
    }
    for (size_t depth = 0; depth < 8; depth++) {
        give_back_below(depth);
        expect_cut_soon(silent);
    }
    coopdl_leave(&scope);
}

Test(trap, a_wrapper_tells_the_trap_s_cut_again)
{
    /* As when a wrapper has looked before expiry and its call into libc comes after: that call is
     * cut by the trap, and the wrapper finds an EINTR. */
    coopdl_scope scope;
    int silent = silent_pipe();
    for (int i = 0; i < 20; i++) {
        coopdl_enter(&scope, 0);
        long trapped = inline_read(silent);
        int first = read_errno(silent), second = read_errno(silent);
        coopdl_leave(&scope);
        cr_expect(trapped == -EINTR && first == EINTR && second == ETIMEDOUT, "%ld %d %d", trapped,
                  first, second);
    }
}

static ssize_t (*libcs_read)(int, void *, size_t);
static int nobody_writes;

static int call_libcs_read(void)
{
    char byte;
    return (int)libcs_read(nobody_writes, &byte, 1);
}

Test(trap, cancelled)
{
    /* In libc's own read, which the trap is answering: with a pause, most of the time. */
    nobody_writes = silent_pipe();
    *(void **)&libcs_read = libcs("read");
    for (int i = 0; i < 10; i++)
        assert_cancellable(call_libcs_read, "libc's own read");
}
