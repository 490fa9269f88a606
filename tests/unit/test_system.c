/* SPDX-License-Identifier: Apache-2.0 */
/* test_system.c -- system and popen: with a deadline, at its end, and after it. */
#include "children.h"

/* libc leaves the rest of a sigset_t as it was. */
enum { KERNEL_MASK = 8 };

/* What system changes while it runs. */
struct signals {
    struct sigaction interrupt, quit;
    sigset_t mask;
};

static struct signals signals(void)
{
    struct signals now;
    memset(&now, 0, sizeof(now));
    sigaction(SIGINT, NULL, &now.interrupt);
    sigaction(SIGQUIT, NULL, &now.quit);
    sigprocmask(SIG_SETMASK, NULL, &now.mask);
    return now;
}

static bool same(const struct sigaction *one, const struct sigaction *other)
{
    const int libcs = 0x04000000; /* SA_RESTORER, from the first sigaction on */
    return one->sa_handler == other->sa_handler &&
           (one->sa_flags | libcs) == (other->sa_flags | libcs) &&
           memcmp(&one->sa_mask, &other->sa_mask, KERNEL_MASK) == 0;
}

static void expect_restored(const struct signals *before, const char *what)
{
    struct signals now = signals();
    expect(same(&now.interrupt, &before->interrupt), "%s", what);
    expect(same(&now.quit, &before->quit), "%s", what);
    expect(memcmp(&now.mask, &before->mask, KERNEL_MASK) == 0, "%s", what);
}

static void on_signal(int number)
{
    (void)number;
}

/* system's results: outside a scope, inside one, and after it. */
static void expect_systems_results(const char *when)
{
    static const struct {
        const char *command;
        int status;
    } results[] = {
        {"exit 0", 0},
        {"exit 7", 7 << 8},
        {"kill -9 $$", SIGKILL},
        {"kill -INT $$", SIGINT}, /* it is ignored in here, not in the shell */
        {"kill -INT $PPID; kill -QUIT $PPID; exit 3", 3 << 8},
        {"exec /nonexistent/x 2> /dev/null", 127 << 8},
        {"grep -q '^SigBlk.*00000$' /proc/self/status", 0}, /* SIGCHLD is the 17th */
        {"-odd 2> /dev/null", 127 << 8},
    };
    struct signals before = signals();
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        int status = system(results[i].command);
        expect(status == results[i].status, "%s, %s: %x", when, results[i].command, status);
        expect_restored(&before, results[i].command);
    }
    expect(system(NULL) == 1, "%s", when);
}

Test(children, system_works)
{
    coopdl_scope scope;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGQUIT, &action, NULL);
    preload_in_children();
    cr_assert(system("exit 7") == 7 << 8); /* libc's own: there has been no deadline */
    expect_systems_results("outside");
    coopdl_enter(&scope, coopdl_after(FAR));
    expect_systems_results("inside");
    signal(SIGINT, SIG_IGN);
    expect(system("kill -INT $$; exit 4") == 4 << 8, "what we ignore the shell ignores");
    signal(SIGINT, SIG_DFL);
    coopdl_leave(&scope);
    expect_systems_results("after");
}

Test(children, system_hands_the_deadline_down)
{
    coopdl_scope scope;
    begin_family();
    int64_t deadline = coopdl_after(FAR);
    coopdl_enter(&scope, deadline);
    expect(system(in_family("printenv COOPDL_DEADLINE")) == 0);
    coopdl_leave(&scope);
    expect_gone(INT64_MAX, "system");
    expect(atoll(output) == ((deadline + 7) & ~7LL), "%s", output);
    expect(!getenv("COOPDL_DEADLINE"));
}

/* Ended by the deadline: -1, or with the status of a shell that its own end has come to before. */
static void expect_cut(int result, int64_t deadline, const char *what)
{
    int error = errno;
    assert_on_time(deadline, what);
    expect(result > 0 || (result == -1 && error == EINTR), "%s: %x, %s", what, result,
           strerror(error));
}

Test(children, system_ends_at_the_deadline)
{
    /* What ends by itself, what does not, and a shell that waits for a child. */
    static const char *const commands[] = {"sleep 60", STUCK, "sleep 60; exit 1"};
    SKIP_IF_NOT_REACHED();
    for (size_t i = 0; i < 3; i++) {
        coopdl_scope scope;
        begin_family();
        struct signals before = signals();
        int64_t deadline = coopdl_after(300 * MS);
        coopdl_enter(&scope, deadline);
        errno = 0;
        int result = system(in_family(commands[i]));
        expect_cut(result, deadline, commands[i]);
        expect(coopdl_leave(&scope) == 1 || result > 0);
        expect_restored(&before, commands[i]);
        expect_gone(deadline + LATEST, commands[i]);
    }
}

static volatile sig_atomic_t children_ended;

static void on_child(int number)
{
    (void)number;
    children_ended++;
}

