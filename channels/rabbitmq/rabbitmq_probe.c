/* SPDX-License-Identifier: Apache-2.0
 *
 * What the RabbitMQ bus says of itself. What it knows of a queue is as old as the last answer (rabbitmq_count.c) but
 * for what this process did since, so an event counts as soon as its sender knows of it. Each probe asks again where
 * the answer is older than RABBIT_LOOK_NS. On control.
 */
#include "rabbitmq_subscription.h"
#include "../probes.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* An event's size, as far as this process has seen any. */
static uint64_t bytes_of(const struct bus_channel *c, uint64_t events)
{
    uint64_t appended = atomic_load(&c->appended), bytes = atomic_load(&c->appended_bytes);
    return appended ? events * (bytes / appended) : 0;
}

static void add_subscription(struct bus_subscription *s, struct bus_probe *out)
{
    uint64_t now = rabbit_now(), appended = atomic_load(&s->channel->appended);
    char why[sizeof s->why] = "";
    pthread_mutex_lock(&s->lanes.lock);
    bool old = now - s->counted_ns > RABBIT_LOOK_NS, ask = old && !s->asked && s->made && !s->close;
    uint64_t waiting = s->ready + s->lanes.returned - s->back_at + appended - s->appended;
    uint64_t arrived = s->arrivals - s->arrived;
    waiting = waiting > arrived ? waiting - arrived : 0;
    out->events = s->lanes.held + s->returning + waiting;
    out->dropped = s->refused;
    out->bytes = s->lanes.held_bytes + bytes_of(s->channel, waiting);
    out->counting = s->made && !s->close && (!s->counted_ns || now - s->counted_ns > RABBIT_FRESH_NS);
    s->asked |= ask;
    memcpy(why, s->why, sizeof why);
    pthread_mutex_unlock(&s->lanes.lock);
    if (ask)
        rabbit_consumer_todo(s, RABBIT_COUNT);
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
        if (s->state == RABBIT_GOING)
            continue;
        add_subscription(s, &one);
        bus_probe_join(&sum, &one);
    }
    bus_probe_add(out, &sum);
    out->appended += atomic_load(&c->appended);
    out->dropped += atomic_load(&c->dropped);
    out->counting |= atomic_load(&c->ends_asked) > 0;
    if (c->err)
        bus_probe_unwell(out, OK, c->reason);
    if (c->unkept)
        bus_probe_unwell(out, OK, "its stream is down: what comes is delivered, and cannot be replayed");
    if (!sum.healthy)
        bus_probe_unwell(out, OK, sum.reason);
}

static void add_node(struct rabbit_bus *k, struct bus_probe *out)
{
    char why[256] = "";
    if (rabbitmq_client_up(k->client, why, sizeof why))
        k->connected = true;
    else if (k->connected || rabbit_now() - k->opened_ns > RABBIT_CONNECT_NS)
        bus_probe_unwell(out, OK, why);
    pthread_mutex_lock(&k->publisher.lock);
    snprintf(why, sizeof why, "%s", k->publisher.blocked);
    pthread_mutex_unlock(&k->publisher.lock);
    if (!why[0])
        return;
    char text[sizeof out->reason];
    snprintf(text, sizeof text,
             "RabbitMQ takes no messages (%s): it lacks memory or disk; senders get 503 until it has room", why);
    bus_probe_unwell(out, OK, text);
}

void rabbit_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct rabbit_bus *k = rabbit_of(b);
    assert(out && (!c || c->bus == k));
    *out = (struct bus_probe){.healthy = true};
    add_node(k, out);
    if (c) {
        add_channel(c, out);
        out->end = atomic_load(&c->end);
        return;
    }
    struct bus_probe sum = *out;
    map_each(entry, tmp, &k->channels)
        add_channel(entry->value, &sum);
    bus_probe_count(out, &sum);
}

void rabbit_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    assert(out && s->bus == rabbit_of(b));
    *out = (struct bus_probe){.healthy = true};
    add_node(s->bus, out);
    add_subscription(s, out);
}
