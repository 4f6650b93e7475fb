/* SPDX-License-Identifier: Apache-2.0
 *
 * The log bus for who knows that it is one: on another disk than the system's, and waiting until its own threads rest.
 * For tests.
 */
#ifndef LEAT_CHANNELS_LOG_LOG_OPEN_H
#define LEAT_CHANNELS_LOG_LOG_OPEN_H

#include "bus.h"
#include "disk.h"

/* As bus_log's open; the disk is borrowed. */
enum err log_open_on(const struct bus_env *env, struct disk *disk, const struct bus_param *params, size_t count,
                     struct bus **out, struct diag *d) must_check;
/* Waits until its threads have nothing to do. */
void log_idle(struct bus *b);

#endif
