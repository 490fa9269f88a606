/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evidence.c -- which call a deadline has ended first in a thread: the call's name, its target,
 * its caller, and how long it had waited.
 *
 * Nothing is recorded before a call is ended.  A wrapper that is about to cut fills in the place
 * (struct coopdl_place).  Where the kick has ended a call on a descriptor, the wrapper no longer
 * has that descriptor in a register: it is read from the registers that the kick's handler has
 * interrupted.  Those may belong to another call, so no value from them is followed as a
 * pointer.  The caller is the return address of the wrapper, which the program's own code has
 * written.  No other word of the stack is taken for a return address.
 *
 * The target of a descriptor is looked up when the call is ended (target.c), since the program's
 * clean-up closes it.  The caller's library is looked up when somebody asks.  How long a call
 * had waited is known only of calls that read the clock themselves because they are capped.  Of
 * a TCP connection the kernel also knows for how long it has been silent.
 *
 * What must hold:
 * - Where no call is ended, nothing here runs.  All of it is async-signal-safe and waits for
 *   nothing.  So the dynamic loader, which has a lock, is not asked (maps.c).
 * - One call is kept for each thread: that of the deadline that has ended a call last.  It
 *   belongs to an entry only if the entry says so (noted) and has the same scope and the same
 *   deadline.  An entry that is left stays in memory until another takes its place: so a scope
 *   can be asked about after it was left.
 * - Each process reports one call to the command coopdl, the first that the budget has ended.
 *
 * Interleavings.
 * - The trap cuts a call inside a wrapper, and the wrapper then reports the same cut, with more
 *   detail.  So the log line waits for the wrapper.  If the wrapper never reports, the next cut
 *   writes the line.
 * - A signal handler of the program makes a call while its thread is on the way to a cut.  It
 *   clears the place, and that cut is reported without one.
 * - Another thread reads the record while this one writes.  The reader sees that the version has
 *   changed, and reads again.
 */
#include "core/evidence.h"

#include "core/clock.h"
#include "core/line.h"
#include "core/log.h"
#include "core/maps.h"
#include "core/policy.h"
#include "core/scope.h"
#include "core/sys.h"
#include "core/target.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <ucontext.h>

#if defined(__x86_64__) || defined(__i386__)
enum { SYSCALL_SIZE = 2, PAGE = 4096 };

/* `syscall`, or `int $0x80`, which is also where the fast way of the i386 returns to. */
IN_HANDLER static bool makes_call(uintptr_t at)
{
    const unsigned char *made = (const unsigned char *)at;
    return (made[0] == 0x0f && made[1] == 0x05) || (made[0] == 0xcd && made[1] == 0x80);
}

/* Just behind the instruction with EINTR, or just before it, to make the call again.  What lies
 * before the first byte of a page may not be there. */
IN_HANDLER static bool in_call(uintptr_t at, long result)
{
    return (result == -EINTR && at % PAGE >= SYSCALL_SIZE && makes_call(at - SYSCALL_SIZE)) ||
           (at % PAGE <= PAGE - SYSCALL_SIZE && makes_call(at));
}
#endif

IN_HANDLER void coopdl_note_interrupted(struct coopdl_thread *thread, const void *context)
{
    struct coopdl_interrupted *interrupted = &thread->interrupted;
    interrupted->call = false;
#if defined(__x86_64__)
    const greg_t *r = ((const ucontext_t *)context)->uc_mcontext.gregs;
    if (in_call((uintptr_t)r[REG_RIP], r[REG_RAX]))
        *interrupted = (struct coopdl_interrupted){true, r[REG_RDI], (uintptr_t)r[REG_RSP]};
#elif defined(__i386__)
    const greg_t *r = ((const ucontext_t *)context)->uc_mcontext.gregs;
    if (in_call((uintptr_t)r[REG_EIP], r[REG_EAX]))
        *interrupted = (struct coopdl_interrupted){true, r[REG_EBX], (uintptr_t)r[REG_ESP]};
#else
    (void)context; /* the result is where the first argument was */
#endif
}

