/* SPDX-License-Identifier: Apache-2.0
 *
 * RabbitMQ as Knative's RabbitMQ components have it described, and the exchanges and queues that are made there: what a
 * RabbitmqBrokerConfig, its Secret and annotations say becomes parameters of a bus (rabbitmq_client.h) and of its
 * channels and subscriptions (channels/rabbitmq/rabbitmq.h).
 *
 *     Broker, Trigger             b.NS.NAME, t.NS.NAME.CURSOR
 *     Channel, Subscription       c.NS.NAME, s.NS.NAME.CURSOR
 *     2018                        NS.NAME, BUS.NS.NAME.CURSOR
 *
 * A queue's name has the cursor in it: one that is made anew under the name of another, while that one goes, is another
 * queue. Annotations name others (leat.dev/rabbitmq-...).
 */
#include "rabbitmq_secret.h"
#include "text.h"

#define CONFIG "RabbitmqBrokerConfig"

static const cJSON *spec_of(const struct resource *r)
{
    return json_object(r->object, "spec");
}

static bool is_kind(const struct resource *r, const char *group, const char *kind)
{
    return strcmp(r->kind->kind, kind) == 0 && strcmp(r->kind->group, group) == 0;
}

/* ---- Broker ---- */

struct config {
    const char *kind, *ns, *name; /* name NULL: it names none */
};

static struct config config_of(const struct resource *r)
{
    const cJSON *config = json_object(spec_of(r), "config");
    const char *kind = json_text(config, "kind"), *ns = json_text(config, "namespace");
    return (struct config){kind ? kind : "", ns && *ns ? ns : r->namespace_name, json_text(config, "name")};
}

static const cJSON *config_spec(struct planner *p, const struct config *c)
{
    const struct resource *r =
        strcmp(c->kind, CONFIG) == 0 && c->name ? plan_get(p, "eventing.knative.dev", CONFIG, c->ns, c->name) : NULL;
    return r ? spec_of(r) : NULL;
}

/* The parameters that the config comes to; false with *why. */
static bool read_config(struct planner *p, const struct config *c, struct cluster_params *params, struct why *why)
{
    const char *ignored;
    if (strcmp(c->kind, "RabbitmqCluster") == 0) {
        cJSON *reference = cJSON_CreateObject();
        put_text(p, reference, "name", c->name);
        bool good = rabbitmq_cluster(p, c->ns, reference, NULL, params, &ignored, why);
        cJSON_Delete(reference);
        return good;
    }
    if (strcmp(c->kind, CONFIG) != 0) {
        *why = why_of(p, "ConfigKindNotSupported",
                      "spec.config names a %s; a Broker of the class " BROKER_CLASS_RABBITMQ
                      " is described by a " CONFIG " of eventing.knative.dev/v1alpha1",
                      c->kind);
        return false;
    }
    const cJSON *spec = config_spec(p, c);
    if (!spec) {
        *why = why_of(p, "ConfigNotFound", CONFIG " %s/%s is not declared", c->ns, c->name);
        return false;
    }
    if (rabbitmq_cluster(p, c->ns, json_object(spec, "rabbitmqClusterReference"), json_text(spec, "vhost"), params,
                         &ignored, why))
        return true;
    *why = why_of(p, why->reason, CONFIG " %s/%s: %s", c->ns, c->name, why->message);
    return false;
}

bool plan_rabbitmq_broker_bus(struct planner *p, const struct resource *r, size_t *bus, struct why *why)
{
    const struct config c = config_of(r);
    struct cluster_params params = {0};
    if (c.name) {
        bool good = read_config(p, &c, &params, why);
        return plan_cluster_bus(p, "rabbitmq", plan_text(p, "rabbitmq/%s/%s/%s", c.kind, c.ns, c.name), &params, good,
                                bus, why);
    }
    if (plan_default_bus(p, "rabbitmq", bus))
        return true;
    *why = why_of(p, "ConfigMissing",
                  "spec.config names nothing that says where RabbitMQ is: name a " CONFIG
                  ", or start leat serve with --bus rabbitmq,url=amqp://HOST");
    return plan_cluster_bus(p, "rabbitmq", "rabbitmq", &params, false, bus, why); /* for what ran there before */
}

