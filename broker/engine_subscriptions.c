/* SPDX-License-Identifier: Apache-2.0
 *
 * Applying a plan: its subscriptions, each with its dead-letter channel. Those that the bus has otherwise than the plan
 * wants them, by filter or parameters, are subscribed again, which changes them in place and keeps their backlog.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "resource/store.h"

/* The dead-letter channel of a subscription: its oldest events give way (counted) when it is full. */
static bool make_parked(struct engine *e, struct engine_subscription *s, struct engine_bus *bus)
{
    char name[STORE_CURSOR_MAX + sizeof "dead-letter/"];
    snprintf(name, sizeof name, "dead-letter/%s", s->cursor);
    s->parked = engine_channel_new(e, name, s->label_namespace, s->label_name, bus);
    return s->parked != NULL;
}

static struct engine_subscription *make_subscription(struct engine *e, const struct plan_subscription *p,
                                                     struct engine_channel *channel, struct engine_bus *parked)
{
    struct engine_subscription *s = calloc(1, sizeof *s + e->shard_count * sizeof s->shares[0]);
    if (!s)
        return NULL;
    list_init(&s->link);
    s->engine = e;
    s->subject = ++e->subjects;
    s->since_ns = clock_wall_ns(engine_clock(e));
    s->channel = channel;
    s->bus = channel->bus;
    s->key = strdup(p->key);
    s->cursor = strdup(p->cursor);
    s->label_namespace = strdup(p->namespace_name);
    s->label_name = strdup(p->name);
    if (!s->key || !s->cursor || !s->label_namespace || !s->label_name || !make_parked(e, s, parked)) {
        engine_subscription_free(s);
        return NULL;
    }
    list_push_back(&e->subscriptions, &s->link);
    return s;
}

/* Also one that was deleted and lives on for its parked events, when what comes takes up its cursor; its channel may
 * have been another one. */
static bool is_same(const struct engine_subscription *s, const struct plan_subscription *p,
                    const struct engine_channel *channel, const struct engine_bus *parked)
{
    return s && (s->channel == channel || (!s->channel && s->bus == channel->bus)) && s->parked->bus == parked &&
           strcmp(s->cursor, p->cursor) == 0;
}

bool engine_subscriptions_choose(struct engine *e)
{
    const struct plan *plan = e->next->plan;
    struct map known; /* key → engine_subscription; of several with one key the latest */
    bool complete = true;
    map_init(&known, SIZE_MAX);
    list_each(l, tmp, &e->subscriptions) {
        struct engine_subscription *s = container_of(l, struct engine_subscription, link);
        s->wanted = false;
        complete = complete && map_set(&known, slice_str(s->key), s, NULL) == OK;
    }
    for (size_t i = 0; complete && i < plan->subscription_count; i++) {
        const struct plan_subscription *p = &plan->subscriptions[i];
        struct engine_channel *channel = e->next->channels[p->channel];
        struct engine_bus *parked = engine_bus_find(e, plan->buses[p->parked_bus].key);
        struct engine_subscription *s = map_get(&known, slice_str(p->key));
        if (!is_same(s, p, channel, parked))
            s = make_subscription(e, p, channel, parked);
        complete = s != NULL;
        if (!s)
            break;
        e->next->subscriptions[i] = s;
        s->channel = channel;
        s->wanted = true;
        s->paused = p->paused;
        s->keep_cursor = p->keep_cursor;
        if (!s->parked->ready)
            engine_channel_provision(s->parked, s->parked->key, NULL, 0);
    }
    map_fini(&known);
    return complete;
}

/* ---- subscribing ---- */

static void subscription_failed(struct engine_subscription *s, enum err err, const char *why)
{
    log_line(LOG_ERROR, "subscription.failed", "subscription=%s error=%s reason=%s", log_value(s->key), err_name(err),
             log_value(why));
    engine_report_made(s->engine, s->key, err, why);
    free(s->params); /* so that the next plan tries again */
    s->params = NULL;
}

static void extra_given_back(struct bus_op *op, enum err err)
{
    (void)err;
    engine_step_ended(container_of(op, struct engine_subscription, op)->engine);
}

static void subscribed(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, op);
    s->ready = err == OK;
    if (err != OK)
        subscription_failed(s, err, "");
    else
        engine_report_made(s->engine, s->key, OK, "");
    engine_step_ended(s->engine);
}

/* It was there already: filter and parameters are new, and the reference that came with them is one too many. */
static void subscribed_again(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, op);
    if (err != OK)
        subscription_failed(s, err, "");
    else
        engine_report_made(s->engine, s->key, OK, "");
    s->ready = s->ready || err == OK;
    op->done = extra_given_back;
    s->bus->bus->ops->unsubscribe(s->bus->bus, s->handle, false, op);
}

static void parked_subscribed(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, parked_op);
    s->parked_ready = err == OK;
    engine_step_ended(s->engine);
}

/* Whether the bus has it as the plan wants it; else remembers what it is about to get. */
static bool up_to_date(struct engine_subscription *s, const struct plan_subscription *p)
{
    char *params = engine_params_text(p->params, p->param_count);
    if (params && s->params && s->filter == p->filter && strcmp(params, s->params) == 0) {
        free(params);
        return true;
    }
    struct filter *before = s->filter;
    free(s->params);
    s->params = params;
    s->filter = p->filter ? filter_ref(p->filter) : NULL;
    filter_unref(before);
    return false;
}

static enum err subscribe(struct engine_subscription *s, const struct plan_subscription *p, struct diag *d)
{
    struct bus_subscription *handle;
    if (!s->channel->ready || up_to_date(s, p))
        return OK;
    struct bus *bus = s->bus->bus;
    s->op.done = s->handle ? subscribed_again : subscribed;
    s->engine->pending++;
    enum err err = bus->ops->subscribe(bus, s->channel->handle, slice_str(s->cursor), &p->start, p->filter, p->params,
                                       p->param_count, &handle, &s->op, d);
    if (err != OK) {
        s->engine->pending--;
        return err;
    }
    assert(!s->handle || s->handle == handle);
    if (!s->handle) /* else the loops may read it at this moment */
        s->handle = handle;
    return OK;
}

static enum err subscribe_parked(struct engine_subscription *s, struct diag *d)
{
    static const struct bus_param drop_oldest = {"overflow", "drop-oldest"};
    static const struct bus_start earliest = {.kind = BUS_START_EARLIEST};
    if (s->parked_handle || !s->parked->ready)
        return OK;
    struct bus *bus = s->parked->bus->bus;
    s->parked_op.done = parked_subscribed;
    s->engine->pending++;
    enum err err = bus->ops->subscribe(bus, s->parked->handle, SLICE("parked"), &earliest, NULL, &drop_oldest, 1,
                                       &s->parked_handle, &s->parked_op, d);
    if (err != OK)
        s->engine->pending--;
    return err;
}

void engine_subscribe_all(struct engine *e)
{
    const struct plan *p = e->next->plan;
    for (size_t i = 0; i < p->subscription_count; i++) {
        struct engine_subscription *s = e->next->subscriptions[i];
        struct diag d = {0};
        enum err err = subscribe(s, &p->subscriptions[i], &d);
        if (err == OK)
            err = subscribe_parked(s, &d);
        if (err != OK)
            subscription_failed(s, err, d.text);
    }
}
