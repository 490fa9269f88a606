/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.c -- the records: claimed at a thread's first deadline, given back at
 * its end.
 *
 * What must hold: claiming is async-signal-safe and takes no lock; a record
 * that is in use belongs to a thread that lives, or the kicker finds out
 * (ESRCH) and takes it back.
 *
 * Interleavings.  A signal handler that claims while its thread is claiming
 * would leave it with two records: so all signals are blocked meanwhile.  Two
 * threads that claim at once: a free record is won with a compare and exchange
 * on its tid.  The scheduler that reads a record while it is being won sees
 * WORD_NEVER until the owner stores a word.
 */
#include "core/thread.h"

#include "core/budget.h"
#include "core/fork.h"
#include "core/kick.h"
#include "core/scheduler.h"
#include "core/scope.h"
#include "core/sys.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

enum { SLAB_RECORDS = 63 };

struct slab {
    struct slab *_Atomic next;
    struct coopdl_thread records[SLAB_RECORDS];
};

__thread struct coopdl_thread *coopdl_self __attribute__((tls_model("initial-exec")));
bool coopdl_budgeted;

/* The first slab costs nothing until it is touched; most processes need no other. */
static struct slab first_slab;
static pthread_key_t at_exit_key;

static void give_back(void *record)
{
    struct coopdl_thread *thread = record;
    coopdl_abandon(thread);
    coopdl_self = NULL;
    atomic_store(&thread->tid, 0);
    coopdl_scheduler_loses();
}

__attribute__((constructor(101))) static void make_key(void)
{
    /* Among the first 32 keys of a process, for which pthread_setspecific allocates nothing. */
    (void)pthread_key_create(&at_exit_key, give_back);
}

static struct slab *next_slab(struct slab *slab)
{
    struct slab *next = atomic_load(&slab->next);
    if (next)
        return next;
    long page = coopdl_sys(SYS_mmap, 0, sizeof(struct slab), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page < 0 && page > -4096)
        return NULL;
    struct slab *fresh = (struct slab *)page;
    if (atomic_compare_exchange_strong(&slab->next, &next, fresh))
        return fresh;
    coopdl_sys(SYS_munmap, page, sizeof(struct slab));
    return next;
}

static struct coopdl_thread *win_record(int32_t tid)
{
    for (struct slab *slab = &first_slab; slab; slab = next_slab(slab))
        for (int i = 0; i < SLAB_RECORDS; i++) {
            struct coopdl_thread *thread = &slab->records[i];
            int32_t nobody = 0;
            if (atomic_load_explicit(&thread->tid, memory_order_relaxed) == 0 &&
                atomic_compare_exchange_strong(&thread->tid, &nobody, tid))
                return thread;
        }
    return NULL;
}

static void reset(struct coopdl_thread *thread)
{
    atomic_store(&thread->word, WORD_NEVER);
    atomic_store(&thread->kick, 0);
    atomic_store(&thread->depth, 0);
    atomic_store(&thread->selector, TRAP_OPEN);
    atomic_store(&thread->asleep, AWAKE);
    thread->trapped = thread->dozed = thread->told = false;
    if (thread->room == 0)
        thread->room = COOPDL_FIRST_ENTRIES;
}

struct coopdl_thread *coopdl_claim(void)
{
    uint64_t all = ~UINT64_C(0), mask;
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, COOPDL_SIGSET_SIZE);
    struct coopdl_thread *thread = coopdl_self;
    /* In a vfork child this memory is the parent's: leave it alone. */
    if (!thread && coopdl_sys(SYS_getpid) == coopdl_pid &&
        (thread = win_record((int32_t)coopdl_sys(SYS_gettid)))) {
        reset(thread);
        coopdl_self = thread;
        (void)pthread_setspecific(at_exit_key, thread);
        coopdl_kick_install();
        coopdl_budget_join(thread);
    }
    /* Whatever the mask was, the kick must get through to a thread that has a deadline. */
    coopdl_kick_unmask(thread, &mask);
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
    return thread;
}

struct coopdl_thread *coopdl_next_thread(struct coopdl_thread *record)
{
    bool past = !record;
    for (struct slab *slab = &first_slab; slab; slab = atomic_load(&slab->next)) {
        if (!past && (record < slab->records || record >= &slab->records[SLAB_RECORDS]))
            continue;
        for (int i = past ? 0 : (int)(record - slab->records) + 1; i < SLAB_RECORDS; i++)
            if (atomic_load(&slab->records[i].tid) != 0)
                return &slab->records[i];
        past = true;
    }
    return NULL;
}

bool coopdl_has_record(int32_t tid)
{
    for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t))
        if (atomic_load(&t->tid) == tid)
            return true;
    return false;
}

void coopdl_forget(struct coopdl_thread *record)
{
    atomic_store(&record->word, WORD_NEVER);
    atomic_store(&record->kick, 0);
    atomic_store(&record->tid, 0);
}

void coopdl_thread_forked(void)
{
    for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t))
        if (t != coopdl_self)
            coopdl_forget(t);
    if (coopdl_self) {
        atomic_store(&coopdl_self->tid, (int32_t)coopdl_sys(SYS_gettid));
        atomic_store(&coopdl_self->kick, 0);
        /* The kernel does not hand the trap down. */
        atomic_store(&coopdl_self->selector, TRAP_OPEN);
        coopdl_self->trapped = false;
    }
}
