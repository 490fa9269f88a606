/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c -- how long each call waits: fills a table that the command coopdl has made for its
 * report (core/waits.h).
 *
 * Nothing here runs unless coopdl has asked for it.  Then the exported wrappers see no record of
 * the thread (coopdl_shown), and take the path of a thread that has none yet, which leads here
 * (exports.c).  Without a report no call has one instruction more.
 *
 * A site is a place in this process that makes a call, together with the target of the call.
 * The first call from a site looks up the caller's library and function (maps.c) and the target
 * (target.c), and finds the row of the table, which is kept.  A descriptor may later stand for
 * another target.  So a call that has waited looks up the target again afterwards, which is
 * cheap beside the wait.
 *
 * What must hold: the rules for every wrapper (preload.h).  A call returns what it would return
 * without this file, errno included, and is cut in the same way.  `measured_from` holds the
 * program's return address while the return address of the wrapper lies in this file.  Memory of
 * the program is read only where the kernel can read it.
 *
 * Interleavings.
 * - Two threads make the same site at once: both find the same row, by its key.
 * - A signal handler makes a call inside another call: it takes over the thread's live entry,
 *   and gives it back.  A handler that leaves by longjmp does not give it back: the thread's
 *   next call takes the entry over.  A thread that is cancelled in a call leaves its entry: the
 *   call counts until the process has ended.
 * - After vfork the memory, and so the sites, are the parent's: a call of the child is counted
 *   as one of the parent.
 * - After fork the child has its own copy of the sites, which are right: it runs the same
 *   program.
 */
#include "preload/measure.h"

#include "core/clock.h"
#include "core/evidence.h"
#include "core/maps.h"
#include "core/policy.h"
#include "core/process.h"
#include "core/sys.h"
#include "core/target.h"
#include "core/waits.h"
#include "preload/cut.h"
#include "preload/preload.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* The shortest wait after which a call looks up its target again; for epoll, whose look-up takes
 * longer. */
#define WAITED (50 * COOPDL_MICROSECOND)
#define WAITED_LONG COOPDL_MILLISECOND

enum { SITES = 1024, NEAREST = 32, NO_SITE = SITES };

struct site {
    _Atomic uint64_t key; /* 0: it is free */
    _Atomic uint32_t row; /* 0: not yet found */
};

static struct coopdl_waits *waits;
static struct site sites[SITES];
static char program[16];

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t mix_bytes(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = mix(hash, ((const unsigned char *)bytes)[i]);
    return hash;
}

static void copy(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);
    memset(to, 0, size);
    memcpy(to, from, length);
}

/* The row with these texts; 0, the one for the rest, where there is no room. */
static uint32_t find_row(const char *call, const char *library, const char *function,
                         const char *target)
{
    uint64_t key = mix_bytes(1, program, strlen(program));
    const char *texts[] = {call, library, function, target};
    for (int i = 0; i < 4; i++)
        key = mix_bytes(mix(key, (uint64_t)i), texts[i], strlen(texts[i]));
    key |= 1;
    for (uint32_t i = 0; i < COOPDL_WAITS_PROBES; i++) {
        uint32_t at = 1 + (uint32_t)((key >> 1) + i) % (COOPDL_WAITS_ROWS - 1);
        struct coopdl_waits_row *row = &waits->rows[at];
        uint64_t free = 0;
        if (!atomic_compare_exchange_strong(&row->key, &free, key) && free != key)
            continue;
        if (!atomic_load(&row->ready)) {
            copy(row->program, sizeof(row->program), program);
            copy(row->call, sizeof(row->call), call);
            copy(row->library, sizeof(row->library), library);
            copy(row->function, sizeof(row->function), function);
            copy(row->target, sizeof(row->target), target);
            atomic_store(&row->ready, 1);
        }
        return at;
    }
    return 0;
}

/* Files that are read and written without waiting are many, and all one. */
static void describe(const struct coopdl_place *place, struct coopdl_cut *cut)
{
    cut->target[0] = '\0';
    if (place->object == ON_DESCRIPTOR && S_ISREG(coopdl_mode_of((int)place->a)))
        copy(cut->target, sizeof(cut->target), "files");
    else if (place->object != ON_NOTHING)
        coopdl_target(place, cut);
}

