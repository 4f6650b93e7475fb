/* SPDX-License-Identifier: Apache-2.0
 *
 * The one parameter that a subscription has on the buses of our own: what happens when its backlog is at the bound.
 */
#ifndef LEAT_CHANNELS_OVERFLOW_H
#define LEAT_CHANNELS_OVERFLOW_H

#include "bus.h"

/* Reads overflow=refuse or drop-oldest; untouched where nothing is said. `bus`: "memory", for messages. ERR_INVALID
 * with *d: another value, or another parameter. */
enum err overflow_read(const char *bus, const struct bus_param *params, size_t count, bool *drop_oldest,
                       struct diag *d) must_check;

#endif