Test(children, system_after_expiry_starts_nothing)
{
    coopdl_scope scope;
    begin_family();
    signal(SIGCHLD, on_child);
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    expect(system(in_family("echo started")) == -1 && errno == EINTR);
    expect(system(in_family("echo started")) == -1 && errno == ETIMEDOUT);
    expect(system(NULL) == 1, "this does not wait");
    coopdl_leave(&scope);
    expect_gone(INT64_MAX, "nothing");
    expect(strcmp(output, "") == 0);
    expect(children_ended == 0, "%d were started", (int)children_ended);
}

static void *stuck_in_system(void *unused)
{
    coopdl_scope scope;
    (void)unused;
    coopdl_enter(&scope, coopdl_after(FAR));
    system(in_family("echo started; " STUCK));
    coopdl_leave(&scope);
    return NULL;
}

Test(children, system_is_cancelled)
{
    pthread_t thread;
    void *result;
    char byte;
    begin_family();
    struct signals before = signals();
    expect(pthread_create(&thread, NULL, stuck_in_system, NULL) == 0);
    expect(read(family[0], &byte, 1) == 1);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    expect(result == PTHREAD_CANCELED);
    expect_restored(&before, "cancelled");
    expect_gone(INT64_MAX, "cancelled");
}

static void *run_systems(void *deadline)
{
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(*(int64_t *)deadline));
    for (int i = 0; i < 20; i++)
        system("exec sleep 0.01");
    coopdl_leave(&scope);
    return NULL;
}

