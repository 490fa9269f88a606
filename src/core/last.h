/* SPDX-License-Identifier: Apache-2.0 */
/* last.h -- whether the scheduler is the last thread of a process. */
#ifndef COOPDL_CORE_LAST_H
#define COOPDL_CORE_LAST_H

#include <stdbool.h>

/* Whether the threads that live, but for the scheduler, may all end and none of them say so. */
bool coopdl_last_is_near(void);

enum coopdl_last {
    LAST_NOT,   /* the process's first thread lives, and will say when it ends */
    LAST_MAYBE, /* it lives, and would not */
    LAST_SOON,  /* it has ended, others live */
    LAST_SELF   /* no thread is left but the calling one */
};

enum coopdl_last coopdl_last_look(void);

#endif
