/* SPDX-License-Identifier: Apache-2.0
 *
 * What the RabbitMQ bus says of itself, beside what ../abroad_probe.c has of what waits. What is known of a queue is as
 * old as the last answer (rabbitmq_count.c) but for what this process did since; each probe asks again where the answer
 * is older than RABBIT_LOOK_NS, or than the last recount. On control.
 */
#include "rabbitmq_subscription.h"
#include "../probes.h"

#include <assert.h>
#include <stdio.h>

/* Asks again, too, where the answer is old. */
void rabbit_subscription_probe(struct abroad_subscription *a, uint64_t now_ns, struct bus_probe *out)
{
    struct bus_subscription *s = rabbit_subscription_of(a);
    uint64_t age_ns = now_ns - s->counted_ns;
    bool there = s->made && !a->close, known = s->counted_ns && s->counted_as == atomic_load(&s->bus->recounts);
    out->events += s->returning;
    out->dropped = s->refused;
    out->counting = there && (!known || age_ns > RABBIT_FRESH_NS);
    if ((known && age_ns <= RABBIT_LOOK_NS) || s->asked || !there)
        return;
    s->asked = true;
    rabbit_consumer_todo(s, RABBIT_COUNT);
}

void rabbit_channel_probe(const struct abroad_channel *a, struct bus_probe *out)
{
    const struct bus_channel *c = rabbit_channel_of(a);
    out->counting |= atomic_load(&c->ends_asked) > 0;
    if (c->unkept)
        bus_probe_unwell(out, OK, "its stream is down: what comes is delivered, and cannot be replayed");
}

static void add_node(struct rabbit_bus *k, struct bus_probe *out)
{
    char why[256] = "";
    if (rabbitmq_client_up(k->client, why, sizeof why))
        k->connected = true;
    else if (k->connected || rabbit_now() - k->opened_ns > RABBIT_CONNECT_NS)
        bus_probe_unwell(out, OK, why);
    char blocked[sizeof k->publisher.blocked];
    pthread_mutex_lock(&k->publisher.lock);
    snprintf(blocked, sizeof blocked, "%s", k->publisher.blocked);
    pthread_mutex_unlock(&k->publisher.lock);
    if (!blocked[0])
        return;
    char text[sizeof out->reason];
    snprintf(text, sizeof text,
             "RabbitMQ takes no messages (%s): it lacks memory or disk; senders get 503 until it has room", blocked);
    bus_probe_unwell(out, OK, text);
}

void rabbit_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct rabbit_bus *k = rabbit_of(b);
    *out = (struct bus_probe){.healthy = true};
    add_node(k, out);
    abroad_probe(&k->abroad, c ? &c->abroad : NULL, out);
    out->end = c ? atomic_load(&c->end) : 0;
}

/* No answer to what was asked before counts from now on. */
void rabbit_recount(struct bus *b)
{
    atomic_fetch_add(&rabbit_of(b)->recounts, 1);
}

void rabbit_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    assert(s->bus == rabbit_of(b));
    *out = (struct bus_probe){.healthy = true};
    add_node(s->bus, out);
    abroad_probe_subscription(&s->abroad, out);
}
