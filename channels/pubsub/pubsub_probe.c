/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Pub/Sub bus says of itself. The service tells no numbers: what is known of a subscription is what this
 * process did and saw (pubsub_pull.c), so an event counts as soon as its sender knows of it. On control.
 */
#include "pubsub_subscription.h"
#include "../probes.h"

#include <assert.h>
#include <string.h>

#define COUNT_AGAIN_NS (5 * NS_PER_S) /* until one that could not be counted is tried again */

/* An event's size, as far as this process has seen any. */
static uint64_t bytes_of(const struct bus_channel *c, uint64_t events)
{
    uint64_t appended = atomic_load(&c->appended), bytes = atomic_load(&c->appended_bytes);
    return appended ? events * (bytes / appended) : 0;
}

/* Under the lock: in the service, and not here. */
static uint64_t waiting_of(const struct bus_subscription *s)
{
    uint64_t came = atomic_load(&s->channel->appended) - s->appended + s->lanes.returned - s->back_at + s->before;
    uint64_t went = s->arrivals - s->arrived;
    return came > went ? came - went : 0;
}

static void add_subscription(struct bus_subscription *s, struct bus_probe *out)
{
    uint64_t now = pub_now();
    char why[sizeof s->why] = "";
    pthread_mutex_lock(&s->lanes.lock);
    uint64_t waiting = waiting_of(s);
    bool count = s->made && !s->close && !s->known && !s->count && s->lanes.stream_count == 0 &&
                 (!s->count_ns || now - s->count_ns > COUNT_AGAIN_NS);
    out->events = s->lanes.held + waiting;
    out->bytes = s->lanes.held_bytes + bytes_of(s->channel, waiting);
    out->counting = s->made && !s->close && !s->known;
    s->count |= count;
    s->count_ns = count ? now : s->count_ns;
    memcpy(why, s->why, sizeof why);
    pthread_mutex_unlock(&s->lanes.lock);
    if (count)
        pub_subscription_todo(s);
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
static void add_channel(struct bus_channel *c, struct bus_probe *out)
{
    struct bus_probe sum = {.healthy = true};
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, link);
        struct bus_probe one = {.healthy = true};
        if (s->state == PUB_GOING || s->passing)
            continue;
        add_subscription(s, &one);
        bus_probe_join(&sum, &one);
    }
    bus_probe_add(out, &sum);
    out->appended += atomic_load(&c->appended);
    out->dropped += atomic_load(&c->dropped);
    if (c->err)
        bus_probe_unwell(out, OK, c->reason);
    if (!sum.healthy)
        bus_probe_unwell(out, OK, sum.reason);
}

static void add_service(struct pub_bus *k, struct bus_probe *out)
{
    char why[sizeof k->away];
    pthread_mutex_lock(&k->away_lock);
    memcpy(why, k->away, sizeof why);
    pthread_mutex_unlock(&k->away_lock);
    if (why[0])
        bus_probe_unwell(out, OK, why);
}

void pub_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct pub_bus *k = pub_of(b);
    assert(out && (!c || c->bus == k));
    *out = (struct bus_probe){.healthy = true};
    add_service(k, out);
    if (c) {
        add_channel(c, out);
        return;
    }
    struct bus_probe sum = *out;
    map_each(entry, tmp, &k->channels)
        add_channel(entry->value, &sum);
    bus_probe_count(out, &sum);
}

void pub_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    assert(out && s->bus == pub_of(b));
    *out = (struct bus_probe){.healthy = true};
    add_service(s->bus, out);
    add_subscription(s, out);
}
