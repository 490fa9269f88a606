/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak.c -- threads that enter random nested scopes, from 0 to 3 ms, around all
 * kinds of blocking calls: soak [SECONDS [THREADS]].
 *
 * Checked in each round:
 * - never early: a call fails only after the deadline that ruled it;
 * - never stray: once the outermost scope is left, no call is interrupted;
 * - never late: a call returns at most 50 ms after its deadline;
 * - never wrong: what is written is read, once, in order, expired or not.
 *
 * - never open: with the trap a thread is kicked again only for what is never
 *   cut or cannot be looked at beforehand, though some of the calls go past the
 *   wrappers.  Without it (COOPDL_TRAP=0) kicks are repeated for all that one did
 *   not end.
 *
 * Emulated (qemu-user): a signal that comes before a system call, but after the
 * emulator has last looked for one, is held back until that call returns, with all of
 * the machine's signals blocked.  The calls that the emulator makes interruptible look
 * again.  Those that it does not (splice, tee, vmsplice, sendfile) nothing can cut any
 * more; they are left out there, with those that it lacks.
 *
 * It prints the counts, and a line of TAP for each of the five.
 *
 * Sanitizers.  Under AddressSanitizer it runs as it is.  ThreadSanitizer's
 * interceptors sit between the program and the wrappers; they let through both
 * the calls and the kick, whose handler is installed with a system call of our
 * own, so that it is not held back until the next interceptor.  What they do
 * not allow: TSan cannot see that handler's accesses happen before those of the
 * thread that it interrupts; these are atomics only.  Both make everything
 * slower: there the bound for "late" is 500 ms.
 */
#include "soak_calls.h"

#if defined(EMULATED)
#define LATEST (2 * COOPDL_SECOND)
#else
#define LATEST (1 * COOPDL_SECOND) /* of the worst round, beside other work */
#endif

#ifdef __x86_64__
#define TRAP true
#else
#define TRAP false
#endif

static int wait_somehow(struct worker *worker)
{
    worker->called = next_random(worker, sizeof(calls) / sizeof(calls[0]));
    return calls[worker->called](worker);
}

/* Which call it was, and where its deadline lay: a count alone says nothing. */
static void say(const char *what, const struct worker *worker, int64_t deadline, int64_t begun,
                int error)
{
    printf("# %s: call %" PRIu64 ", cut %d, error %d, deadline %+" PRId64 " us from its beginning, "
           "lasted %" PRId64 " us\n",
           what, worker->called, worker->cut, error, (deadline - begun) / COOPDL_MICROSECOND,
           (coopdl_now() - begun) / COOPDL_MICROSECOND);
}

static void check_cut(struct worker *worker, int64_t deadline, int64_t begun, int error)
{
    struct counts *counts = &worker->counts;
    int64_t late = coopdl_now() - (deadline > begun ? deadline : begun);
    counts->calls++;
    if (error != EINTR && error != ETIMEDOUT) {
        counts->wrong++;
        say("wrong", worker, deadline, begun, error);
    }
    if (late < 0) {
        counts->early++;
        say("early", worker, deadline, begun, error);
    }
    if (late > LATEST) {
        counts->late++;
        say("late", worker, deadline, begun, error);
    }
    counts->cuts++;
    if (++worker->cut > PROMPT_CUTS) /* it may have paused on purpose */
        return;
    if (late > counts->worst)
        counts->worst = late;
    for (int i = 0; i < LATENESSES; i++)
        if (late <= bounds[i]) {
            counts->lateness[i]++;
            break;
        }
}

/* What does not wait is never cut, and no byte is lost or repeated. */
static void exchange(struct worker *worker)
{
    unsigned char out = worker->next_out++, in;
    worker->counts.calls++;
    if (write(worker->busy[1], &out, 1) != 1 || read(worker->busy[0], &in, 1) != 1 ||
        in != worker->next_in++)
        worker->counts.wrong++;
}

/* `deadline` is what must rule here, by the test's own reckoning. */
static void act(struct worker *worker, int64_t deadline)
{
    int64_t begun = coopdl_now();
    switch (next_random(worker, 4)) {
    case 0:
        exchange(worker);
        break;
    case 1: /* no call at all: the expiry lands here, or while leaving */
        while (coopdl_now() < begun + (int64_t)next_random(worker, 1000) * 1000)
            ;
        break;
    default:
        if (deadline != COOPDL_NEVER)
            check_cut(worker, deadline, begun, wait_somehow(worker));
    }
}