/* The call that was interrupted last may be another one, such as a lock's, which has reported
 * nothing.  Then the EINTR of this call came from another signal.  Calls that the same wrapper
 * makes begin near its frame. */
static bool is_near(uintptr_t stack)
{
    enum { NEAR = 1024 };
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return stack - here < NEAR || here - stack < NEAR;
}

void coopdl_interrupted(struct coopdl_thread *thread, enum coopdl_object object)
{
    struct coopdl_interrupted *interrupted = &thread->interrupted;
    bool known = interrupted->call && is_near(interrupted->stack);
    thread->place = (struct coopdl_place){
        .object = known ? object : ON_NOTHING,
        .a = interrupted->first,
    };
    interrupted->call = false;
}

static void begin_change(struct coopdl_thread *thread)
{
    atomic_fetch_add(&thread->cut_version, 1);
}

static void end_change(struct coopdl_thread *thread)
{
    atomic_fetch_add(&thread->cut_version, 1);
}

static void copy(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);
    memcpy(to, from, length);
    to[length] = '\0';
}

static void note(struct coopdl_thread *thread, struct coopdl_entry *owner, const char *call,
                 int64_t now)
{
    const struct coopdl_place *place = &thread->place;
    struct coopdl_cut *cut = &thread->cut;
    pid_t tid =
        atomic_load(&thread->tid); /* inside the braces gcc 10 would warn of what is left out */
    begin_change(thread);
    *cut = (struct coopdl_cut){
        .owner = owner->scope                 ? COOPDL_OWNER_SCOPE
                 : owner == &thread->borrowed ? COOPDL_OWNER_LENT
                                              : COOPDL_OWNER_BUDGET,
        .deadline = owner->deadline,
        .length = -1,
        .at = now,
        .waited = place->begun ? now - place->begun : -1,
        .caller = place->caller,
        .thread = tid,
    };
    if (cut->owner == COOPDL_OWNER_BUDGET && coopdl_policy.length != COOPDL_NEVER)
        cut->length = coopdl_policy.length;
    coopdl_sys(SYS_prctl, 16 /* PR_GET_NAME */, cut->name);
    copy(cut->call, sizeof(cut->call), call);
    coopdl_target(place, cut);
    thread->cut_scope = owner->scope;
    thread->caller_sought = false;
    end_change(thread);
    owner->noted = 1;
}

static struct coopdl_line line_in(char *text, size_t size)
{
    if (size)
        *text = '\0';
    return (struct coopdl_line){.text = text, .size = size};
}

/* "recv() on tcp 10.0.0.7:5432" */
static void add_call(struct coopdl_line *line, const struct coopdl_cut *cut)
{
    coopdl_add(line, cut->call);
    coopdl_add(line, "()");
    if (cut->target[0]) {
        coopdl_add(line, " on ");
        coopdl_add(line, cut->target);
    }
}

static void add_time(struct coopdl_line *line, const struct coopdl_cut *cut)
{
    if (cut->waited < 0 && cut->silent < 0)
        return;
    coopdl_add(line, cut->waited >= 0 ? " for " : ", silent for ");
    coopdl_add_duration(line, cut->waited >= 0 ? cut->waited : cut->silent);
}

/* A call from this library itself is not the program's.  For another thread only the file is looked
 * up: its memory may be unloaded meanwhile. */
static void find_caller(struct coopdl_cut *cut, bool own_thread)
{
    static const char own[] = "libcoopdl.so";
    bool found = own_thread ? coopdl_code_at(cut->caller, cut->library, sizeof(cut->library),
                                             cut->function, sizeof(cut->function))
                            : coopdl_file_at(cut->caller, cut->library, sizeof(cut->library));
    if (found && strncmp(cut->library, own, sizeof(own) - 1) == 0) {
        cut->library[0] = cut->function[0] = '\0';
        cut->caller = NULL;
    }
}

