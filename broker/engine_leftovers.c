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
    free(c);
}

void engine_subscription_free(struct engine_subscription *s)
{
    list_remove(&s->link);
    engine_channel_free(s->parked);
    free(s->key);
    free(s->cursor);
    free(s->label_namespace);
    free(s->label_name);
    free(s->params);
    engine_fault_fini(&s->fault);
    filter_unref(s->filter);
    free(s);
}

static void ignored(struct bus_op *op, enum err err)
{
    (void)err;
    free(op);
}

/* For releases whose end nobody waits for; NULL when there is no memory. */
static struct bus_op *loose_op(void)
{
    struct bus_op *op = calloc(1, sizeof *op);
    if (op)
        op->done = ignored;
    return op;
}

/* What a plan has no more is removed from its bus, unless another process may still have it, or it only moves. */
static bool removes(const struct engine *e, const struct engine_bus *b)
{
    return !e->options.shared && !b->superseded;
}

/* It lies on a bus whose place another has taken: the one that has its name there goes on with what is parked. */
static bool has_moved(const struct engine_subscription *s)
{
    return (s->bus && s->bus->superseded) || (s->parked->bus && s->parked->bus->superseded);
}

static void drop_subscription(struct engine_subscription *s)
{
    struct bus *bus = s->bus ? s->bus->bus : NULL, *parked = s->parked->bus ? s->parked->bus->bus : NULL;
    struct bus_op *op;
    if (s->handle && (op = loose_op())) {
        bus->ops->unsubscribe(bus, s->handle, removes(s->engine, s->bus) && !s->keep_cursor, op);
        s->handle = NULL;
        s->ready = false;
        free(s->params); /* one that comes back by this cursor is subscribed anew */
        s->params = NULL;
    }
    const struct bus_probe probe = engine_probe(s->parked->bus, s->parked_handle);
    bool holds = !has_moved(s) && (probe.events > 0 || probe.counting);
    if (probe.counting) /* it is looked at again, until that is known */
        s->engine->again_wanted = true;
    if (holds || s->dlq || s->replays > 0) {
        s->channel = NULL; /* it may go before */
        return;            /* parked events outlive their subscription, until they are discarded */
    }
    if (s->parked_handle && (op = loose_op()))
        parked->ops->unsubscribe(parked, s->parked_handle, removes(s->engine, s->parked->bus) && !has_moved(s), op);
    if (s->parked->handle && (op = loose_op()))
        parked->ops->release(parked, s->parked->handle, removes(s->engine, s->parked->bus) && !has_moved(s), op);
    engine_subscription_free(s);
}

void engine_subscription_unused(struct engine *e, struct engine_subscription *s)
{
    if (s->wanted || s->handle || e->applying || e->stopped) /* a plan's last step sees to it by itself */
        return;
    drop_subscription(s);
    engine_buses_close(e);
}

struct release {
    struct bus_op op;
    struct engine_channel *channel;
};

static void released(struct bus_op *op, enum err err)
{
    struct release *r = container_of(op, struct release, op);
    (void)err;
    engine_channel_free(r->channel); /* appends under way, which count on it, have ended */
    free(r);
}

static void drop_channel(struct engine_channel *c)
{
    if (c->replays > 0)
        return;
    if (!c->handle) {
        engine_channel_free(c);
        return;
    }
    struct release *r = calloc(1, sizeof *r);
    if (!r)
        return; /* tried again with the next plan */
    r->op.done = released;
    r->channel = c;
    c->ready = c->provisioned = false;
    list_remove(&c->link);
    c->bus->bus->ops->release(c->bus->bus, c->handle, removes(c->engine, c->bus), &r->op);
}

void engine_channel_unused(struct engine *e, struct engine_channel *c)
{
    if (c->wanted || c->replays > 0 || e->applying || e->stopped)
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
