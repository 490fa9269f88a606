/* SPDX-License-Identifier: Apache-2.0 */
/* got.h -- puts a function of ours in the place of one that the interpreter imports. */
#ifndef COOPDL_PYTHON_GOT_H
#define COOPDL_PYTHON_GOT_H

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/* Whether an address lies in this file, which is loaded. */
bool coopdl_py_is_inside(const struct dl_phdr_info *file, uintptr_t address);

/* In the file that `inside` is a function of, `replacement` is called for the imported function
 * `name` from now on; false if that file does not import it.  Other files are not affected. */
bool coopdl_py_replace_import(void (*inside)(void), const char *name, void (*replacement)(void));

#endif
