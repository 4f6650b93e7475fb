/* SPDX-License-Identifier: Apache-2.0
 *
 * Applying a plan, step by step. Each step starts its operations, counts them in `pending`, and the last one to end
 * starts the next step:
 *
 *     buses (open, bind on every loop) → channels (provision) → subscriptions (subscribe) → shards (route) → sources
 * (register) and leftovers (unsubscribe, release)
 *
 * What fails is logged, left out and not ready; the rest goes on.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

static void begin(struct engine *e, struct plan *plan);

/* ---- steps ---- */

static void ended_one(struct engine *e)
{
    assert(e->pending > 0);
    if (--e->pending == 0)
        e->step(e);
}

/* Opens a step: what follows it, and one pending for the opening itself, to be given back with ended_one. */
static void open_step(struct engine *e, void (*then)(struct engine *e))
{
    assert(e->pending == 0);
    e->step = then;
    e->pending = 1;
}

static void one_shard_done(struct shard *s)
{
    struct engine *e = s->engine;
    assert(e->ordered > 0);
    if (--e->ordered == 0)
        e->all_done(e);
}

void engine_order_all(struct engine *e, enum shard_order order, void (*done)(struct engine *e))
{
    assert(e->ordered == 0);
    e->ordered = e->shard_count;
    e->all_done = done;
    for (size_t i = 0; i < e->shard_count; i++)
        shard_order(e->shards[i], order, one_shard_done);
}

static struct engine_bus *find_bus(struct engine *e, const char *key)
{
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        if (strcmp(b->key, key) == 0)
            return b;
    }
    return NULL;
}

static struct engine_channel *find_channel(struct engine *e, const char *key, const struct engine_bus *bus)
{
    list_each(l, tmp, &e->channels) {
        struct engine_channel *c = container_of(l, struct engine_channel, link);
        if (c->bus == bus && strcmp(c->key, key) == 0)
            return c;
    }
    return NULL;
}

static struct engine_subscription *find_subscription(struct engine *e, const struct plan_subscription *p,
                                                     const struct engine_channel *channel)
{
    list_each(l, tmp, &e->subscriptions) {
        struct engine_subscription *s = container_of(l, struct engine_subscription, link);
        if (s->channel == channel && s->handle && strcmp(s->key, p->key) == 0 && strcmp(s->uid, p->uid) == 0)
            return s;
    }
    return NULL;
}

/* ---- step 1: buses ---- */

static void bus_notice(void *arg, struct bus *bus, int severity, const char *code, const char *text)
{
    (void)arg;
    log_line(severity > 1 ? LOG_ERROR
             : severity   ? LOG_WARN
                          : LOG_INFO,
             "bus.notice", "bus=%s code=%s text=%s", bus->ops->name, code, log_value(text));
}

static enum err open_bus(struct engine *e, const struct plan_bus *p, struct diag *d)
{
    const struct bus_env env = {e->control, e->loops, e->shard_count, bus_notice, e};
    const struct bus_ops *ops = bus_find(p->type);
    struct engine_bus *b = calloc(1, sizeof *b);
    char *key = strdup(p->key);
    enum err err = !ops         ? diag_set(d, ERR_UNSUPPORTED, "there is no bus of the type '%s'", p->type)
                   : !b || !key ? ERR_NOMEM
                                : OK;
    if (err == OK)
        err = ops->open(&env, p->params, p->param_count, &b->bus, d);
    if (err != OK) {
        free(key);
        free(b);
        return err;
    }
    b->key = key;
    list_push_back(&e->buses, &b->link);
    return OK;
}

static void provision_all(struct engine *e);

/* Binds the buses that no loop has yet, one bus at a time; then on to the channels. */
static void bind_next(struct engine *e)
{
    list_each(l, tmp, &e->buses) {
        struct engine_bus *b = container_of(l, struct engine_bus, link);
        if (b->bound)
            continue;
        b->bound = true;
        for (size_t i = 0; i < e->shard_count; i++)
            e->shards[i]->order_bus = b->bus;
        engine_order_all(e, SHARD_BIND, bind_next);
        return;
    }
    provision_all(e);
}

static void open_buses(struct engine *e)
{
    const struct plan *p = e->next->plan;
    for (size_t i = 0; i < p->bus_count; i++) {
        struct diag d = {0};
        if (find_bus(e, p->buses[i].key))
            continue;
        enum err err = open_bus(e, &p->buses[i], &d);
        if (err != OK)
            log_line(LOG_ERROR, "bus.failed", "bus=%s error=%s reason=%s", log_value(p->buses[i].key), err_name(err),
                     log_value(d.text));
    }
    bind_next(e);
}

/* ---- step 2: channels ---- */

