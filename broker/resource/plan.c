/* SPDX-License-Identifier: Apache-2.0
 *
 * From the table to the plan: the order of the work. Each object stands and falls by itself; only missing memory fails
 * the whole.
 */
#include <assert.h>
#include <stdlib.h>

#include "array.h"
#include "log.h"
#include "planner.h"

#define PLAN_NAMES_MAX 10000000u /* of channels, paths and hosts: no bound in practice, the table is the bound */

static int by_channel(const void *x, const void *y)
{
    const struct plan_subscription *a = x, *b = y;
    if (a->channel != b->channel)
        return a->channel < b->channel ? -1 : 1;
    return strcmp(a->key, b->key);
}

static void planner_fini(struct planner *p)
{
    map_each(e, tmp, &p->channels)
        cJSON_Delete(((struct channel_plan *)e->value)->subscribers);
    map_fini(&p->channels);
    map_fini(&p->paths);
    map_fini(&p->hosts);
    map_fini(&p->topics);
    map_fini(&p->used);
}

/* The lists grow no more. A subscription is the largest of what there are many of. */
static void fit(struct planner *p)
{
    struct plan *plan = p->plan;
    array_fit(&plan->channels, &p->channel_cap, plan->channel_count, sizeof *plan->channels);
    array_fit(&plan->subscriptions, &p->subscription_cap, plan->subscription_count, sizeof *plan->subscriptions);
    array_fit(&plan->sources, &p->source_cap, plan->source_count, sizeof *plan->sources);
    array_fit(&plan->unready, &p->unready_cap, plan->unready_count, sizeof *plan->unready);
}

static void compile(struct planner *p)
{
    const struct plan_options *o = p->options;
    bool by_default = !o->default_bus || strcmp(o->default_bus, "memory") == 0;
    plan_bus(p, "memory", "memory", by_default ? o->default_bus_params : NULL, /* always index 0 */
             by_default ? o->default_bus_param_count : 0);
    plan_messaging_channels(p);
    plan_brokers(p);
    plan_flow_channels(p);
    plan_2018_channels(p);
    plan_kafka_sinks(p);
    plan_kafka_source_channels(p);
    plan_rabbitmq_source_channels(p);
    plan_messaging_subscriptions(p);
    plan_flow_subscriptions(p);
    plan_2018_subscriptions(p);
    plan_github_sources(p);
    plan_ping_sources(p);
    plan_api_server_sources(p);
    plan_pubsub_sources(p);
    plan_sink_bindings(p);
    plan_container_sources(p);
    plan_kafka_sources(p);
    plan_rabbitmq_sources(p);
    plan_feeds(p);
    plan_unready(p);
    plan_messaging_statuses(p);
    plan_broker_statuses(p);
    plan_event_types(p);
    plan_not_run(p);
    plan_2018_statuses(p);
    plan_feed_statuses(p);
    plan_triggers(p); /* they may depend on the condition of any other object */
    if (p->plan->subscription_count > 1)
        qsort(p->plan->subscriptions, p->plan->subscription_count, sizeof *p->plan->subscriptions, by_channel);
}

enum err plan_compile(struct resource_table *t, const struct plan_options *options, struct plan **out)
{
    struct plan *plan = calloc(1, sizeof *plan);
    struct arena *arena = arena_new();
    if (!plan || !arena) {
        free(plan);
        arena_free(arena);
        return ERR_NOMEM;
    }
    plan->refs = 1;
    plan->arena = arena;
    plan->number = ++t->plans;
    struct planner p = {.table = t, .options = options, .arena = arena, .plan = plan};
    map_init(&p.channels, PLAN_NAMES_MAX);
    map_init(&p.paths, PLAN_NAMES_MAX);
    map_init(&p.hosts, PLAN_NAMES_MAX);
    map_init(&p.topics, PLAN_NAMES_MAX);
    map_init(&p.used, PLAN_NAMES_MAX);
    compile(&p);
    fit(&p);
    planner_fini(&p);
    if (p.nomem) {
        plan_unref(plan);
        return ERR_NOMEM;
    }
    struct diag d = {0};
    enum err e = resource_planned_keep(t, &d);
    if (e != OK) /* the next plan tries again */
        log_line(LOG_WARN, "plan.keep", "error=%s text=%s", err_name(e), log_value(d.text));
    *out = plan;
    return OK;
}

struct plan *plan_ref(struct plan *p)
{
    unsigned before = __atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
    assert(before > 0);
    return p;
}

struct plan *plan_unref(struct plan *p)
{
    if (!p || __atomic_fetch_sub(&p->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return NULL;
    for (size_t i = 0; i < p->subscription_count; i++)
        filter_unref(p->subscriptions[i].filter);
    for (size_t i = 0; i < p->source_count; i++)
        filter_unref(p->sources[i].spec.filter);
    free(p->buses);
    free(p->channels);
    free(p->subscriptions);
    free(p->sources);
    free(p->unready);
    arena_free(p->arena);
    free(p);
    return NULL;
}
