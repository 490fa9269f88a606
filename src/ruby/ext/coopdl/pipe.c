/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipe.c -- IO.pipe that no deadline ends in the middle.
 *
 * Ruby's IO.pipe makes an IO of each descriptor with `initialize`, and closes the descriptor if
 * that raises.  An exception from another thread is raised after the end of `initialize`.  By
 * then the IO owns the descriptor: the garbage collector closes it a second time, when its
 * number may be another thread's. (stdlib's Timeout has the same fault: 25 blocks in 1,151
 * failed with Errno::EBADF.)
 *
 * What must hold: nothing is sent while the two IOs are made, as inside a monitor (activity.c).
 * The block is not part of that time.
 *
 * The method keeps its name, owner and arity.  It calls the original, which has got a private
 * name.
 */
#include "pipe.h"

#include "monitor.h"

struct making {
    int count;
    const VALUE *arguments;
    VALUE class;
    int keywords;
};

static VALUE make(VALUE argument)
{
    const struct making *making = (struct making *)argument;
    return rb_funcallv_kw(making->class, rb_intern("coopdl_pipe"), making->count, making->arguments,
                          making->keywords);
}

static VALUE close_one(VALUE end)
{
    return rb_io_close(end);
}

static VALUE close_both(VALUE pair)
{
    return rb_ensure(close_one, rb_ary_entry(pair, 0), close_one, rb_ary_entry(pair, 1));
}

static VALUE pipe_pair(int argc, const VALUE *argv, VALUE class)
{
    struct making making = {argc, argv, class, rb_keyword_given_p()};
    VALUE pair = coopdl_monitor_undisturbed(make, (VALUE)&making);
    return rb_block_given_p() ? rb_ensure(rb_yield, pair, close_both, pair) : pair;
}

void coopdl_pipe_init(void)
{
    VALUE class = rb_singleton_class(rb_cIO);
    rb_alias(class, rb_intern("coopdl_pipe"), rb_intern("pipe"));
    rb_funcall(class, rb_intern("private"), 1, ID2SYM(rb_intern("coopdl_pipe")));
    rb_define_singleton_method(rb_cIO, "pipe", pipe_pair, -1);
}
