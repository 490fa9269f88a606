/* SPDX-License-Identifier: Apache-2.0 */
/* maps.h -- which file an address lies in.  Async-signal-safe. */
#ifndef COOPDL_CORE_MAPS_H
#define COOPDL_CORE_MAPS_H

#include <stdbool.h>
#include <stddef.h>

/* The name of the file that is mapped there, without its directory; false and "" if there is none
 * or it cannot be found out. */
bool coopdl_file_at(const void *address, char *name, size_t size);

/* The same for an address that the calling thread's code returns to: the name that a library gives
 * itself (libpq.so.5), where it has one; and the function there, as "PQexec+0x4f", or "". */
bool coopdl_code_at(const void *address, char *library, size_t size, char *function,
                    size_t function_size);

/* Before main. */
void coopdl_maps_start(void);

#endif