static void provisioned(struct bus_op *op, enum err err)
{
    struct engine_channel *c = container_of(op, struct engine_channel, op);
    c->ready = err == OK;
    if (err != OK)
        log_line(LOG_ERROR, "channel.failed", "channel=%s error=%s", log_value(c->key), err_name(err));
    ended_one(c->engine);
}

static struct engine_channel *make_channel(struct engine *e, const char *key, const char *namespace_name,
                                           const char *name, struct engine_bus *bus)
{
    struct engine_channel *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    list_init(&c->link);
    c->engine = e;
    c->subject = ++e->subjects;
    c->bus = bus;
    c->key = strdup(key);
    c->label_namespace = strdup(namespace_name);
    c->label_name = strdup(name);
    if (!c->key || !c->label_namespace || !c->label_name) {
        engine_channel_free(c);
        return NULL;
    }
    return c;
}

static void provision(struct engine_channel *c, const char *bus_name, const struct bus_param *params, size_t count)
{
    struct diag d = {0};
    if (!c->bus)
        return;
    c->op.done = provisioned;
    c->engine->pending++;
    enum err err = c->bus->bus->ops->provision(c->bus->bus, slice_str(bus_name), params, count, &c->handle, &c->op, &d);
    if (err == OK)
        return;
    c->engine->pending--;
    log_line(LOG_ERROR, "channel.failed", "channel=%s error=%s reason=%s", log_value(c->key), err_name(err),
             log_value(d.text));
}

static bool provision_plan_channel(struct engine *e, size_t i)
{
    const struct plan_channel *p = &e->next->plan->channels[i];
    struct engine_bus *bus = find_bus(e, e->next->plan->buses[p->bus].key);
    struct engine_channel *c = find_channel(e, p->key, bus);
    if (!c) {
        c = make_channel(e, p->key, p->namespace_name, p->name, bus);
        if (!c)
            return false;
        list_push_back(&e->channels, &c->link);
        provision(c, p->bus_name, p->params, p->param_count);
    }
    c->wanted = true;
    e->next->channels[i] = c;
    return true;
}

/* The dead-letter channel of a subscription: on the same bus, its oldest events give way (counted) when it is full. */
static bool provision_parked(struct engine *e, struct engine_subscription *s)
{
    char name[300];
    snprintf(name, sizeof name, "dead-letter/%s", s->uid);
    s->parked = make_channel(e, name, s->label_namespace, s->label_name, s->channel->bus);
    if (!s->parked)
        return false;
    provision(s->parked, name, NULL, 0);
    return true;
}

static struct engine_subscription *make_subscription(struct engine *e, const struct plan_subscription *p,
                                                     struct engine_channel *channel)
{
    struct engine_subscription *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    list_init(&s->link);
    s->engine = e;
    s->subject = ++e->subjects;
    s->channel = channel;
    s->bus = channel->bus;
    s->key = strdup(p->key);
    s->uid = strdup(p->uid);
    s->label_namespace = strdup(p->namespace_name);
    s->label_name = strdup(p->name);
    if (!s->key || !s->uid || !s->label_namespace || !s->label_name || !provision_parked(e, s)) {
        engine_subscription_free(s);
        return NULL;
    }
    list_push_back(&e->subscriptions, &s->link);
    return s;
}

static void subscribe_all(struct engine *e);

static void provision_all(struct engine *e)
{
    const struct plan *p = e->next->plan;
    bool complete = true;
    open_step(e, subscribe_all);
    list_each(l, tmp, &e->channels)
        container_of(l, struct engine_channel, link)->wanted = false;
    list_each(k, after, &e->subscriptions)
        container_of(k, struct engine_subscription, link)->wanted = false;
    for (size_t i = 0; i < p->channel_count; i++)
        complete = provision_plan_channel(e, i) && complete;
    for (size_t i = 0; complete && i < p->subscription_count; i++) {
        struct engine_channel *channel = e->next->channels[p->subscriptions[i].channel];
        struct engine_subscription *s = find_subscription(e, &p->subscriptions[i], channel);
        if (!s)
            s = make_subscription(e, &p->subscriptions[i], channel);
        e->next->subscriptions[i] = s;
        complete = s != NULL;
        if (s)
            s->wanted = true;
    }
    e->out_of_memory = !complete;
    ended_one(e);
}

/* ---- step 3: subscriptions ---- */

static void subscribed(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, op);
    s->ready = err == OK;
    if (err != OK)
        log_line(LOG_ERROR, "subscription.failed", "subscription=%s error=%s", log_value(s->key), err_name(err));
    ended_one(s->engine);
}

static void parked_subscribed(struct bus_op *op, enum err err)
{
    struct engine_subscription *s = container_of(op, struct engine_subscription, parked_op);
    s->parked_ready = err == OK;
    ended_one(s->engine);
}

