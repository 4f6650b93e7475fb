/* SPDX-License-Identifier: Apache-2.0
 *
 * Applying a plan: its subscriptions, each with its dead-letter channel, where that cannot wait (engine_parked.c).
 * Those that the bus has otherwise than the plan wants them, by filter or parameters, are subscribed again, which
 * changes them in place and keeps their backlog.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "replay.h"
#include "resource/store.h"

struct parked_name {
    char text[STORE_CURSOR_MAX + sizeof "dead-letter/"];
};

static struct parked_name parked_name(const struct engine_subscription *s)
{
    struct parked_name name;
    snprintf(name.text, sizeof name.text, "dead-letter/%s", s->cursor);
    return name;
}

struct engine_channel *engine_parked_new(struct engine_subscription *s)
{
    const struct parked_name name = parked_name(s);
    struct engine_channel *c =
        engine_channel_new(s->engine, name.text, s->label_namespace, s->label_name, s->parked_bus);
    if (c)
        c->parked_of = s;
    return c;
}

/* Where the bus has nothing of that name it can wait until there is something to park. */
static bool make_parked(struct engine_subscription *s)
{
    const struct bus *bus = s->parked_bus ? s->parked_bus->bus : NULL;
    const struct parked_name name = parked_name(s);
    s->parked_late = bus && bus->ops->known && !bus->ops->known(s->parked_bus->bus, slice_str(name.text));
    if (!s->parked_late)
        s->parked = engine_parked_new(s);
    return s->parked_late || s->parked;
}

static void provision_parked(struct engine_subscription *s, const struct plan_channel *channel, size_t bus)
{
    size_t count = bus == channel->bus ? channel->parked_param_count : 0;
    engine_channel_provision(s->parked, s->parked->key, channel->parked_params, count);
}

/* In one allocation: many subscriptions rest. */
static bool copy_texts(struct engine_subscription *s, const struct plan_subscription *p)
{
    const char *const texts[] = {p->key, p->cursor, p->namespace_name, p->name};
    const char **const places[] = {NULL, &s->cursor, &s->label_namespace, &s->label_name};
    size_t len = 0;
    for (size_t i = 0; i < 4; i++)
        len += strlen(texts[i]) + 1;
    char *at = s->key = malloc(len);
    for (size_t i = 0; at && i < 4; i++) {
        if (places[i])
            *places[i] = at;
        at = stpcpy(at, texts[i]) + 1;
    }
    return s->key;
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
    s->parked_bus = parked;
    if (!copy_texts(s, p) || !make_parked(s)) {
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
    return s && (s->channel == channel || (!s->channel && s->bus == channel->bus)) && s->parked_bus == parked &&
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
        struct engine_bus *parked = e->options.forever ? NULL : engine_bus_find(e, plan->buses[p->parked_bus].key);
        struct engine_subscription *s = map_get(&known, slice_str(p->key));
        if (s && s->channel && s->bus != channel->bus && strcmp(s->cursor, p->cursor) == 0 &&
            strcmp(s->channel->key, channel->key) == 0)
            s->moved = true;
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
        if (!s->parked_late && !s->parked->provisioned && !e->options.forever)
            provision_parked(s, &plan->channels[p->channel], p->parked_bus);
    }
    map_fini(&known);
    return complete;
}

/* ---- subscribing ---- */

static void fail(struct engine_subscription *s, const struct engine_failure *what)
{
    engine_fault(s->engine, &s->fault, what);
    s->failed = true;
    free(s->params); /* so that the next time the plan is applied it is tried again */
    s->params = NULL;
}

/* `again`: it may come right by itself. */
static void subscription_failed(struct engine_subscription *s, enum err err, const char *why, bool again)
{
    const struct engine_failure what = {"subscription.failed", "subscription", s->key, err, why, again};
    fail(s, &what);
}

/* What is parked for it has no place: said of the subscription, since nobody knows that channel. */
static void parked_failed(struct engine_subscription *s, enum err err, const char *why, bool again)
{
    char text[400];
    snprintf(text, sizeof text, "what nobody takes of it cannot be parked%s%s", *why ? ": " : "", why);
    subscription_failed(s, err, text, again);
}

/* One of its operations has ended; with the last it is known whether all is well. */
static void operation_ended(struct engine_subscription *s)
{
    assert(s->under_way > 0);
    if (--s->under_way == 0)
        s->mended = !s->failed;
    engine_step_ended(s->engine);
}

static void operation_begins(struct engine_subscription *s)
{
    s->under_way++;
    s->engine->pending++;
}

static void operation_refused(struct engine_subscription *s)
{
    s->under_way--;
    s->engine->pending--;
}

