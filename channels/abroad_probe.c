/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bus says of what it has at a system outside: see abroad.h. No such system tells at any time how much waits in
 * it; what is known is what it said last, and what this process did since. So an event counts as soon as its sender
 * knows of it.
 */
#include "abroad.h"
#include "probes.h"

#include <assert.h>
#include <string.h>

void abroad_count_is(struct abroad_subscription *s, uint64_t there, uint64_t appended)
{
    s->there = there;
    s->appended = appended;
    s->arrived = s->arrivals;
    s->back_at = s->lanes->returned;
}

/* Under the lock: there, and not here. */
static uint64_t waiting_of(const struct abroad_subscription *s)
{
    uint64_t came = atomic_load(&s->channel->appended) - s->appended + s->lanes->returned - s->back_at + s->there;
    uint64_t went = s->arrivals - s->arrived;
    return came > went ? came - went : 0;
}

/* An event's size, as far as this process has seen any. */
static uint64_t bytes_of(const struct abroad_channel *c, uint64_t events)
{
    uint64_t appended = atomic_load(&c->appended), bytes = atomic_load(&c->appended_bytes);
    return appended ? events * (bytes / appended) : 0;
}

void abroad_probe_subscription(struct abroad_subscription *s, struct bus_probe *out)
{
    uint64_t now = clock_monotonic_ns(clock_system());
    char why[sizeof s->why] = "";
    pthread_mutex_lock(&s->lanes->lock);
    uint64_t waiting = waiting_of(s);
    out->events = s->lanes->held + waiting;
    out->bytes = s->lanes->held_bytes + bytes_of(s->channel, waiting);
    s->channel->abroad->how->subscription_probe(s, now, out);
    memcpy(why, s->why, sizeof why);
    pthread_mutex_unlock(&s->lanes->lock);
    if (out->events == 0)
        s->behind_ns = 0;
    else if (!s->behind_ns)
        s->behind_ns = now;
    out->oldest_age_ns = s->behind_ns ? now - s->behind_ns + 1 : 0;
    if (s->reason[0])
        bus_probe_unwell(out, OK, s->reason);
    if (why[0])
        bus_probe_unwell(out, OK, why);
}

/* An event counts once, however many subscriptions wait for it. */
static void add_channel(struct abroad_channel *c, struct bus_probe *out)
{
    struct bus_probe sum = {.healthy = true};
    list_each(l, tmp, &c->subscriptions) {
        struct abroad_subscription *s = container_of(l, struct abroad_subscription, link);
        struct bus_probe one = {.healthy = true};
        if (s->state == ABROAD_GOING || s->passing)
            continue;
        abroad_probe_subscription(s, &one);
        bus_probe_join(&sum, &one);
    }
    bus_probe_add(out, &sum);
    out->appended += atomic_load(&c->appended);
    out->dropped += atomic_load(&c->dropped);
    if (c->err)
        bus_probe_unwell(out, OK, c->reason);
    if (c->abroad->how->channel_probe)
        c->abroad->how->channel_probe(c, out);
    if (!sum.healthy)
        bus_probe_unwell(out, OK, sum.reason);
}

void abroad_probe(struct abroad *a, struct abroad_channel *c, struct bus_probe *out)
{
    if (c) {
        assert(c->abroad == a);
        add_channel(c, out);
        return;
    }
    struct bus_probe sum = *out;
    map_each(entry, tmp, &a->channels)
        add_channel(entry->value, &sum);
    bus_probe_count(out, &sum);
}