void plan_rabbitmq_broker_exchange(struct planner *p, struct channel_plan *c)
{
    const struct config config = config_of(c->resource);
    const char *type = json_text(config_spec(p, &config), "queueType");
    if (type)
        plan_channel_param_default(p, c, "queue.type", type);
}

/* ---- names ---- */

const char *plan_rabbitmq_exchange_name(struct planner *p, const struct resource *r, const struct channel_form *form,
                                        bool *external)
{
    const char *theirs = annotation(r->object, ANNOTATION_RABBITMQ_EXTERNAL_EXCHANGE),
               *ours = annotation(r->object, ANNOTATION_RABBITMQ_EXCHANGE), *ns = r->namespace_name;
    *external = theirs != NULL;
    if (form->takes_nothing) /* a queue that is there without leat */
        return NULL;
    if (theirs || ours)
        return plan_copy(p, theirs ? theirs : ours);
    if (form->broker)
        return plan_text(p, "b.%s.%s", ns, r->name);
    if (strcmp(r->kind->group, "channels.knative.dev") == 0 || is_kind(r, FLOWS, "Flow"))
        return plan_text(p, "%s.%s", ns, r->name);
    return plan_text(p, "c.%s.%s", ns, form->part.name ? form->part.name : r->name);
}

#define NAME_SHOWN 100 /* of an object's name: a queue's must fit in 255 bytes, and the cursor makes it unique */

const char *plan_rabbitmq_queue_name(struct planner *p, const struct resource *r, const struct channel_plan *channel,
                                     const struct plan_subscription *s)
{
    const char *head = is_kind(r, "eventing.knative.dev", "Trigger") ? "t" : "s";
    if (channel->bus_of_2018 && strcmp(r->kind->group, "messaging.knative.dev") != 0)
        head = channel->bus_of_2018;
    return plan_text(p, "%.63s.%.63s.%.*s.%s", head, r->namespace_name, NAME_SHOWN, s->name, s->cursor);
}

/* ---- annotations ---- */

void plan_rabbitmq_annotations(struct planner *p, struct channel_plan *c, const struct resource *r)
{
    enum { STREAM = 4 };
    static const char *const params[][2] = {{ANNOTATION_PARTITIONS, "partitions"},
                                            {ANNOTATION_RABBITMQ_QUEUE_TYPE, "queue.type"},
                                            {ANNOTATION_RABBITMQ_MODE, "mode"},
                                            {ANNOTATION_RABBITMQ_BARE_HEADERS, "bare"},
                                            {ANNOTATION_RABBITMQ_STREAM, "stream"},
                                            {ANNOTATION_RETENTION_AGE, "retention-age"},
                                            {ANNOTATION_RETENTION_BYTES, "retention-bytes"}};
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        const char *value = annotation(r->object, params[i][0]);
        if (value)
            plan_channel_param_default(p, c, params[i][1], value);
        if (value && i >= STREAM) /* what is parked of it is kept likewise */
            plan_parked_param(p, c, params[i][1], value);
    }
}

unsigned plan_rabbitmq_parallelism(const struct resource *r)
{
    const char *text = annotation(r->object, ANNOTATION_PARALLELISM);
    uint64_t n = 0;
    return text && decimal_parse(slice_str(text), RABBITMQ_PARALLELISM_MAX, &n) == OK ? (unsigned)n : 0;
}

/* ---- what statuses say ---- */

void put_rabbitmq_conditions(struct planner *p, cJSON *status, const struct channel_plan *c)
{
    static const struct why no_need = {"NotNeeded", "leat delivers dead letters itself, without an exchange"};
    bool taken = !c->ready && strcmp(c->why.reason, REASON_EXCHANGE_TAKEN) == 0, known = c->ready || taken;
    const struct why *why = c->ready ? NULL : &c->why;
    put_condition(p, status, "SecretReady", known, known ? NULL : why);
    if (known)
        put_condition(p, status, "ExchangeReady", c->ready, why);
    else
        put_unknown(p, status, "ExchangeReady", "NotReachable",
                    c->planned ? "it stays as it was until its configuration can be read again"
                               : "it is made when its configuration can be read");
    put_condition(p, status, "DLXReady", true, &no_need);
    put_condition(p, status, "IngressReady", c->ready, why);
    put_condition(p, status, "Addressable", c->ready, why);
}