/* A socket that is yet to be connected, or that has lost its peer, has no name. */
static bool is_nameless(const char *target)
{
    static const char end[] = "not connected";
    size_t length = strlen(target);
    return length >= sizeof(end) - 1 && strcmp(target + length - sizeof(end) + 1, end) == 0;
}

__attribute__((noinline)) static uint32_t row_of(const struct coopdl_measuring *measuring,
                                                 const struct coopdl_place *place)
{
    static const char own[] = "libcoopdl.so";
    struct coopdl_cut cut;
    char library[sizeof(((struct coopdl_waits_row *)0)->library)];
    char function[sizeof(((struct coopdl_waits_row *)0)->function)];
    coopdl_code_at(measuring->caller, library, sizeof(library), function, sizeof(function));
    if (strncmp(library, own, sizeof(own) - 1) == 0)
        library[0] = function[0] = '\0';
    describe(place, &cut);
    return find_row(measuring->call, library, function, cut.target);
}

/* The row of the same caller, for the target of the call. */
__attribute__((noinline)) static uint32_t row_beside(uint32_t row, const char *target)
{
    const struct coopdl_waits_row *of = &waits->rows[row];
    return strcmp(of->target, target) == 0 ? row
                                           : find_row(of->call, of->library, of->function, target);
}

static bool are_readable(const struct coopdl_place *place)
{
    enum { BITS = 8 * sizeof(long) };
    const long sets[] = {place->b, place->c, place->d};
    size_t size = ((size_t)place->a + BITS - 1) / BITS * sizeof(long);
    for (int i = 0; i < 3; i++)
        if (sets[i] && !coopdl_readable((const void *)sets[i], size))
            return false;
    return true;
}

/* The target of the call, as far as it can be seen before the call; `*key` distinguishes targets.
 */
static struct coopdl_place place_of(enum coopdl_object object, const long a[4], uint64_t *key)
{
    enum { MOST = 64 };
    struct coopdl_place place = {.object = object, .a = a[0]};
    const struct pollfd *fds = (const struct pollfd *)a[0];
    switch (object) {
    case ON_POLL:
        place.b = a[1] < MOST ? a[1] : MOST;
        if (!fds || place.b <= 0 || !coopdl_readable(fds, (size_t)place.b * sizeof(*fds)))
            return (struct coopdl_place){.object = ON_NOTHING};
        for (long i = 0; i < place.b; i++)
            *key = mix(*key, (uint64_t)fds[i].fd);
        break;
    case ON_SELECT:
        place = (struct coopdl_place){
            .a = (int)a[0], .b = a[1], .c = a[2], .d = a[3], .object = ON_SELECT};
        if (place.a <= 0 || place.a > FD_SETSIZE || !are_readable(&place))
            return (struct coopdl_place){.object = ON_NOTHING};
        for (int i = 1; i < 4; i++)
            if (a[i])
                *key = mix_bytes(mix(*key, (uint64_t)i), (const void *)a[i],
                                 ((size_t)place.a + 7) / 8);
        break;
    case ON_CONNECT:
        place.b = a[1];
        place.c = (int)a[2];
        if (place.c <= 0 || place.c > (long)sizeof(struct sockaddr_storage) ||
            !coopdl_readable((const void *)place.b, (size_t)place.c))
            place.object = ON_DESCRIPTOR;
        else
            *key = mix_bytes(*key, (const void *)place.b, (size_t)place.c);
        *key = mix(*key, (uint64_t)(int)place.a);
        break;
    case ON_PATH: /* most do not wait: only one that has is asked */
        place.object = ON_NOTHING;
        break;
    case ON_DESCRIPTOR:
    case ON_EPOLL:
    case ON_CHILD:
        place.a = (int)a[0];
        *key = mix(*key, (uint64_t)place.a);
        break;
    case ON_NOTHING:
        break;
    }
    return place;
}

