/* SPDX-License-Identifier: Apache-2.0 */
/* nearest.h -- which option somebody meant. */
#ifndef COOPDL_CLI_NEAREST_H
#define COOPDL_CLI_NEAREST_H

#include <getopt.h>

/* The name of the long option that `given` (`--sginal=INT`) most likely means: one that
 * differs in no more than two letters; null if there is none. */
const char *nearest_option(const char *given, const struct option *options);

#endif