/* "NAME[PID] in recv() on tcp 10.0.0.7:5432 (libpq.so.5) for 9m12s": NAME is the first thread's. */
static void tell_command(const struct coopdl_cut *cut)
{
    char text[400], name[24] = "";
    struct coopdl_line line = line_in(text, sizeof(text) - 1); /* and a newline */
    long pid = coopdl_sys(SYS_getpid);
    long fd = coopdl_sys(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY | O_CLOEXEC);
    long length = fd < 0 ? 0 : coopdl_sys(SYS_read, fd, name, sizeof(name) - 1);
    if (fd >= 0)
        coopdl_sys(SYS_close, fd);
    if (length > 0)
        name[length - 1] = '\0';
    coopdl_add(&line, name);
    coopdl_add_char(&line, '[');
    coopdl_add_number(&line, pid);
    coopdl_add_char(&line, ']');
    if (cut->thread != pid) {
        coopdl_add(&line, " thread ");
        coopdl_add_number(&line, cut->thread);
        coopdl_add(&line, " (");
        coopdl_add(&line, cut->name);
        coopdl_add_char(&line, ')');
    }
    coopdl_add(&line, " in ");
    add_call(&line, cut);
    if (cut->library[0]) {
        coopdl_add(&line, " (");
        coopdl_add(&line, cut->library);
        coopdl_add_char(&line, ')');
    }
    add_time(&line, cut);
    size_t size = line.length < sizeof(text) - 2 ? line.length : sizeof(text) - 2;
    text[size++] = '\n';
    coopdl_log_to(coopdl_policy.witness, text, size);
}

static atomic_bool told_command;

void (*coopdl_cut_unmeasured)(const struct coopdl_cut *cut);

/* coopdl may have ended, and its id may belong to another process, here or in a namespace of this
 * process's own.  So the file that is written to must be coopdl's own. */
static bool has_witness(void)
{
    static const char file[] = "/memfd:coopdl";
    char link[sizeof(file)];
    return coopdl_policy.witness[0] &&
           coopdl_sys(SYS_readlinkat, AT_FDCWD, coopdl_policy.witness, link, sizeof(link) - 1) ==
               sizeof(link) - 1 &&
           memcmp(link, file, sizeof(link) - 1) == 0;
}

/* The log lines about the thread's call. */
static void say(struct coopdl_thread *thread, const char *event)
{
    struct coopdl_cut cut = thread->cut;
    bool command = cut.owner == COOPDL_OWNER_BUDGET && !atomic_load(&told_command) && has_witness();
    bool unmeasured = coopdl_cut_unmeasured && !thread->measured_from;
    thread->unsaid = false;
    if (!command && !coopdl_policy.log[0] && !unmeasured)
        return;
    find_caller(&cut, true);
    if (unmeasured)
        coopdl_cut_unmeasured(&cut);
    if (command && !atomic_exchange(&told_command, true))
        tell_command(&cut);
    coopdl_log_cut(event, &cut);
}

static void count(struct coopdl_thread *thread, const struct coopdl_entry *owner)
{
    begin_change(thread);
    thread->cut.cuts = owner->cuts;
    end_change(thread);
}

static void forget_place(struct coopdl_thread *thread)
{
    thread->place = (struct coopdl_place){.object = ON_NOTHING};
    thread->interrupted.call = false;
}

void coopdl_note_cut(struct coopdl_thread *thread, struct coopdl_entry *owner, const char *call,
                     int64_t now, bool owed)
{
    if (thread->unsaid)
        say(thread, "cut");
    if (!owner->noted)
        note(thread, owner, call, now);
    count(thread, owner);
    forget_place(thread);
    if (owner->cuts != 1)
        return;
    thread->unsaid = owed;
    if (!owed)
        say(thread, "cut");
}