/* The site with this key; NO_SITE if there is no room. */
static uint32_t find_site(uint64_t key)
{
    key |= 1;
    for (uint32_t i = 0; i < NEAREST; i++) {
        uint32_t at = (uint32_t)((key >> 1) + i) % SITES;
        uint64_t held = atomic_load_explicit(&sites[at].key, memory_order_relaxed);
        if (held == key)
            return at;
        if (!held && (atomic_compare_exchange_strong(&sites[at].key, &held, key) || held == key))
            return at;
    }
    return NO_SITE;
}

/* The thread's own entry, or a free one; null if there is none near. */
static struct coopdl_waits_live *take_live(uint64_t owner)
{
    for (uint32_t i = 0; i < NEAREST; i++) {
        struct coopdl_waits_live *live = &waits->live[((uint32_t)owner + i) % COOPDL_WAITS_LIVE];
        uint64_t holder = 0;
        if (atomic_compare_exchange_strong(&live->owner, &holder, owner) || holder == owner)
            return live;
    }
    return NULL;
}

static void go_live(struct coopdl_measuring *measuring)
{
    int32_t tid = atomic_load(&measuring->thread->tid);
    struct coopdl_waits_live *live = take_live((uint64_t)coopdl_pid << 32 | (uint32_t)tid);
    measuring->live = live;
    if (!live)
        return;
    measuring->outer_begun = atomic_load(&live->begun);
    measuring->outer_row = atomic_load(&live->row);
    atomic_store(&live->row, measuring->row);
    atomic_store(&live->begun, (uint64_t)measuring->begun);
}

/* Most that fcntl does never waits. */
static bool may_wait(const char *call, const long arguments[4])
{
    return strcmp(call, "fcntl") != 0 || (int)arguments[1] == F_SETLKW ||
           (int)arguments[1] == F_OFD_SETLKW;
}

void coopdl_measure_begin(struct coopdl_measuring *measuring, const char *call,
                          enum coopdl_object object, const long arguments[4], const void *caller)
{
    struct coopdl_thread *thread = coopdl_self ? coopdl_self : coopdl_claim();
    measuring->thread = thread;
    measuring->counts = thread && may_wait(call, arguments);
    if (!measuring->counts)
        return;
    const char *known = strcmp(call, "syscall") == 0 ? coopdl_number_name(arguments[0]) : NULL;
    uint64_t key = mix((uint64_t)(uintptr_t)caller, (uint64_t)(uintptr_t)call);
    if (known)
        key = mix(key, (uint64_t)arguments[0]);
    long first[] = {arguments[0], arguments[1], arguments[2], arguments[3]};
    if (strcmp(call, "waitid") == 0)
        first[0] = arguments[0] == P_PID ? arguments[1] : 0;
    else if (strcmp(call, "wait") == 0 || strcmp(call, "wait3") == 0)
        first[0] = 0;
    else if (strncmp(call, "openat", strlen("openat")) == 0)
        first[0] = arguments[1];
    measuring->call = known ? known : call;
    measuring->caller = caller;
    measuring->place = place_of(object, first, &key);
    measuring->site = find_site(key);
    uint32_t row = measuring->site == NO_SITE ? 0 : atomic_load(&sites[measuring->site].row);
    if (measuring->site != NO_SITE && (!row || is_nameless(waits->rows[row].target))) {
        row = row_of(measuring, &measuring->place);
        atomic_store(&sites[measuring->site].row, row);
    }
    if (object == ON_PATH)
        measuring->place = (struct coopdl_place){.object = ON_PATH, .a = first[0]};
    measuring->row = row;
    measuring->outer = thread->measured_from;
    thread->measured_from = caller;
    measuring->cut_version = atomic_load_explicit(&thread->cut_version, memory_order_relaxed);
    measuring->begun = coopdl_clock();
    go_live(measuring);
}

/* The target of the call may be another one than when its site was made. */
static uint32_t ask_again(const struct coopdl_measuring *measuring)
{
    struct coopdl_cut cut;
    enum coopdl_object object = measuring->place.object;
    if (!measuring->row ||
        (object != ON_DESCRIPTOR && object != ON_POLL && object != ON_EPOLL && object != ON_PATH))
        return measuring->row;
    describe(&measuring->place, &cut);
    return is_nameless(cut.target) ? measuring->row : row_beside(measuring->row, cut.target);
}

