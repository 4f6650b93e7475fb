/* SPDX-License-Identifier: Apache-2.0
 *
 * A tap: someone on the control loop watches what enters a channel, on all shards. A shard without taps pays for them
 * with one look at an empty list. Never in the way: an event that the watcher is too slow for is left out and counted.
 */
#ifndef LEAT_BROKER_TAP_H
#define LEAT_BROKER_TAP_H

#include "shard.h"

#define TAP_WAITING_MAX 1000 /* events on their way from one shard to the control loop, of one tap */

struct tap;
/* An event that entered and matched, with the time of it; borrowed for the call. */
typedef void tap_event_fn(void *arg, const struct ce_event *e, int64_t wall_ns);

struct tap_options {
    uint32_t channel;          /* the number of the channel that is watched */
    struct filter *filters[2]; /* both must match; NULL: everything. Referenced */
    void (*opened)(void *arg); /* from now on nothing that enters is missed */
    tap_event_fn *event;
    void *arg;
};
/* Control loop. Callbacks run there, never inside the call. ERR_NOMEM. */
enum err tap_open(struct engine *e, const struct tap_options *options, struct tap **out) must_check;
/* Control loop: no callback runs any more. The tap goes when the last shard has let go of it. NULL is fine. */
void tap_close(struct tap *t);
/* Events left out because the watcher was slow; from any moment after opening. */
uint64_t tap_left_out(const struct tap *t);

/* The shard's loop: an event entered the channel. */
void tap_show(struct shard *s, uint32_t channel, const struct ce_event *e);

#endif