void coopdl_note_same_cut(struct coopdl_thread *thread, struct coopdl_entry *owner,
                          const char *call)
{
    if (owner->cuts == 1 && thread->unsaid) {
        begin_change(thread);
        thread->cut.caller = thread->place.caller;
        thread->caller_sought = false;
        if (thread->cut.waited < 0 && thread->place.begun)
            thread->cut.waited = thread->cut.at - thread->place.begun;
        copy(thread->cut.call, sizeof(thread->cut.call), call);
        end_change(thread);
        say(thread, "cut");
    }
    forget_place(thread);
}

void coopdl_note_kicked(struct coopdl_thread *thread, const char *call)
{
    int saved = errno;
    int64_t now = coopdl_clock();
    struct coopdl_entry *owner = coopdl_owner(thread, now);
    if (owner && !owner->noted) {
        note(thread, owner, call, now);
        say(thread, "kick");
    }
    forget_place(thread);
    errno = saved;
}

void coopdl_evidence_forked(void)
{
    atomic_store(&told_command, false);
}

/* The entry of a scope that the thread is inside, or was. */
static const struct coopdl_entry *entry_of(struct coopdl_thread *thread, const coopdl_scope *scope)
{
    uint32_t depth;
    const struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    if (!scope)
        return thread->cut.owner == COOPDL_OWNER_LENT ? &thread->borrowed : &entries[0];
    return scope->thread == thread && scope->place < thread->room ? &entries[scope->place] : NULL;
}

/* A runtime asks four times for each exception: for the facts and for the text, inside the scope
 * and at its end.  To read the map takes longer than all else that it does, so it is read once. */
static void seek_caller(struct coopdl_thread *thread)
{
    uint32_t version = atomic_load(&thread->cut_version);
    struct coopdl_cut cut = thread->cut;
    if (thread->caller_sought)
        return;
    find_caller(&cut, true);
    /* A signal handler's call may have been cut meanwhile. */
    if (!atomic_compare_exchange_strong(&thread->cut_version, &version, version + 1))
        return;
    thread->cut = cut;
    thread->caller_sought = true;
    end_change(thread);
}

int coopdl_cut_of(const coopdl_scope *scope, struct coopdl_cut *cut)
{
    struct coopdl_thread *thread = coopdl_self;
    const struct coopdl_entry *entry = thread ? entry_of(thread, scope) : NULL;
    if (!entry || !entry->noted || entry->scope != scope || thread->cut_scope != scope ||
        thread->cut.deadline != entry->deadline)
        return 0;
    seek_caller(thread);
    *cut = thread->cut;
    return 1;
}

/* What a thread is in while it may go on; false if it changes all the time. */
static bool read_cut(struct coopdl_thread *thread, struct coopdl_cut *cut)
{
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        uint32_t before = atomic_load(&thread->cut_version);
        *cut = thread->cut;
        /* As an exchange, it is not made before the copy; ThreadSanitizer knows no fences. */
        if (!(before & 1) && atomic_fetch_add(&thread->cut_version, 0) == before)
            return true;
    }
    return false;
}

int coopdl_cuts_of_budget(struct coopdl_cut *cuts, int room)
{
    int found = 0;
    struct coopdl_cut cut;
    for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t)) {
        int32_t tid = atomic_load(&t->tid);
        if (tid <= 0 || !read_cut(t, &cut) || cut.thread != tid ||
            cut.owner != COOPDL_OWNER_BUDGET || !cut.call[0])
            continue;
        if (found < room) {
            find_caller(&cut, t == coopdl_self);
            cuts[found] = cut;
        }
        found++;
    }
    return found;
}

int coopdl_describe(const coopdl_scope *scope, char *text, size_t size)
{
    struct coopdl_cut cut;
    struct coopdl_line line = line_in(text, size);
    if (!coopdl_cut_of(scope, &cut))
        return 0;
    coopdl_add(&line, "in ");
    add_call(&line, &cut);
    add_time(&line, &cut);
    if (cut.library[0]) {
        coopdl_add(&line, ", called by ");
        coopdl_add(&line, cut.library);
    }
    if (cut.function[0]) {
        coopdl_add_char(&line, ' ');
        coopdl_add(&line, cut.function);
    }
    return (int)line.length;
}
