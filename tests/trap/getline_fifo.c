/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getline_fifo.c -- one getline on a FIFO that has a writer, which never
 * writes.  The first error ends it.
 */
#include "late.h"

#include <fcntl.h>
#include <sys/stat.h>

static FILE *silent_fifo(void)
{
    char directory[] = "/tmp/getline_fifo.XXXXXX", path[sizeof directory + sizeof "/fifo"];
    FILE *input;

    if (!mkdtemp(directory))
        err(1, "%s", directory);
    snprintf(path, sizeof path, "%s/fifo", directory);
    /* The writer may read too: else it would have to wait for a reader. */
    if (mkfifo(path, 0600) < 0 || open(path, O_RDWR) < 0)
        err(1, "%s", path);
    input = fopen(path, "r");
    unlink(path);
    rmdir(directory);
    return input;
}

int main(void)
{
    FILE *input = silent_fifo();
    char *line = NULL;
    size_t size = 0;

    if (!input)
        err(1, "cannot open the FIFO");
    if (getline(&line, &size, input) >= 0)
        errx(1, "a line from a silent FIFO");
    if (errno != EINTR && errno != ETIMEDOUT)
        err(1, "getline");
    say_how_late();
}