Test(children, systems_of_many_threads_restore_signals_once)
{
    pthread_t threads[4];
    int64_t lengths[] = {FAR, 30 * MS, FAR, 50 * MS};
    struct signals before = signals();
    for (int i = 0; i < 4; i++)
        expect(pthread_create(&threads[i], NULL, run_systems, &lengths[i]) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    expect_restored(&before, "many threads");
    expect(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

/* Reading, writing, what is inherited, statuses. */
static void expect_popen_works(const char *when)
{
    char line[100] = "", path[] = "/tmp/coopdl-test-XXXXXX";
    FILE *file = popen("echo hello; exit 5", "r");
    expect(file && fgets(line, sizeof(line), file) && strcmp(line, "hello\n") == 0, "%s", when);
    expect(fcntl(fileno(file), F_GETFD) == 0, "%s", when);
    expect(pclose(file) == 5 << 8, "%s", when);

    int fd = mkstemp(path);
    snprintf(line, sizeof(line), "cat > %s", path);
    file = popen(line, "we");
    expect(file && fputs("there", file) >= 0, "%s", when);
    expect(fcntl(fileno(file), F_GETFD) == FD_CLOEXEC, "%s", when);
    expect(pclose(file) == 0, "%s", when);
    expect(read(fd, line, 5) == 5 && memcmp(line, "there", 5) == 0, "%s", when);
    unlink(path);
    close(fd);

    /* A cat that inherits another's pipe would never see it end. */
    FILE *cats[3];
    for (int i = 0; i < 3; i++)
        expect((cats[i] = popen("cat > /dev/null", "w")) != NULL, "%s", when);
    for (int i = 0; i < 3; i++)
        expect(pclose(cats[i]) == 0, "%s", when);

    int (*volatile close_file)(FILE *) = fclose;
    file = popen("exit 6", "r");
#ifdef __GLIBC__
    expect(close_file(file) == 6 << 8, "its fclose is its pclose, %s", when);
#else
    int status = -1;
    expect(close_file(file) == 0 && wait(&status) > 0 && status == 6 << 8, "%s", when);
#endif
    file = popen("kill -9 $$", "r");
    expect(pclose(file) == SIGKILL, "%s", when);
    static const char *const bad[] = {"", "rw", "x", "rx", "e"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        expect(popen("exit 1", bad[i]) == NULL && errno == EINVAL, "%s: %s", when, bad[i]);
    }
    expect(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "%s", when);
}

Test(children, popen_works)
{
    coopdl_scope scope;
    preload_in_children();
    expect_popen_works("outside");
    coopdl_enter(&scope, coopdl_after(FAR));
    expect_popen_works("inside");
    coopdl_leave(&scope);
}

Test(children, popen_of_closed_standard_descriptors)
{
    /* The pipes' ends are then 0 and 1 themselves; the first stream is 0, which is where the second
     * one's shell reads. */
    coopdl_scope scope;
    char text[10] = "";
    int saved[2] = {dup(0), dup(1)};
    coopdl_enter(&scope, coopdl_after(FAR));
    close(0);
    close(1);
    FILE *from = popen("printf hello; exit 8", "r"), *to = popen("read x; exit $x", "w");
    bool works = from && to && fgets(text, sizeof(text), from) && fputs("9\n", to) >= 0;
    int fd = from ? fileno(from) : -1, to_status = pclose(to), from_status = pclose(from);
    dup2(saved[0], 0);
    dup2(saved[1], 1);
    expect(works && fd == 0 && strcmp(text, "hello") == 0, "%d: %s", fd, text);
    expect(from_status == 8 << 8 && to_status == 9 << 8, "%x, %x", from_status, to_status);
    coopdl_leave(&scope);
}

Test(children, popen_hands_the_deadline_down)
{
    coopdl_scope scope;
    char line[100] = "";
    int64_t deadline = coopdl_after(FAR);
    preload_in_children();
    coopdl_enter(&scope, deadline);
    FILE *file = popen("printenv COOPDL_DEADLINE", "r");
    expect(file && fgets(line, sizeof(line), file));
    expect(atoll(line) == ((deadline + 7) & ~7LL), "%s", line);
    expect(pclose(file) == 0);
    coopdl_leave(&scope);
}

Test(children, pclose_ends_at_the_deadline)
{
    static const char *const commands[] = {"sleep 60", STUCK, "sleep 60; exit 1"};
    SKIP_IF_NOT_REACHED();
    for (int writing = 0; writing < 2; writing++)
        for (size_t i = 0; i < 3; i++) {
            coopdl_scope scope;
            begin_family();
            int64_t deadline = coopdl_after(300 * MS);
            coopdl_enter(&scope, deadline);
            FILE *file = popen(in_family(commands[i]), writing ? "w" : "r");
            expect(file != NULL);
            if (writing)
                fputs("something", file);
            int fd = fileno(file);
            errno = 0;
            int result = pclose(file);
            expect_cut(result, deadline, commands[i]);
            expect(fcntl(fd, F_GETFD) == -1 && errno == EBADF, "the stream is closed");
            expect(coopdl_leave(&scope) == 1 || result > 0);
            expect_gone(deadline + LATEST, commands[i]);
        }
}

/* What execs is killed itself, so nothing in it needs the library. */
Test(children, a_single_process_is_killed)
{
    coopdl_scope scope;
    for (int i = 0; i < 2; i++) {
        begin_family();
        int64_t deadline = coopdl_after(50 * MS);
        coopdl_enter(&scope, deadline);
        errno = 0;
        int result = i ? pclose(popen(in_family(STUCK), "r")) : system(in_family(STUCK));
        expect(result == -1 && errno == EINTR, "%x", result);
        assert_on_time(deadline, i ? "pclose" : "system");
        expect(coopdl_leave(&scope) == 1);
        expect_gone(deadline + LATEST, STUCK);
    }
}

Test(children, pclose_after_expiry)
{
    coopdl_scope scope;
    static char data[150000], room[200000];
    begin_family();
    coopdl_enter(&scope, coopdl_after(FAR));
    FILE *ended = popen("exit 3", "r"), *stuck = popen(in_family(STUCK), "r");
    FILE *full = popen(in_family(STUCK), "w");
    expect(ended && stuck && full);
    /* More than the pipe takes, and all of it still in the stream. */
    setvbuf(full, room, _IOFBF, sizeof(room));
    expect(fwrite(data, 1, sizeof(data), full) == sizeof(data));
    while (fgetc(ended) != EOF)
        ;
    siginfo_t info;
    expect(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0);
    coopdl_move(&scope, 0);
    await_expiry(&scope);
    expect(pclose(ended) == 3 << 8, "what does not wait is not cut");
    int64_t begun = coopdl_now();
    expect(pclose(stuck) == -1 && errno == EINTR);
    expect(pclose(full) == -1 && errno == ETIMEDOUT);
    expect(coopdl_now() < begun + LATEST);
    coopdl_leave(&scope);
    expect_gone(begun + LATEST, "expired");
}

Test(children, streams_cross_the_scopes_borders)
{
    coopdl_scope scope;
    FILE *before = popen("exit 1", "r"); /* libc's own: there has been no deadline */
    FILE *leaving = popen("cat > /dev/null", "w");
    begin_family();
    coopdl_enter(&scope, coopdl_after(FAR));
    FILE *inside = popen("exit 2", "r"), *cat = popen("cat > /dev/null; exit 3", "w");
    expect(before && leaving && inside && cat);
    expect(pclose(leaving) == 0, "a later shell has inherited its pipe");
    expect(pclose(before) == 1 << 8);
    coopdl_leave(&scope);
    expect(pclose(cat) == 3 << 8);
    expect(pclose(inside) == 2 << 8);

    FILE *outside = popen(in_family(STUCK), "r");
    int64_t deadline = coopdl_after(100 * MS);
    coopdl_enter(&scope, deadline);
    expect(pclose(outside) == -1 && errno == EINTR);
    assert_on_time(deadline, "opened before the scope");
    coopdl_leave(&scope);
    expect_gone(deadline + LATEST, "opened before the scope");
}

Test(children, many_streams)
{
    enum { STREAMS = 40 };
    FILE *files[STREAMS];
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(FAR));
    for (int i = 0; i < STREAMS; i++) {
        char command[20];
        snprintf(command, sizeof(command), "exit %d", i);
        expect((files[i] = popen(command, "r")) != NULL);
    }
    for (int i = 0; i < STREAMS; i++) {
        int each = (i * 7) % STREAMS, status = pclose(files[each]);
        expect(status == each << 8, "%d: %x", each, status);
    }
    coopdl_leave(&scope);
}

/* The kick, or the timer that a forked child has instead of a scheduler, would end the new program.
 */