static int64_t soon(struct worker *worker)
{
    return coopdl_now() + (int64_t)next_random(worker, 3000) * COOPDL_MICROSECOND;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void nest(struct worker *worker, int depth, int64_t outer)
{
    coopdl_scope scope;
    bool shield = depth > 0 && next_random(worker, 8) == 0;
    int64_t deadline = shield ? COOPDL_NEVER : soon(worker);
    int64_t ruling = shield ? COOPDL_NEVER : earlier(deadline, outer);
    if (shield) {
        coopdl_shield(&scope);
        worker->counts.shields++;
    } else {
        coopdl_enter(&scope, deadline);
    }
    act(worker, ruling);
    if (depth + 1 < DEEPEST && next_random(worker, 2))
        nest(worker, depth + 1, ruling);
    if (!shield && next_random(worker, 8) == 0) {
        deadline = soon(worker);
        ruling = earlier(deadline, outer);
        coopdl_move(&scope, deadline);
        worker->counts.moves++;
    }
    act(worker, ruling);
    int left = coopdl_leave(&scope);
    if (left < 0)
        worker->counts.wrong++;
    else if (left)
        worker->counts.expired++;
    else
        worker->counts.in_time++;
}

/* Outside all scopes: whatever is interrupted here was interrupted by a kick that came late. */
static void check_stray(struct worker *worker)
{
    struct pollfd pollfd = {.fd = worker->silent[0], .events = POLLIN};
    struct timespec moment = {.tv_nsec = 50000};
    bool disturbed = coopdl_deadline() != COOPDL_NEVER;
    if (next_random(worker, 2))
        disturbed |= nanosleep(&moment, NULL) != 0;
    else
        disturbed |= poll(&pollfd, 1, next_random(worker, 4) == 0) != 0;
    worker->counts.stray += disturbed;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load(&stop)) {
        worker->cut = 0;
        nest(worker, 0, COOPDL_NEVER);
        check_stray(worker);
        worker->counts.rounds++;
    }
    return NULL;
}

static void fill(int fd)
{
    static const char block[4096];
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    while (write(fd, block, sizeof(block)) > 0 || write(fd, block, 1) > 0)
        ;
    fcntl(fd, F_SETFL, flags);
}

static bool lock_file(struct worker *worker)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char name[] = "/tmp/coopdl-soak-XXXXXX";
    worker->file = mkstemp(name);
    worker->locked = open(name, O_RDWR);
    unlink(name);
    if (write(worker->file, "x", 1) != 1)
        return false;
    return flock(worker->locked, LOCK_EX) == 0 && fcntl(worker->locked, F_OFD_SETLK, &lock) == 0;
}

static bool make_names(struct worker *worker, unsigned number)
{
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
    char name[48];
    snprintf(name, sizeof(name), "/coopdl-soak-%d-%u", (int)getpid(), number);
    worker->mq = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    mq_unlink(name);
    worker->full_mq = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    mq_unlink(name);
    if (mq_send(worker->full_mq, "x", 1, 0))
        return false;
    snprintf(worker->fifo, sizeof(worker->fifo), "/tmp%s", name);
    return worker->mq >= 0 && mkfifo(worker->fifo, 0600) == 0;
}

static bool crowd(struct worker *worker)
{
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    sa_family_t name = AF_UNIX;
    worker->crowded_length = sizeof(worker->crowded);
    if (bind(listener, (struct sockaddr *)&name, sizeof(name)) || listen(listener, 0) ||
        getsockname(listener, (struct sockaddr *)&worker->crowded, &worker->crowded_length))
        return false;
    int client, connected;
    do {
        client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connected =
            connect(client, (struct sockaddr *)&worker->crowded, worker->crowded_length) == 0;
    } while (connected);
    return true;
}

static bool fill_queues(struct worker *worker)
{
    static const struct {
        long type;
        char text[1000];
    } message = {.type = 1};
    worker->full_queue = msgget(IPC_PRIVATE, 0600);
    worker->full_event = eventfd(0, 0);
    worker->aio = (struct aiocb){
        .aio_fildes = worker->silent[0], .aio_buf = &worker->aio_byte, .aio_nbytes = 1};
    if (worker->full_queue < 0 || eventfd_write(worker->full_event, UINT64_MAX - 1) ||
        aio_read(&worker->aio))
        return false;
    while (msgsnd(worker->full_queue, &message, sizeof(message.text), IPC_NOWAIT) == 0)
        ;
    return true;
}

static bool set_up(struct worker *worker, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN};
    worker->random = (uint64_t)coopdl_now() * 2654435761u + number + 1;
    worker->epoll = epoll_create1(0);
    worker->event = eventfd(0, 0);
    worker->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    worker->queue = msgget(IPC_PRIVATE, 0600);
    worker->semaphores = semget(IPC_PRIVATE, 1, 0600);
    sa_family_t name = AF_UNIX;
    if (pipe(worker->silent) || pipe(worker->busy) || pipe(worker->full) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, worker->socket) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, worker->full_socket) ||
        bind(worker->listener, (struct sockaddr *)&name, sizeof(name)) ||
        listen(worker->listener, 1) || sem_init(&worker->semaphore, 0, 0) ||
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->silent[0], &event))
        return false;
    fill(worker->full[1]);
    fill(worker->full_socket[0]);
    return worker->queue >= 0 && worker->semaphores >= 0 && lock_file(worker) &&
           make_names(worker, number) && crowd(worker) && fill_queues(worker);
}

static void tear_down(struct worker *worker)
{
    msgctl(worker->queue, IPC_RMID, NULL);
    msgctl(worker->full_queue, IPC_RMID, NULL);
    semctl(worker->semaphores, 0, IPC_RMID);
    unlink(worker->fifo);
}

