/* SPDX-License-Identifier: Apache-2.0
 *
 * Applying a plan, step by step. Each step starts its operations, counts them in `pending`, and the last one to end
 * starts the next step:
 *
 *     buses (engine_buses.c: open, bind on every loop) → channels (provision) → subscriptions (subscribe) → shards
 * (route) → sources (register) and leftovers (unsubscribe, release)
 *
 * What fails is told, left out and not ready, and tried again (engine_faults.c); the rest goes on.
 */
#include "engine_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

/* ---- steps ---- */

void engine_step_ended(struct engine *e)
{
    assert(e->pending > 0);
    if (--e->pending == 0)
        e->step(e);
}

/* Opens a step of applying a plan: what follows it, and one pending for the opening itself, to be given back with
 * engine_step_ended. */
static void step_open(struct engine *e, void (*then)(struct engine *e))
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

/* ---- step 2: channels ---- */

char *engine_params_text(const struct bus_param *params, size_t count)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < count; i++)
        buf_printf(&b, "%s=%s\n", params[i].name, params[i].value);
    char *text = buf_error(&b) ? NULL : strndup(b.ptr ? b.ptr : "", b.len);
    buf_fini(&b);
    return text;
}

/* `again`: it may come right by itself. */
static void channel_failed(struct engine_channel *c, enum err err, const char *why, bool again)
{
    struct bus_probe bus = {.healthy = true};
    if (err == ERR_UNAVAILABLE && c->bus)
        c->bus->bus->ops->probe(c->bus->bus, NULL, &bus);
    const char *line = bus.healthy ? "channel.failed" : NULL; /* of the whole bus its notice tells */
    const struct engine_failure what = {line, "channel", c->key, err, why, again};
    engine_fault(c->engine, &c->fault, &what);
    free(c->params); /* so that the next time the plan is applied it is tried again */
    c->params = NULL;
}

/* The end of its operations in this step. */
static void channel_made(struct bus_op *op, enum err err)
{
    struct engine_channel *c = container_of(op, struct engine_channel, op);
    c->mended = err == OK;
    c->provisioned = c->provisioned || err == OK;
    if (err != OK)
        channel_failed(c, err, op->text ? op->text : "", true);
    engine_step_ended(c->engine);
}

/* Its bus has made it, and now it is to answer for it. */
static void verify(struct engine_channel *c)
{
    c->op = (struct bus_op){.done = channel_made};
    if (c->verified)
        c->bus->bus->ops->verify(c->bus->bus, c->handle, &c->op);
    else
        channel_made(&c->op, OK);
}

static void extra_released(struct bus_op *op, enum err err)
{
    struct engine_channel *c = container_of(op, struct engine_channel, op);
    (void)err;
    if (c->mended)
        verify(c);
    else
        engine_step_ended(c->engine);
}

static void provisioned(struct bus_op *op, enum err err)
{
    if (err == OK)
        verify(container_of(op, struct engine_channel, op));
    else
        channel_made(op, err);
}

/* It was there already: the parameters are new, and the reference that came with them is one too many. */
static void provisioned_again(struct bus_op *op, enum err err)
{
    struct engine_channel *c = container_of(op, struct engine_channel, op);
    c->mended = err == OK;
    if (err != OK)
        channel_failed(c, err, op->text ? op->text : "", true);
    *op = (struct bus_op){.done = extra_released};
    c->bus->bus->ops->release(c->bus->bus, c->handle, false, op);
}

