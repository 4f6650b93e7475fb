/* SPDX-License-Identifier: Apache-2.0
 *
 * How an event enters a channel. What everybody pays for is one append, one note, and two looks at attributes that
 * nearly no event has.
 */
#include "entry.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "observe.h"
#include "tap.h"
#include "text.h"
#include "trace.h"

static enum err check_time(const struct engine_channel *c, const struct clock *clock, struct slice value,
                           struct diag *d)
{
    int64_t at;
    if (!c->bus) /* it takes nothing anyway */
        return OK;
    uint64_t most = c->bus->bus->hold_ms_max;
    if (rfc3339_parse(value, &at) != OK)
        return diag_set(d, ERR_INVALID, "leatdeliverat: '%.*s' is no time of RFC 3339, such as 2026-01-31T08:00:00Z",
                        (int)(value.len < 100 ? value.len : 100), value.ptr);
    int64_t now = clock_wall_ns(clock);
    if (at <= now || (uint64_t)(at - now) / NS_PER_MS <= most)
        return OK;
    return diag_set(d, ERR_INVALID,
                    "leatdeliverat: %.*s is too far away: the bus of this channel (%s) holds an event for at most "
                    "%" PRIu64 " seconds",
                    SLICE_ARG(value), c->bus->bus->ops->name, most / 1000);
}

enum err entry_check(const struct engine_channel *c, const struct clock *clock, const struct ce_event *e,
                     struct diag *d)
{
    struct ce_attribute a;
    return ce_event_attribute(e, SLICE("leatdeliverat"), &a) ? check_time(c, clock, a.value, d) : OK;
}

enum err entry_spend_hop(const struct ce_event **e, struct diag *d)
{
    static const struct slice name = SLICE_INIT("knativebrokerttl");
    struct ce_attribute a;
    struct ce_builder b;
    uint64_t hops;
    char text[24];
    if (!ce_event_attribute(*e, name, &a))
        return OK;
    struct slice digits = a.value.len && a.value.ptr[0] == '-' ? slice_from(a.value, 1) : a.value;
    if (decimal_parse(digits, INT32_MAX, &hops) != OK)
        return diag_set(d, ERR_INVALID, "knativebrokerttl: '%.*s' is no whole number",
                        (int)(a.value.len < 100 ? a.value.len : 100), a.value.ptr);
    if (digits.len < a.value.len || hops <= 1)
        return diag_set(d, ERR_DENIED,
                        "loop: knativebrokerttl is %.*s, so the event has spent its last hop between brokers",
                        SLICE_ARG(a.value));
    if (hops > DISPATCH_HOPS_MAX) /* nobody has more than an event that comes without */
        hops = DISPATCH_HOPS_MAX;
    snprintf(text, sizeof text, "%" PRIu64, hops - 1);
    const struct ce_event *fewer;
    ce_builder_from(&b, *e);
    ce_builder_replace(&b, name, a.type, slice_str(text));
    enum err err = ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &fewer, d);
    if (err != OK)
        return err;
    ce_event_unref(*e);
    *e = fewer;
    return OK;
}

/* The channel has it. */
static void taken(struct entry *n)
{
    count(&n->channel->accepted);
    trace_event(n->shard->trace, n->event, n->channel->subject, n->request, n->cause);
    if (!list_empty(&n->shard->taps))
        tap_show(n->shard, n->channel->subject, n->event);
    if (n->shard->observed)
        observe(n->shard, n->channel->subject, n->event);
}

static void appended(struct bus_append *a, enum err e)
{
    struct entry *n = container_of(a, struct entry, append);
    if (e == OK)
        taken(n);
    else if (e == ERR_FULL)
        count(&n->channel->refused_full);
    ce_event_unref(n->event);
    ce_event_unref(n->cause);
    n->done(n, e);
}

enum err entry_start(struct entry *n)
{
    struct bus *bus = n->channel->bus->bus;
    assert(n->done && n->event);
    n->append.done = appended;
    enum err e = bus->ops->append(bus, n->channel->handle, n->event, &n->append, n->shard->loop);
    if (e != OK) {
        if (e == ERR_FULL)
            count(&n->channel->refused_full);
        return e;
    }
    ce_event_ref(n->event);
    if (n->cause)
        ce_event_ref(n->cause);
    return OK;
}
