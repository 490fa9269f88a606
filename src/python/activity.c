/* SPDX-License-Identifier: Apache-2.0 */
/* activity.c -- what a thread does, as the kernel sees it. */
#include "activity.h"

#include "../portable/thread_clock.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int64_t coopdl_py_work(const struct thread *thread)
{
    struct timespec time = {0};
    clock_gettime(coopdl_thread_clock(atomic_load(&thread->tid)), &time);
    return time.tv_sec * COOPDL_SECOND + time.tv_nsec;
}

/* Where the interpreter keeps what waits for the GIL: null if that cannot be found. */
static const char *runtime;
static size_t runtime_size;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_runtime(void)
{
    Dl_info info;
    void *symbol = NULL;
    const char *found = dlsym(RTLD_DEFAULT, "_PyRuntime");
    if (!found || !dladdr1(found, &info, &symbol, RTLD_DL_SYMENT) || !symbol)
        return;
    runtime = found;
    runtime_size = ((const ElfW(Sym) *)symbol)->st_size;
}

/* The system call that it sleeps in and that call's arguments, or "running".  Where there is no
 * /proc it may be asleep.  A thread that waits for the GIL does so in the interpreter's own memory:
 * it has something to compute. */
bool coopdl_py_sleeps(const struct thread *thread)
{
    char text[128] = "";
    long number = -1;
    unsigned long address = 0;
    pthread_once(&once, find_runtime);
    snprintf(text, sizeof(text), "/proc/self/task/%d/syscall", (int)atomic_load(&thread->tid));
    int file = open(text, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
    if (file >= 0)
        close(file);
    if (length <= 0)
        return true;
    text[length] = '\0';
    if (sscanf(text, "%ld %lx", &number, &address) < 1)
        return false;
    return number != SYS_futex || address - (uintptr_t)runtime >= runtime_size;
}
