/* SPDX-License-Identifier: Apache-2.0
 *
 * Which types of events pass which channels: a shard tells the control loop of each combination of channel, type and
 * source that it has not met before, once. For EventTypes that make themselves; off unless asked for.
 */
#ifndef LEAT_BROKER_OBSERVE_H
#define LEAT_BROKER_OBSERVE_H

#include "shard.h"

#define OBSERVED_MAX 8192 /* combinations that one shard tells of; who makes up sources at random is not worth more */

enum err observed_new(const uint64_t key[2], struct observed **out) must_check;
/* NULL is fine. */
void observed_free(struct observed *o);
/* The shard's loop: an event entered the channel with this number. */
void observe(struct shard *s, uint32_t channel, const struct ce_event *e);

#endif
