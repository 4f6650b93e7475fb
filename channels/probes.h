/* SPDX-License-Identifier: Apache-2.0
 *
 * Adding up what a bus says of itself: subscriptions to a channel, channels to a bus. Any thread; no state but the
 * caller's.
 */
#ifndef LEAT_CHANNELS_PROBES_H
#define LEAT_CHANNELS_PROBES_H

#include "bus.h"

/* Not well, and why (err: as an operation would end; OK says nothing of that). The first reason stays. */
void bus_probe_unwell(struct bus_probe *p, enum err err, const char *why);
/* One more subscription of the channel: an event counts once, however many subscriptions wait for it. */
void bus_probe_join(struct bus_probe *channel, const struct bus_probe *subscription);
/* What waits in one more channel of the bus; its health is the caller's to add. */
void bus_probe_add(struct bus_probe *bus, const struct bus_probe *channel);
/* The numbers of `sum`, with its own health: a channel that is wrong is no bus that is, since the others take events.
 */
void bus_probe_count(struct bus_probe *bus, const struct bus_probe *sum);

#endif
