/* SPDX-License-Identifier: Apache-2.0
 *
 * Buses on systems of others, the Secrets that say how they are reached, and what sources that read them have alike.
 */
#include "cluster.h"

#include <assert.h>

void cluster_param(struct planner *p, struct cluster_params *params, const char *name, const char *value)
{
    assert(params->count < CLUSTER_PARAMS_MAX);
    params->list[params->count++] = (struct bus_param){name, plan_copy(p, value)};
}

const char *cluster_param_value(const struct bus_param *params, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(params[i].name, name) == 0)
            return params[i].value;
    return NULL;
}

static bool is_of(const char *type, const struct bus_param *params, size_t count, const char *wanted)
{
    if (strcmp(type, wanted) == 0)
        return true;
    const char *inner = cluster_param_value(params, count, "inner");
    return inner && strcmp(inner, wanted) == 0;
}

bool plan_bus_is(const struct planner *p, size_t bus, const char *type)
{
    const struct plan_bus *b = bus < p->plan->bus_count ? &p->plan->buses[bus] : NULL;
    return b && is_of(b->type, b->params, b->param_count, type);
}

bool plan_default_bus(struct planner *p, const char *type, size_t *bus)
{
    const struct plan_options *o = p->options;
    if (!o->default_bus || !is_of(o->default_bus, o->default_bus_params, o->default_bus_param_count, type))
        return false;
    *bus = plan_bus(p, o->default_bus, o->default_bus, o->default_bus_params, o->default_bus_param_count);
    return true;
}

bool plan_cluster_bus(struct planner *p, const char *type, const char *key, const struct cluster_params *params,
                      bool good, size_t *bus, struct why *why)
{
    const struct bus_ops *ops = bus_find(type);
    struct diag d = {0};
    enum err e = OK;
    if (good && ops && ops->check)
        e = ops->check(params->list, params->count, &d);
    p->nomem = p->nomem || e == ERR_NOMEM;
    if (e != OK)
        *why = why_of(p, "InvalidParameters", "%s", d.text);
    if (good && !ops)
        *why = why_of(p, "BusNotBuiltIn", "%s is not in this build", type);
    good = good && ops && e == OK;
    struct bus_param *list = good ? arena_alloc(p->arena, sizeof params->list) : NULL;
    p->nomem = p->nomem || (good && !list);
    if (list)
        memcpy(list, params->list, sizeof params->list);
    *bus = plan_bus(p, key, type, list, list ? params->count : 0);
    if (*bus < p->plan->bus_count)
        p->plan->buses[*bus].held = !good;
    return good;
}

/* ---- Secrets ---- */

bool secret_open(struct secret *s, struct planner *p, const char *ns, const char *name, struct why *why)
{
    const struct resource *r = plan_get(p, "", "Secret", ns, name);
    *s = (struct secret){p, ns, name, r ? json_object(r->object, "data") : NULL, why, r != NULL};
    if (!r)
        *why = why_of(p, "SecretNotFound", "Secret %s/%s is not declared", ns, name);
    return s->good;
}

const char *secret_get(struct secret *s, const char *key)
{
    if (!s->good || !json_text(s->data, key))
        return NULL;
    const char *text = secret_value(s->planner, s->ns, s->name, key, s->why);
    s->good = text != NULL;
    return text && *text ? text : NULL;
}

void secret_put(struct secret *s, struct cluster_params *params, const char *name, const char *key)
{
    const char *text = secret_get(s, key);
    if (text)
        cluster_param(s->planner, params, name, text);
}

void secret_lacks(struct secret *s, const char *key, const char *what)
{
    if (s->good)
        *s->why = why_of(s->planner, "SecretIncomplete", "Secret %s/%s has no %s: %s", s->ns, s->name, key, what);
    s->good = false;
}

/* ---- what statuses say ---- */

static void put_annotation(struct planner *p, cJSON *status, const char *name, const char *value)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(status, "annotations");
    if (value)
        put_text(p, list ? list : put_object(p, status, "annotations"), name, value);
}

void put_channel_place(struct planner *p, cJSON *status, const struct channel_plan *c)
{
    const struct plan_channel *channel = c->planned ? &p->plan->channels[c->index] : NULL;
    if (channel && plan_bus_is(p, channel->bus, "kafka"))
        put_annotation(p, status, "default.topic", cluster_param_value(channel->params, channel->param_count, "topic"));
    if (channel && plan_bus_is(p, channel->bus, "rabbitmq"))
        put_annotation(p, status, "exchange", cluster_param_value(channel->params, channel->param_count, "exchange"));
    if (channel && plan_bus_is(p, channel->bus, "pubsub"))
        put_annotation(p, status, "topic", cluster_param_value(channel->params, channel->param_count, "topic"));
}

void put_subscription_place(struct planner *p, cJSON *status, const struct plan_subscription *s)
{
    if (s && plan_bus_is(p, p->plan->channels[s->channel].bus, "kafka"))
        put_annotation(p, status, "group.id", cluster_param_value(s->params, s->param_count, "group"));
    if (s && plan_bus_is(p, p->plan->channels[s->channel].bus, "rabbitmq"))
        put_annotation(p, status, "queue", cluster_param_value(s->params, s->param_count, "queue"));
    if (s && plan_bus_is(p, p->plan->channels[s->channel].bus, "pubsub"))
        put_annotation(p, status, "subscription", cluster_param_value(s->params, s->param_count, "subscription"));
}

/* ---- sources ---- */

static const cJSON *spec_of(const struct resource *r)
{
    return json_object(r->object, "spec");
}

void cluster_source_overrides(struct planner *p, const struct resource *r, struct channel_plan *c)
{
    const cJSON *each, *extensions = json_object(json_object(spec_of(r), "ceOverrides"), "extensions");
    cJSON_ArrayForEach(each, extensions)
        plan_channel_param(p, c, plan_text(p, "record.override.%s", each->string), each->valuestring);
}

bool cluster_source_resolve(struct planner *p, const struct resource *r, struct plan_target *sink,
                            struct plan_target *dead, struct why *why)
{
    const cJSON *delivery, *own = json_object(spec_of(r), "delivery");
    if (!resolve_destination(p, r->namespace_name, json_object(spec_of(r), "sink"), sink, why))
        return false;
    if (plan_delivery_merge(p, r->namespace_name, own, NULL, &delivery, dead, why))
        return true;
    *why = why_of(p, why->reason, "deadLetterSink: %s", why->message);
    return false;
}

static void default_delivery(struct delivery *d)
{
    d->retry = 10;
    d->backoff_policy = BACKOFF_EXPONENTIAL;
    d->backoff_delay_ns = 300 * NS_PER_MS;
}

struct plan_subscription *cluster_source_subscribe(struct planner *p, const struct resource *r,
                                                   const struct channel_plan *c, bool good,
                                                   const struct plan_target *sink, const struct plan_target *dead)
{
    const cJSON *delivery = json_object(spec_of(r), "delivery");
    struct delivery terms;
    struct plan_subscription *s = plan_subscription_keep(p, r, c, good);
    if (!s)
        return NULL;
    s->subscriber = *sink;
    s->dead_letter = *dead;
    plan_template_bus(p, NULL, &s->parked_bus, NULL); /* the default one always is one */
    delivery_read(delivery, &terms);
    if (!delivery)
        default_delivery(&terms);
    plan_delivery(p, s, &terms);
    return s;
}
