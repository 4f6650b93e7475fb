/* SPDX-License-Identifier: Apache-2.0
 *
 * What a new plan no longer has: subscriptions, channels and sources are taken off their buses and freed, after every
 * shard has let go of them.
 */
#include "engine_parts.h"

#include <stdlib.h>

void engine_channel_free(struct engine_channel *c)
{
    if (!c)
        return;
    list_remove(&c->link);
    free(c->key);
    free(c->label_namespace);
    free(c->label_name);
    free(c->params);
    engine_fault_fini(&c->fault);
    engine_verify_fini(c);
    free(c);
}

void engine_subscription_free(struct engine_subscription *s)
{
    list_remove(&s->link);
    engine_channel_free(s->parked);
    free(s->key);
    free(s->params);
    engine_fault_fini(&s->fault);
    engine_health_fini(s);
    for (size_t i = 0; i < s->engine->shard_count; i++)
        free(s->shares[i].counters);
    filter_unref(s->filter);
    free(s);
}

/* An operation whose end nobody waits for, but the bus's. */
struct loose {
    struct bus_op op;
    struct engine_bus *bus;
    struct engine_channel *channel; /* goes with it; NULL: none */
};

static void ended(struct bus_op *op, enum err err)
{
    struct loose *l = container_of(op, struct loose, op);
    struct engine *e = l->bus->engine;
    (void)err;
    l->bus->loose--;
    engine_channel_free(l->channel); /* appends under way, which count on it, have ended */
    free(l);
    if (!e->applying)
        engine_buses_close(e);
}

/* NULL when there is no memory. */
static struct bus_op *loose_op(struct engine_bus *bus, struct engine_channel *channel)
{
    struct loose *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    *l = (struct loose){{.done = ended}, bus, channel};
    bus->loose++;
    return &l->op;
}

/* What a plan has no more is removed from its bus, unless another process may still have it; or it only moves: to the
 * one that took this bus's place, or to another way to the same system, for all we know. */
static bool removes(const struct engine *e, const struct engine_bus *b, bool moved)
{
    return !e->options.shared && !b->superseded && !(moved && b->bus->capabilities & BUS_CAP_SHARED);
}

/* The one that has its name on another bus goes on with what is parked. */
static bool has_moved(const struct engine_subscription *s)
{
    return (s->moved && s->bus && s->bus->bus->capabilities & BUS_CAP_SHARED) || (s->bus && s->bus->superseded) ||
           (s->parked_bus && s->parked_bus->superseded);
}

static void drop_subscription(struct engine_subscription *s)
{
    struct bus *bus = s->bus ? s->bus->bus : NULL, *parked = s->parked_bus ? s->parked_bus->bus : NULL;
    struct bus_op *op;
    if (s->handle && (op = loose_op(s->bus, NULL))) {
        bus->ops->unsubscribe(bus, s->handle, removes(s->engine, s->bus, s->moved) && !s->keep_cursor, op);
        s->handle = NULL;
        s->ready = false;
        free(s->params); /* one that comes back by this cursor is subscribed anew */
        s->params = NULL;
    }
    const struct bus_probe probe = engine_probe(s->parked_bus, s->parked_handle);
    bool holds = !has_moved(s) && (probe.events > 0 || probe.counting);
    if (probe.counting) /* it is looked at again, until that is known */
        s->engine->again_wanted = true;
    if (holds || s->dlq || s->replays > 0 || s->parkers > 0) {
        s->channel = NULL; /* it may go before */
        return;            /* parked events outlive their subscription, until they are discarded */
    }
    bool removed = s->parked_bus && removes(s->engine, s->parked_bus, false) && !has_moved(s);
    if (s->parked_handle && (op = loose_op(s->parked_bus, NULL)))
        parked->ops->unsubscribe(parked, s->parked_handle, removed, op);
    if (s->parked && s->parked->handle && (op = loose_op(s->parked_bus, NULL)))
        parked->ops->release(parked, s->parked->handle, removed, op);
    engine_subscription_free(s);
}

void engine_subscription_unused(struct engine *e, struct engine_subscription *s)
{
    if (s->wanted || s->handle || e->applying || e->stopped) /* a plan's last step sees to it by itself */
        return;
    drop_subscription(s);
    engine_buses_close(e);
}

static void drop_channel(struct engine_channel *c)
{
    if (c->users > 0)
        return;
    if (!c->handle) {
        engine_channel_free(c);
        return;
    }
    struct bus_op *op = loose_op(c->bus, c);
    if (!op)
        return; /* tried again with the next plan */
    c->ready = c->provisioned = false;
    list_remove(&c->link);
    c->bus->bus->ops->release(c->bus->bus, c->handle, removes(c->engine, c->bus, c->moved), op);
}

void engine_channel_unused(struct engine *e, struct engine_channel *c)
{
    if (c->wanted || c->users > 0 || e->applying || e->stopped)
        return;
    drop_channel(c);
    engine_buses_close(e);
}

void engine_drop_leftovers(struct engine *e)
{
    list_each(l, tmp, &e->sources) {
        struct engine_source *s = container_of(l, struct engine_source, link);
        if (!s->wanted)
            engine_source_unregister(s, true);
    }
    list_each(k, next, &e->subscriptions) {
        struct engine_subscription *s = container_of(k, struct engine_subscription, link);
        if (!s->wanted)
            drop_subscription(s);
    }
    list_each(m, after, &e->channels) {
        struct engine_channel *c = container_of(m, struct engine_channel, link);
        if (!c->wanted)
            drop_channel(c);
    }
}
