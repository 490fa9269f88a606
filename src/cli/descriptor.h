/* SPDX-License-Identifier: Apache-2.0 */
/* descriptor.h -- what a descriptor of a looked-at process stands for. */
#ifndef COOPDL_CLI_DESCRIPTOR_H
#define COOPDL_CLI_DESCRIPTOR_H

#include "../core/line.h"
#include "subject.h"

/* Adds it to the line; whether it is a connection to an address of a network. */
bool add_descriptor(struct coopdl_line *line, const struct subject *of, int number);

#endif
