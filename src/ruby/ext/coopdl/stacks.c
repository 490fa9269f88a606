/* SPDX-License-Identifier: Apache-2.0 */
/* stacks.c -- the file without a name in which `coopdl --stacks` finds Ruby's own stacks: see
 * lib/coopdl/stacks.rb. */
#include "stacks.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLOSE_ON_EXEC = 1 };

/* Its descriptor, negative where it cannot be had.  It is found by the id in its title. */
static VALUE stacks_file(VALUE self)
{
    char title[64];
    (void)self;
    snprintf(title, sizeof(title), "coopdl-stacks-Ruby-%d", (int)getpid());
    return INT2NUM((int)syscall(SYS_memfd_create, title, CLOSE_ON_EXEC));
}

void coopdl_stacks_init(VALUE module)
{
    rb_define_private_method(rb_singleton_class(module), "stacks_file", stacks_file, 0);
}
