/* SPDX-License-Identifier: Apache-2.0
 *
 * The one door: how an event enters a channel, whoever brings it (a request at ingress, a subscriber's reply, a
 * source). It is checked, appended, counted, noted in the trace, and shown to whoever watches the channel. On the
 * shard's loop.
 */
#ifndef LEAT_BROKER_ENTRY_H
#define LEAT_BROKER_ENTRY_H

#include "shard.h"

/* One event on its way into a channel; lies in the caller's structure until done ran. */
struct entry;
typedef void entry_done_fn(struct entry *n, enum err e);
struct entry {
    /* Set by the caller. The event is borrowed for the call, as is the cause. */
    struct shard *shard;
    struct engine_channel *channel;
    const struct ce_event *event;
    const struct ce_event *cause; /* the event whose delivery made this one, or NULL */
    uint64_t request;             /* the number of the request that brought it; 0: none did */
    entry_done_fn *done;
    /* Private. */
    struct bus_append append;
};

/* What every event must keep: leatdeliverat, where there is one, is a time, and not further away than the channel's bus
 * can hold a delivery. ERR_INVALID with *d. */
enum err entry_check(const struct engine_channel *c, const struct clock *clock, const struct ce_event *e,
                     struct diag *d) must_check;

/* The hops of an event that comes from outside into a Broker: knativebrokerttl, where there is one, loses one. OK: *e
 * is replaced where it changed (the old reference given back). ERR_INVALID with *d: no number; ERR_DENIED with *d: the
 * last hop is spent, the event goes in a circle. ERR_NOMEM. */
enum err entry_spend_hop(const struct ce_event **e, struct diag *d) must_check;

/* Appends. OK: done follows exactly once, not inside the call. Else what the bus's append said, and no done. */
enum err entry_start(struct entry *n) must_check;

#endif
