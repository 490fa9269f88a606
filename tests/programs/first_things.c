/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first_things.c -- what a program can see of what was done before main: its
 * first pthread key, the heap, and what is loaded beside it
 * (test_transparent.c).
 */
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Before anything here has called malloc. */
static int has_heap(void)
{
    static char maps[1 << 16];
    size_t size = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

    while ((got = read(fd, maps + size, sizeof(maps) - 1 - size)) > 0)
        size += (size_t)got;
    close(fd);
    return strstr(maps, "[heap]") != NULL;
}

/* From glibc 2.34 on libpthread and libdl are empty; the library names them for older ones. */
static int is_library(struct dl_phdr_info *info, size_t size, void *count)
{
    (void)size;
    *(int *)count += !strstr(info->dlpi_name, "libcoopdl") &&
                     !strstr(info->dlpi_name, "libpthread.so.0") &&
                     !strstr(info->dlpi_name, "libdl.so.2");
    return 0;
}

int main(void)
{
    pthread_key_t key;
    int heap = has_heap(), libraries = 0;

    pthread_key_create(&key, NULL);
    dl_iterate_phdr(is_library, &libraries);
    printf("first key %u, %s, %d objects\n", (unsigned)key, heap ? "a heap" : "no heap", libraries);
    return 0;
}