/* A child for waitpid, which ends with its parent; libc's own functions; and two sets of signals.
 */
static bool set_up_process(void)
{
#ifdef __GLIBC__
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
#else
    void *libc = dlopen("libc.so", RTLD_NOW | RTLD_NOLOAD);
#endif
    *(void **)&libcs.poll = libc ? dlsym(libc, "poll") : NULL;
    *(void **)&libcs.sem_wait = libc ? dlsym(libc, "sem_wait") : NULL;
    if (!libcs.sem_wait && (libc = dlopen("libpthread.so.0", RTLD_NOW | RTLD_NOLOAD)))
        *(void **)&libcs.sem_wait = dlsym(libc, "sem_wait"); /* up to glibc 2.33 */
    if (!libcs.poll || !libcs.sem_wait)
        return false;
    sigemptyset(&no_signals);
    sigemptyset(&some_signals);
    sigaddset(&some_signals, SIGUSR2);
    pid_t parent = getpid();
    stuck_child = fork();
    if (stuck_child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == parent)
            pause();
        _exit(0);
    }
    return stuck_child > 0;
}

static void add(struct counts *sum, const struct counts *one)
{
    sum->rounds += one->rounds;
    sum->calls += one->calls;
    sum->cuts += one->cuts;
    sum->in_time += one->in_time;
    sum->expired += one->expired;
    sum->shields += one->shields;
    sum->moves += one->moves;
    sum->early += one->early;
    sum->stray += one->stray;
    sum->late += one->late;
    sum->wrong += one->wrong;
    for (int i = 0; i < LATENESSES; i++)
        sum->lateness[i] += one->lateness[i];
    if (one->worst > sum->worst)
        sum->worst = one->worst;
}

static int verdict(int number, const char *what, uint64_t bad)
{
    printf("%sok %d - %s (%" PRIu64 ")\n", bad ? "not " : "", number, what, bad);
    return bad != 0;
}

int main(int count, char **arguments)
{
    int seconds = count > 1 ? atoi(arguments[1]) : 20;
    int threads = count > 2 ? atoi(arguments[2]) : 8;
    if (count > 3 || seconds < 1 || threads < 1 || threads > 1000) {
        fprintf(stderr, "usage: soak [SECONDS [THREADS]], from 1 up; at most 1000 threads\n");
        return 125;
    }
    struct worker *workers = calloc((size_t)threads, sizeof(*workers));
    if (!workers || !set_up_process()) {
        perror("soak: cannot start");
        exit(1);
    }
    for (int i = 0; i < threads; i++)
        if (!set_up(&workers[i], (unsigned)i) ||
            pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            perror("soak: cannot start");
            exit(1);
        }
    sleep((unsigned)seconds);
    atomic_store(&stop, true);

    struct counts sum = {0};
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        add(&sum, &workers[i].counts);
        tear_down(&workers[i]);
    }
    kill(stuck_child, SIGKILL);
    free(workers);
    printf("1..6\n");
    printf("# %d s, %d threads, %" PRIu64 " rounds, %" PRIu64 " calls, %" PRIu64 " cut\n", seconds,
           threads, sum.rounds, sum.calls, sum.cuts);
    printf("# scopes: %" PRIu64 " in time, %" PRIu64 " expired; %" PRIu64 " shields, %" PRIu64
           " moved\n",
           sum.in_time, sum.expired, sum.shields, sum.moves);
    printf("# late: %" PRIu64 " to 0.1 ms, %" PRIu64 " to 1 ms, %" PRIu64 " to 5 ms, %" PRIu64
           " to 10 ms, %" PRIu64 " to 50 ms, %" PRIu64 " more; worst %.3f ms\n",
           sum.lateness[0], sum.lateness[1], sum.lateness[2], sum.lateness[3], sum.lateness[4],
           sum.lateness[5], (double)sum.worst / (double)COOPDL_MILLISECOND);
    printf("# kicked: %" PRIu64 " for an expiry; again: %" PRIu64 " untrapped, %" PRIu64
           " in a futex, %" PRIu64 " for a moment, %" PRIu64 " in a call\n",
           coopdl_kicks(COOPDL_KICK_EXPIRY), coopdl_kicks(COOPDL_KICK_UNTRAPPED),
           coopdl_kicks(COOPDL_KICK_FUTEX), coopdl_kicks(COOPDL_KICK_MOMENT),
           coopdl_kicks(COOPDL_KICK_CALL));
    const char *trap = getenv("COOPDL_TRAP");
    bool trapping = TRAP && (!trap || strcmp(trap, "0") != 0);
    int failed = verdict(1, "never early", sum.early) + verdict(2, "never stray", sum.stray) +
                 verdict(3, "never late", sum.late) + verdict(4, "never wrong", sum.wrong) +
                 verdict(5, trapping ? "never open" : "never open # SKIP there is no trap",
                         trapping ? coopdl_kicks(COOPDL_KICK_UNTRAPPED) : 0) +
                 verdict(6, "something was cut", sum.cuts == 0);
    return failed != 0;
}
