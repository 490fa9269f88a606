/* SPDX-License-Identifier: Apache-2.0 */
/* futex.h -- what the kernel can be asked for there: not every libc comes with the kernel's own
 * headers. */
#ifndef COOPDL_CORE_FUTEX_H
#define COOPDL_CORE_FUTEX_H

enum coopdl_futex {
    FUTEX_WAIT = 0,
    FUTEX_WAKE = 1,
    FUTEX_WAKE_OP = 5,
    FUTEX_LOCK_PI = 6,
    FUTEX_WAIT_BITSET = 9,
    FUTEX_WAIT_REQUEUE_PI = 11,
    FUTEX_LOCK_PI2 = 13,
    FUTEX_PRIVATE = 128,
    FUTEX_REALTIME = 256
};

#endif
