/* SPDX-License-Identifier: Apache-2.0
 *
 * Dead-letter channels that are made when the first event is parked: most subscriptions never park one, and an idle
 * channel with its subscription costs more than all else that such a one has. Where the bus cannot say that it holds
 * none from before, they are made with their subscription (engine_subscriptions.c).
 *
 *     data loop   engine_parked_await ─────┐                        ┌─→ made: it appends ─→ engine_parked_leave ─┐
 *     control                              └→ provision → subscribe ┘                                            └→
 * left
 *
 * Between the two the subscription stays, also when the plan has it no more: what is parked last keeps it from there
 * on.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "log.h"

struct engine_parking { /* while it is made */
    struct engine_subscription *subscription;
    struct engine_channel *channel; /* owned */
    struct bus_subscription *handle;
    struct bus_op op;
    struct list waiting; /* engine_park_wait */
    enum err error;
};

static void made(struct letter *m)
{
    struct engine_park_wait *w = container_of(m, struct engine_park_wait, letter);
    w->made(w);
}

static void answer(struct engine_park_wait *w, enum err e)
{
    w->error = e;
    w->letter.run = made;
    loop_post_reserved(w->home, &w->letter);
}

/* Who comes now may try again at once. */
static void end(struct engine_parking *p)
{
    struct list *l;
    p->subscription->parking = NULL;
    if (p->error != OK)
        log_line(LOG_WARN, "parked.failed", "subscription=%s error=%s", log_value(p->subscription->key),
                 err_name(p->error));
    while ((l = list_pop_front(&p->waiting)))
        answer(container_of(l, struct engine_park_wait, link), p->error);
    engine_channel_free(p->channel);
    free(p);
}

static void released(struct bus_op *op, enum err err)
{
    (void)err;
    end(container_of(op, struct engine_parking, op));
}

/* Nothing is removed: where it was there before, it stays as it was. */
static void give_up(struct engine_parking *p, enum err err)
{
    struct bus *bus = p->channel->bus->bus;
    p->error = err;
    p->op = (struct bus_op){.done = released};
    bus->ops->release(bus, p->channel->handle, false, &p->op);
}

static void unsubscribed(struct bus_op *op, enum err err)
{
    struct engine_parking *p = container_of(op, struct engine_parking, op);
    (void)err;
    give_up(p, p->error);
}

static void subscribed(struct bus_op *op, enum err err)
{
    struct engine_parking *p = container_of(op, struct engine_parking, op);
    struct engine_subscription *s = p->subscription;
    struct bus *bus = p->channel->bus->bus;
    if (err != OK) {
        p->error = err;
        p->op = (struct bus_op){.done = unsubscribed};
        bus->ops->unsubscribe(bus, p->handle, false, &p->op);
        return;
    }
    p->channel->provisioned = true;
    s->parked = p->channel;
    s->parked_handle = p->handle;
    atomic_store_explicit(&s->parked_ready, true, memory_order_release);
    p->channel = NULL;
    end(p);
}

static void provisioned(struct bus_op *op, enum err err)
{
    struct engine_parking *p = container_of(op, struct engine_parking, op);
    struct diag d = {0};
    if (err == OK) {
        p->op = (struct bus_op){.done = subscribed};
        err = engine_subscribe_parked(p->channel, &p->handle, &p->op, &d);
    }
    if (err != OK)
        give_up(p, err);
}

static enum err begin(struct engine_subscription *s)
{
    struct diag d = {0};
    struct engine_parking *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->subscription = s;
    list_init(&p->waiting);
    p->channel = engine_parked_new(s);
    p->op = (struct bus_op){.done = provisioned};
    struct bus *bus = s->parked_bus->bus;
    enum err e = !p->channel
                     ? ERR_NOMEM
                     : bus->ops->provision(bus, slice_str(p->channel->key), NULL, 0, &p->channel->handle, &p->op, &d);
    if (e != OK) {
        engine_channel_free(p->channel);
        free(p);
        return e;
    }
    s->parking = p;
    return OK;
}

static void awaited(struct letter *m)
{
    struct engine_park_wait *w = container_of(m, struct engine_park_wait, letter);
    struct engine_subscription *s = w->subscription;
    s->parkers++;
    s->engine->parkers++;
    enum err e = s->parked_ready || s->parking ? OK : begin(s);
    if (e != OK || s->parked_ready)
        answer(w, e);
    else
        list_push_back(&s->parking->waiting, &w->link);
}

void engine_parked_await(struct engine_park_wait *w)
{
    assert(w->subscription->parked_late && w->made && w->left);
    w->letter.run = awaited;
    list_init(&w->link);
    loop_post_reserved(w->subscription->engine->control, &w->letter);
}

static void left(struct letter *m)
{
    struct engine_park_wait *w = container_of(m, struct engine_park_wait, letter);
    struct engine_subscription *s = w->subscription;
    struct engine *e = s->engine;
    assert(s->parkers > 0 && e->parkers > 0);
    s->parkers--;
    e->parkers--;
    w->left(w);
    engine_subscription_unused(e, s);
    if (e->stopped && e->parkers == 0)
        engine_stop_check(e);
}

void engine_parked_leave(struct engine_park_wait *w)
{
    w->letter.run = left;
    loop_post_reserved(w->subscription->engine->control, &w->letter);
}
