/* SPDX-License-Identifier: Apache-2.0 */
/* ruby.h -- whether a Ruby has the gem that --ruby needs. */
#ifndef COOPDL_CLI_RUBY_H
#define COOPDL_CLI_RUBY_H

/* Fails if the command is a Ruby, or a script of one, that cannot load the gem with `library`
 * preloaded (null: without).  Any other command may start one later; nothing is known of that. */
void check_ruby(const char *command, const char *library);

#endif
