/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.c -- the records of threads: a thread takes one at its first deadline (claim.c), and
 * frees it at its end.
 *
 * What must hold: taking a record is async-signal-safe and takes no lock.  A record that is in
 * use belongs to a thread that lives; otherwise the kicker gets ESRCH, and frees the record.
 *
 * Interleavings.  Two threads take a record at once: a free record is taken with a compare and
 * exchange on its tid, which one of them wins.  The scheduler reads a record while it is being
 * taken: it sees WORD_NEVER until the owner stores a word.
 */
#include "core/thread.h"

#include "core/sys.h"

#include <sys/mman.h>

__thread struct coopdl_thread *coopdl_self __attribute__((tls_model("initial-exec")));
__thread struct coopdl_thread *coopdl_shown __attribute__((tls_model("initial-exec")));
bool coopdl_budgeted, coopdl_measures;

/* The first slab costs nothing until it is touched; most processes need no other. */
struct coopdl_slab coopdl_slabs;

/* The slab in which a record was last taken or freed.  It is searched first, so that each of many
 * threads does not search all the full slabs.  If it is full itself, all are searched. */
static struct coopdl_slab *_Atomic roomy = &coopdl_slabs;

static struct coopdl_slab *next_slab(struct coopdl_slab *slab)
{
    struct coopdl_slab *next = atomic_load(&slab->next);
    if (next)
        return next;
    long page = coopdl_sys(SYS_mmap, 0, sizeof(struct coopdl_slab), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page < 0 && page > -4096)
        return NULL;
    struct coopdl_slab *fresh = (struct coopdl_slab *)page;
    if (atomic_compare_exchange_strong(&slab->next, &next, fresh))
        return fresh;
    coopdl_sys(SYS_munmap, page, sizeof(struct coopdl_slab));
    return next;
}

static struct coopdl_thread *win_record_in(struct coopdl_slab *slab)
{
    for (int i = 0; i < COOPDL_SLAB_RECORDS; i++) {
        struct coopdl_thread *thread = &slab->records[i];
        int32_t nobody = 0;
        if (atomic_load_explicit(&thread->tid, memory_order_relaxed) != 0)
            continue;
        atomic_store(&thread->number,
                     (uint8_t)i); /* every thread that tries stores the same value */
        if (atomic_compare_exchange_strong(&thread->tid, &nobody, LEAVING))
            return thread;
    }
    return NULL;
}

static struct coopdl_thread *win_record(void)
{
    struct coopdl_thread *thread = win_record_in(atomic_load(&roomy));
    for (struct coopdl_slab *slab = &coopdl_slabs; !thread && slab; slab = next_slab(slab))
        if ((thread = win_record_in(slab)))
            atomic_store(&roomy, slab);
    return thread;
}

static void reset(struct coopdl_thread *thread)
{
    atomic_store(&thread->word, WORD_NEVER);
    atomic_store(&thread->kick, 0);
    atomic_store(&thread->backoff, COOPDL_FIRST_BACKOFF);
    atomic_store(&thread->depth, 0);
    atomic_store(&thread->reserved, false);
    atomic_store(&thread->lent, TIME_NEVER);
    atomic_store(&thread->lent_delivered, TIME_NEVER);
    thread->borrowed = (struct coopdl_entry){.deadline = TIME_NEVER};
    atomic_store(&thread->selector, TRAP_OPEN);
    atomic_store(&thread->asleep, AWAKE);
    thread->trapped = thread->dozed = thread->cut_by_trap = false;
    thread->waiting.begun = 0;
    thread->reaping = (struct coopdl_reaping){0};
    thread->reaps = thread->wrapped = thread->unsaid = false;
    thread->interrupted.call = false;
    thread->measured_from = NULL;
    thread->cut.call[0] = '\0';
    if (thread->room == 0)
        thread->room = COOPDL_FIRST_ENTRIES;
}

struct coopdl_thread *coopdl_new_record(void)
{
    struct coopdl_thread *thread = win_record();
    if (thread)
        reset(thread);
    return thread;
}

void coopdl_free_record(struct coopdl_thread *record)
{
    atomic_store(&record->tid, 0);
    atomic_store(&roomy, coopdl_slab_of(record));
}

atomic_bool coopdl_ever_reserved;

struct coopdl_thread *coopdl_reserve(int32_t tid)
{
    atomic_store(&coopdl_ever_reserved, true);
    struct coopdl_thread *thread = coopdl_new_record();
    if (thread) {
        atomic_store(&thread->reserved, true);
        atomic_store(&thread->tid, tid);
    }
    return thread;
}

struct coopdl_thread *coopdl_next_thread(struct coopdl_thread *record)
{
    struct coopdl_slab *slab = record ? coopdl_slab_of(record) : &coopdl_slabs;
    for (int i = record ? atomic_load(&record->number) + 1 : 0; slab;
         slab = atomic_load(&slab->next), i = 0)
        for (; i < COOPDL_SLAB_RECORDS; i++)
            if (atomic_load(&slab->records[i].tid) != 0)
                return &slab->records[i];
    return NULL;
}

struct coopdl_thread *coopdl_record_of(int32_t tid)
{
    struct coopdl_thread *reserved = NULL;
    for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t))
        if (atomic_load(&t->tid) == tid) {
            if (!atomic_load(&t->reserved))
                return t;
            reserved = t;
        }
    return reserved;
}

bool coopdl_has_record(int32_t tid)
{
    struct coopdl_thread *thread = coopdl_record_of(tid);
    return thread && !atomic_load(&thread->reserved);
}

void coopdl_forget(struct coopdl_thread *record)
{
    atomic_store(&record->word, WORD_NEVER);
    atomic_store(&record->kick, 0);
    atomic_store(&record->tid, 0);
}

void coopdl_all_due(void)
{
    for (struct coopdl_slab *slab = &coopdl_slabs; slab; slab = atomic_load(&slab->next))
        atomic_store(&slab->due, 0);
}