static enum err subscribe(struct engine_subscription *s, const struct plan_subscription *p, struct diag *d)
{
    struct bus *bus = s->bus->bus;
    s->op.done = subscribed;
    s->engine->pending++;
    enum err err = bus->ops->subscribe(bus, s->channel->handle, slice_str(s->uid), &p->start, p->filter, p->params,
                                       p->param_count, &s->handle, &s->op, d);
    if (err != OK)
        s->engine->pending--;
    return err;
}

static enum err subscribe_parked(struct engine_subscription *s, struct diag *d)
{
    static const struct bus_param drop_oldest = {"overflow", "drop-oldest"};
    static const struct bus_start earliest = {.kind = BUS_START_EARLIEST};
    struct bus *bus = s->bus->bus;
    s->parked_op.done = parked_subscribed;
    s->engine->pending++;
    enum err err = bus->ops->subscribe(bus, s->parked->handle, SLICE("parked"), &earliest, NULL, &drop_oldest, 1,
                                       &s->parked_handle, &s->parked_op, d);
    if (err != OK)
        s->engine->pending--;
    return err;
}

static void route_all(struct engine *e);

static void subscribe_all(struct engine *e)
{
    const struct plan *p = e->next->plan;
    open_step(e, route_all);
    for (size_t i = 0; !e->out_of_memory && i < p->subscription_count; i++) {
        struct engine_subscription *s = e->next->subscriptions[i];
        struct diag d = {0};
        enum err err = OK;
        if (!s->handle && s->channel->ready)
            err = subscribe(s, &p->subscriptions[i], &d);
        if (err == OK && !s->parked_handle && s->parked->ready)
            err = subscribe_parked(s, &d);
        if (err != OK)
            log_line(LOG_ERROR, "subscription.failed", "subscription=%s error=%s reason=%s", log_value(s->key),
                     err_name(err), log_value(d.text));
    }
    ended_one(e);
}

/* ---- step 4: shards ---- */

static void register_all(struct engine *e);

/* Without memory for all of it the plan is not put in force; the one before stays. */
static void give_up(struct engine *e)
{
    log_line(LOG_ERROR, "plan.failed", "error=nomem");
    routing_unref(e->next);
    e->next = NULL;
    engine_plan_done(e);
}

static void route_all(struct engine *e)
{
    if (!e->out_of_memory)
        engine_sources_choose(e);
    if (e->out_of_memory || routing_index(e->next) != OK) {
        give_up(e);
        return;
    }
    for (size_t i = 0; i < e->shard_count; i++) {
        atomic_fetch_add(&e->next->refs, 1);
        e->shards[i]->order_routing = e->next;
        e->shards[i]->order_deadline_ns = e->options.drain_ns;
    }
    engine_order_all(e, SHARD_ROUTE, register_all);
}

/* ---- step 5: what the plan no longer has, and sources ---- */

static void register_all(struct engine *e)
{
    engine_drop_leftovers(e);
    engine_sources_register(e);
    routing_unref(e->next);
    e->next = NULL;
    e->applied = true;
    if (e->reports.applied)
        e->reports.applied(e->reports.arg);
    engine_plan_done(e);
}

/* ---- from plan to plan ---- */

void engine_plan_done(struct engine *e)
{
    struct plan *waiting = e->waiting;
    e->applying = false;
    e->waiting = NULL;
    if (e->stop_wanted) {
        plan_unref(waiting);
        engine_stop_begin(e);
    } else if (waiting) {
        begin(e, waiting);
        plan_unref(waiting);
    }
}

static struct routing *routing_new(struct plan *plan)
{
    struct routing *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    r->plan = plan_ref(plan);
    map_init(&r->paths, SIZE_MAX);
    map_init(&r->hosts, SIZE_MAX);
    r->channels = calloc(plan->channel_count + 1, sizeof(void *));
    r->subscriptions = calloc(plan->subscription_count + 1, sizeof(void *));
    r->sources = calloc(plan->source_count + 1, sizeof(void *));
    if (r->channels && r->subscriptions && r->sources)
        return r;
    routing_unref(r);
    return NULL;
}

static void begin(struct engine *e, struct plan *plan)
{
    e->next = routing_new(plan);
    if (!e->next) {
        log_line(LOG_ERROR, "plan.failed", "error=nomem");
        return;
    }
    e->applying = true;
    e->out_of_memory = false;
    open_buses(e);
}

void engine_apply(struct engine *e, struct plan *plan)
{
    if (e->stopped) /* from the call of engine_stop on, whatever it is at */
        return;
    if (!e->applying) {
        begin(e, plan);
        return;
    }
    plan_unref(e->waiting);
    e->waiting = plan_ref(plan);
}