static void extra_given_back(struct bus_op *op, enum err err)
{
    (void)err;
    operation_ended(container_of(op, struct engine_subscription, op));
}

static void swept(struct engine_subscription *s)
{
    s->ready = true;
    operation_ended(s);
}

static void subscribed(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, op);
    if (err == OK && replay_sweep(s, swept))
        return;
    s->ready = err == OK;
    if (err != OK)
        subscription_failed(s, err, op->text ? op->text : "", true);
    operation_ended(s);
}

/* It was there already: filter and parameters are new, and the reference that came with them is one too many. */
static void subscribed_again(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, op);
    if (err != OK)
        subscription_failed(s, err, op->text ? op->text : "", true);
    s->ready = s->ready || err == OK;
    *op = (struct bus_op){.done = extra_given_back};
    s->bus->bus->ops->unsubscribe(s->bus->bus, s->handle, false, op);
}

static void parked_given_back(struct bus_op *op, enum err err)
{
    (void)err;
    operation_ended(container_of(op, struct engine_channel, op)->parked_of);
}

static void parked_subscribed(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_channel, op)->parked_of;
    struct bus_subscription *handle = s->parked_handle;
    s->parked_ready = err == OK;
    if (err == OK) {
        operation_ended(s);
        return;
    }
    parked_failed(s, err, op->text ? op->text : "", true);
    s->parked_handle = NULL;
    *op = (struct bus_op){.done = parked_given_back};
    s->parked->bus->bus->ops->unsubscribe(s->parked->bus->bus, handle, false, op);
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

static void subscribe(struct engine_subscription *s, const struct plan_subscription *p)
{
    struct bus_subscription *handle;
    struct diag d = {0};
    if (!s->channel->provisioned) {
        /* Where both are one object, a KafkaSource, its condition says what is wrong with the topic. */
        const char *of_channel = strcmp(s->channel->key, s->key) == 0 ? s->channel->fault.why : NULL;
        const struct engine_failure what = {NULL,
                                            "subscription",
                                            s->key,
                                            of_channel ? s->channel->fault.err : ERR_UNAVAILABLE,
                                            of_channel ? of_channel : "its channel is not ready",
                                            false};
        fail(s, &what);
        return;
    }
    if (up_to_date(s, p))
        return;
    struct bus *bus = s->bus->bus;
    operation_begins(s);
    s->op = (struct bus_op){.done = s->handle ? subscribed_again : subscribed};
    enum err err = bus->ops->subscribe(bus, s->channel->handle, slice_str(s->cursor), &p->start, p->filter, p->params,
                                       p->param_count, &handle, &s->op, &d);
    if (err != OK) {
        operation_refused(s);
        subscription_failed(s, err, d.text, err_retryable(err));
        return;
    }
    assert(!s->handle || s->handle == handle);
    if (!s->handle) /* else the loops may read it at this moment */
        s->handle = handle;
}

/* Its oldest events give way (counted) when it is full. */
enum err engine_subscribe_parked(struct engine_channel *parked, struct bus_subscription **out, struct bus_op *op,
                                 struct diag *d)
{
    static const struct bus_param drop_oldest = {"overflow", "drop-oldest"};
    static const struct bus_start earliest = {.kind = BUS_START_EARLIEST};
    struct bus *bus = parked->bus->bus;
    return bus->ops->subscribe(bus, parked->handle, SLICE("parked"), &earliest, NULL, &drop_oldest, 1, out, op, d);
}

static void subscribe_parked(struct engine_subscription *s)
{
    struct diag d = {0};
    if (s->parked_handle)
        return;
    if (!s->parked->provisioned) {
        if (s->channel->provisioned)
            parked_failed(s, ERR_UNAVAILABLE, "its dead-letter channel is not ready", false);
        return;
    }
    operation_begins(s);
    s->parked->op = (struct bus_op){.done = parked_subscribed};
    enum err err = engine_subscribe_parked(s->parked, &s->parked_handle, &s->parked->op, &d);
    if (err == OK)
        return;
    operation_refused(s);
    parked_failed(s, err, d.text, err_retryable(err));
}

void engine_subscribe_all(struct engine *e)
{
    const struct plan *p = e->next->plan;
    for (size_t i = 0; i < p->subscription_count; i++) {
        struct engine_subscription *s = e->next->subscriptions[i];
        s->failed = false;
        s->ordered = p->subscriptions[i].order != ORDER_NONE;
        subscribe(s, &p->subscriptions[i]);
        if (!e->options.forever && !s->parked_late)
            subscribe_parked(s);
    }
}
