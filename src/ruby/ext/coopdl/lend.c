/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.c -- lends a deadline that has passed to a thread that an expired one joins: its calls
 * are cut.
 */
#include "lend.h"

#include "coopdl.h"

static ID id_lent; /* no @: not to be seen from Ruby */

void coopdl_lend_now(VALUE thread)
{
    VALUE number = rb_funcall(thread, rb_intern("native_thread_id"), 0);
    if (NIL_P(number) || OBJ_FROZEN(thread))
        return;
    rb_ivar_set(thread, id_lent, number);
    coopdl_lend(NUM2PIDT(number), coopdl_now());
}

void coopdl_lend_back(VALUE thread)
{
    VALUE number = rb_ivar_get(thread, id_lent);
    if (NIL_P(number))
        return;
    rb_ivar_set(thread, id_lent, Qnil);
    coopdl_lend(NUM2PIDT(number), COOPDL_NEVER);
}

void coopdl_lend_init(void)
{
    id_lent = rb_intern("coopdl_lent");
}