struct engine_channel *engine_channel_new(struct engine *e, const char *key, const char *namespace_name,
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

void engine_channel_provision(struct engine_channel *c, const char *bus_name, const struct bus_param *params,
                              size_t count)
{
    struct diag d = {0};
    struct bus_channel *handle;
    if (!c->bus) { /* once it is open, that is another channel */
        channel_failed(c, ERR_UNAVAILABLE, "its bus could not be opened", false);
        return;
    }
    if (c->engine->options.shared && !(c->bus->bus->capabilities & BUS_CAP_SHARED)) {
        channel_failed(c, ERR_UNSUPPORTED,
                       "its bus keeps events for one process alone, and this server shares its work with others "
                       "(--shared)",
                       false);
        return;
    }
    c->op = (struct bus_op){.done = c->handle ? provisioned_again : provisioned};
    c->engine->pending++;
    enum err err = c->bus->bus->ops->provision(c->bus->bus, slice_str(bus_name), params, count, &handle, &c->op, &d);
    if (err == OK) {
        assert(!c->handle || c->handle == handle);
        if (!c->handle) /* else the loops read it at this moment */
            c->handle = handle;
        return;
    }
    c->engine->pending--;
    channel_failed(c, err, d.text, err_retryable(err));
}

/* The plan's channel, of those there are or new, provisioned where the bus does not have it as it should be. */
static bool choose_channel(struct engine *e, const struct map *known, size_t i)
{
    const struct plan_channel *p = &e->next->plan->channels[i];
    struct engine_bus *bus = engine_bus_find(e, e->next->plan->buses[p->bus].key);
    struct engine_channel *c = map_get(known, slice_str(p->key));
    if (!c || c->bus != bus) {
        if (c)
            c->moved = true;
        c = engine_channel_new(e, p->key, p->namespace_name, p->name, bus);
        if (!c)
            return false;
        list_push_back(&e->channels, &c->link);
    }
    c->wanted = c->verified = true;
    e->next->channels[i] = c;
    if (p->held || e->next->plan->buses[p->bus].held)
        return true;
    char *params = engine_params_text(p->params, p->param_count);
    if (params && c->params && strcmp(params, c->params) == 0) {
        free(params);
        return true;
    }
    bool complete = params != NULL;
    free(c->params);
    c->params = params;
    engine_channel_provision(c, p->bus_name, p->params, p->param_count);
    return complete;
}

static bool choose_channels(struct engine *e)
{
    struct map known; /* key → engine_channel; of several with one key the latest */
    bool complete = true;
    map_init(&known, SIZE_MAX);
    list_each(l, tmp, &e->channels) {
        struct engine_channel *c = container_of(l, struct engine_channel, link);
        c->wanted = false;
        complete = complete && map_set(&known, slice_str(c->key), c, NULL) == OK;
    }
    for (size_t i = 0; complete && i < e->next->plan->channel_count; i++)
        complete = choose_channel(e, &known, i);
    map_fini(&known);
    return complete;
}

static void subscribe_all(struct engine *e);

static void provision_all(struct engine *e)
{
    step_open(e, subscribe_all);
    e->out_of_memory = !choose_channels(e) || !engine_subscriptions_choose(e);
    engine_step_ended(e);
}

/* ---- step 3: subscriptions ---- */

static void route_all(struct engine *e);

static void subscribe_all(struct engine *e)
{
    step_open(e, route_all);
    if (!e->out_of_memory)
        engine_subscribe_all(e);
    engine_step_ended(e);
}

/* ---- step 4: shards ---- */

static void register_all(struct engine *e);

/* What is in force is wanted again, and nothing else. */
static void want_current(struct engine *e)
{
    const struct routing *r = e->current;
    list_each(l, tmp, &e->channels)
        container_of(l, struct engine_channel, link)->wanted = false;
    list_each(k, next, &e->subscriptions)
        container_of(k, struct engine_subscription, link)->wanted = false;
    list_each(m, after, &e->sources)
        container_of(m, struct engine_source, link)->wanted = false;
    for (size_t i = 0; r && i < r->plan->channel_count; i++)
        r->channels[i]->wanted = true;
    for (size_t i = 0; r && i < r->plan->subscription_count; i++)
        r->subscriptions[i]->wanted = true;
    for (size_t i = 0; r && i < r->plan->source_count; i++)
        r->sources[i]->wanted = !r->sources[i]->leaving;
}

/* Without memory for all of it the plan is not put in force; the one before stays. */
static void give_up(struct engine *e)
{
    log_line(LOG_ERROR, "plan.failed", "error=nomem");
    want_current(e);
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
    for (size_t i = 0; i < e->next->plan->channel_count; i++)
        e->next->channels[i]->ready = e->next->channels[i]->provisioned;
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
    routing_unref(e->current);
    e->current = e->next;
    e->next = NULL;
    e->applied = true;
    if (e->reports.applied)
        e->reports.applied(e->reports.arg, e->current->plan);
    engine_faults_plan_done(e);
    engine_health_watch(e);
    engine_verify_watch(e);
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
        engine_begin(e, waiting);
        plan_unref(waiting);
    } else {
        engine_buses_close(e);
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

void engine_begin(struct engine *e, struct plan *plan)
{
    e->next = routing_new(plan);
    if (!e->next) {
        log_line(LOG_ERROR, "plan.failed", "error=nomem");
        return;
    }
    e->applying = true;
    e->out_of_memory = false;
    e->again_wanted = false;
    engine_buses_open(e, provision_all);
}

void engine_apply(struct engine *e, struct plan *plan)
{
    if (e->stopped) /* from the call of engine_stop on, whatever it is at */
        return;
    if (!e->applying) {
        engine_begin(e, plan);
        return;
    }
    plan_unref(e->waiting);
    e->waiting = plan_ref(plan);
}
