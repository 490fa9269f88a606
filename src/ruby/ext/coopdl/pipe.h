/* SPDX-License-Identifier: Apache-2.0 */
/* pipe.h -- IO.pipe that no deadline ends in the middle. */
#ifndef COOPDL_RUBY_PIPE_H
#define COOPDL_RUBY_PIPE_H

void coopdl_pipe_init(void);

#endif