static bool has_waited(const struct coopdl_measuring *measuring, int64_t ns)
{
    enum coopdl_object object = measuring->place.object;
    return ns >= (object == ON_DESCRIPTOR || object == ON_POLL ? WAITED : WAITED_LONG);
}

/* The record of the first cut has more detail than what was seen before the call. */
static uint32_t row_of_cut(const struct coopdl_measuring *measuring)
{
    const struct coopdl_cut *cut = &measuring->thread->cut;
    bool cut_known = cut->at >= measuring->begun && cut->target[0] && measuring->row;
    uint32_t row = cut_known ? row_beside(measuring->row, cut->target) : ask_again(measuring);
    atomic_fetch_add(&waits->rows[row].cuts, 1);
    return row;
}

void coopdl_measure_end(struct coopdl_measuring *measuring, long result)
{
    struct coopdl_thread *thread = measuring->thread;
    if (!measuring->counts)
        return;
    int64_t now = coopdl_clock(), ns = now - measuring->begun;
    thread->measured_from = measuring->outer;
    if (measuring->live) {
        atomic_store(&measuring->live->begun, measuring->outer_begun);
        atomic_store(&measuring->live->row, measuring->outer_row);
        if (!measuring->outer)
            atomic_store(&measuring->live->owner, 0);
    }
    bool cut =
        atomic_load_explicit(&thread->cut_version, memory_order_relaxed) != measuring->cut_version;
    bool asks = result > 0 && has_waited(measuring, ns);
    uint32_t row = cut ? row_of_cut(measuring) : asks ? ask_again(measuring) : measuring->row;
    if (row != measuring->row && !cut && measuring->site != NO_SITE)
        atomic_store(&sites[measuring->site].row, row);
    coopdl_waits_add(&waits->rows[row], (uint64_t)ns);
    if (measuring->place.object == ON_CHILD && result > 0)
        coopdl_waits_ended(waits, (int32_t)result, now);
}

/* Inside libc: how long it has waited is known only where it looks at the clock itself. */
static void add_unmeasured(const struct coopdl_cut *cut)
{
    struct coopdl_waits_row *row =
        &waits->rows[find_row(cut->call, cut->library, cut->function, cut->target)];
    coopdl_waits_add(row, cut->waited > 0 ? (uint64_t)cut->waited : 0);
    atomic_fetch_add(&row->cuts, 1);
}

/* coopdl's table, and no file of anybody else's that has that number now. */
static struct coopdl_waits *map_table(const char *path)
{
    static const char file[] = "/memfd:" COOPDL_WAITS_FILE;
    char link[sizeof(file)];
    if (!*path ||
        coopdl_sys(SYS_readlinkat, AT_FDCWD, path, link, sizeof(link) - 1) != sizeof(link) - 1 ||
        memcmp(link, file, sizeof(link) - 1) != 0)
        return NULL;
    long fd = coopdl_sys(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    /* libc's fstat is another one in each version of libc. */
    void *map = coopdl_sys(SYS_lseek, fd, 0, SEEK_END) >= (long)sizeof(struct coopdl_waits)
                    ? mmap(NULL, sizeof(struct coopdl_waits), PROT_READ | PROT_WRITE, MAP_SHARED,
                           (int)fd, 0)
                    : MAP_FAILED;
    coopdl_sys(SYS_close, fd);
    if (map == MAP_FAILED)
        return NULL;
    struct coopdl_waits *table = map;
    if (table->version == COOPDL_WAITS_VERSION && table->size == sizeof(*table))
        return table;
    munmap(map, sizeof(*table));
    return NULL;
}

/* After the budget's own constructor.  The only thread is shown no record from here on. */
__attribute__((constructor(103))) static void start(void)
{
    waits = coopdl_budgeted ? map_table(coopdl_policy.report) : NULL;
    if (!waits)
        return;
    coopdl_sys(SYS_prctl, 16 /* PR_GET_NAME */, program);
    coopdl_waits_ended(waits, coopdl_pid, coopdl_clock()); /* the threads of the program before */
    atomic_fetch_add(&waits->processes, 1);
    coopdl_measures = true;
    coopdl_cut_unmeasured = add_unmeasured;
    coopdl_shown = NULL;
}
