/* SPDX-License-Identifier: Apache-2.0
 *
 * RabbitmqSource of sources.knative.dev: a channel that is somebody's queue, which takes nothing from outside, and a
 * subscription to it that sends to the sink. So retries, pauses and parked events are those of every subscription;
 * parked events lie on the default bus, not in somebody's RabbitMQ.
 */
#include "rabbitmq_secret.h"

#define GROUP "sources.knative.dev"

static const cJSON *spec_of(const struct resource *r)
{
    return json_object(r->object, "spec");
}

static const cJSON *resources_of(const struct resource *r)
{
    return json_object(spec_of(r), "rabbitmqResourcesConfig");
}

/* ---- its channel ---- */

static bool source_bus(struct planner *p, const struct resource *r, size_t *bus, struct why *why)
{
    struct cluster_params params = {0};
    const char *who;
    bool good = rabbitmq_cluster(p, r->namespace_name, json_object(spec_of(r), "rabbitmqClusterReference"),
                                 json_text(resources_of(r), "vhost"), &params, &who, why);
    return plan_cluster_bus(p, "rabbitmq", plan_text(p, "rabbitmq/%s", who), &params, good, bus, why);
}

static void add_channel(struct planner *p, const struct resource *r)
{
    static const struct channel_form form = {.room = "rabbitmqsources", .takes_nothing = true};
    const cJSON *resources = resources_of(r);
    const char *queue = json_text(resources, "queueName"), *exchange = json_text(resources, "exchangeName"),
               *type = annotation(r->object, ANNOTATION_RABBITMQ_QUEUE_TYPE);
    bool predeclared = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(resources, "predeclared"));
    struct why why = {0};
    size_t bus = 0;
    bool good = source_bus(p, r, &bus, &why);
    struct channel_plan *c = plan_channel_add(p, r, good ? NULL : &why, bus, &form);
    if (!c || !c->planned)
        return;
    c->is_queue = true;
    plan_channel_param(p, c, "queue", queue);
    if (predeclared)
        plan_channel_param(p, c, "queue.external", "true");
    else if (exchange)
        plan_channel_param(p, c, "exchange", exchange);
    if (!predeclared && type)
        plan_channel_param_default(p, c, "queue.type", type);
    plan_channel_param(p, c, "record.source",
                       plan_text(p, "/apis/v1/namespaces/%s/rabbitmqsources/%s", r->namespace_name, r->name));
    cluster_source_overrides(p, r, c);
}

void plan_rabbitmq_source_channels(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "RabbitmqSource", &cursor));)
        add_channel(p, r);
}

/* ---- its subscription ---- */

static void subscribe(struct planner *p, const struct resource *r, const struct channel_plan *c, bool good,
                      const struct plan_target *sink, const struct plan_target *dead)
{
    const cJSON *parallelism = cJSON_GetObjectItemCaseSensitive(resources_of(r), "parallelism");
    struct plan_subscription *s = cluster_source_subscribe(p, r, c, good, sink, dead);
    if (!s)
        return;
    s->in_flight_max = cJSON_IsNumber(parallelism) && parallelism->valueint > 0 ? (unsigned)parallelism->valueint : 1;
    plan_subscription_annotations(p, s, r, r);
}

/* ---- its status ---- */

static void put_attributes(struct planner *p, cJSON *status, const struct resource *r)
{
    const char *queue = json_text(resources_of(r), "queueName");
    cJSON *entry = put_element(p, put_array(p, status, "ceAttributes"));
    put_text(p, entry, "type", "dev.knative.rabbitmq.event");
    put_text(p, entry, "source",
             plan_text(p, "/apis/v1/namespaces/%s/rabbitmqsources/%s#%s", r->namespace_name, r->name, queue));
}

static void one(struct planner *p, const struct resource *r)
{
    struct channel_plan *c = map_get(&p->channels, slice_str(plan_key(p, r)));
    struct plan_target sink = {.kind = PLAN_TARGET_NONE}, dead = {.kind = PLAN_TARGET_NONE};
    struct why why = {0}, order_why = {0};
    if (!c) {
        p->nomem = true;
        return;
    }
    cJSON *status = cJSON_CreateObject();
    bool resolved = cluster_source_resolve(p, r, &sink, &dead, &why),
         possible = plan_order_possible(p, r, r, &order_why);
    if (!possible)
        order_why =
            why_of(p, order_why.reason,
                   "a RabbitmqSource keeps the order of its queue with parallelism: 1, without " ANNOTATION_ORDER);
    subscribe(p, r, c, resolved && c->ready && possible, &sink, &dead);
    put_condition(p, status, "SinkProvided", resolved, resolved ? NULL : &why);
    put_condition(p, status, "Deployed", true, NULL); /* leat is */
    put_condition(p, status, "SecretReady", c->ready, c->ready ? NULL : &c->why);
    if (!c->ready)
        put_unknown(p, status, "ExchangeReady", "NotReachable", "it is looked for when it is known where RabbitMQ is");
    else
        put_condition(p, status, "ExchangeReady", possible, possible ? NULL : &order_why);
    put_text(p, status, "sinkUri", sink.url);
    put_attributes(p, status, r);
    put_remarks(p, status, r, c);
    put_status(p, r, status);
}

void plan_rabbitmq_sources(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "RabbitmqSource", &cursor));)
        one(p, r);
}
