/* SPDX-License-Identifier: Apache-2.0 */
/*
 * activity.h -- what a thread is doing that matters when its deadline expires: which monitors it
 * has entered and not left, and other work that must not be interrupted.
 */
#ifndef COOPDL_RUBY_ACTIVITY_H
#define COOPDL_RUBY_ACTIVITY_H

#include <ruby.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct activity {
    VALUE thread;     /* the Ruby thread: Ruby uses a native thread for one after another */
    clockid_t clock;  /* of the processor time of its native thread */
    bool waiter;      /* the thread that sends; the others wait for it */
    _Atomic int held; /* how often Monitor#enter was called without Monitor#exit, and the like */
    _Atomic int entering;   /* inside Monitor#enter */
    _Atomic int queued;     /* how many exceptions of ours are in its queue */
    uint32_t given;         /* what it has given the GVL away for in vain */
    _Atomic bool serving;   /* waits for the waiter, which is no wait of its own */
    _Atomic bool postponed; /* something was not raised because of that */
};

/* That of the calling thread.  It stays where it is until the native thread ends. */
struct activity *coopdl_activity(void);

/* In ns: the processor time that its native thread, which lives, has used; 0 for none. */
int64_t coopdl_activity_work(const struct activity *of);

/* In a forked child: its queue is empty. */
void coopdl_activity_forked(void);

#endif
