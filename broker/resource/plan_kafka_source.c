/* SPDX-License-Identifier: Apache-2.0
 *
 * KafkaSource of sources.knative.dev: a channel whose topics are somebody else's, which takes nothing from outside, and
 * a subscription to it that sends to the sink. So retries, order, pauses, replays and parked events are those of every
 * subscription; parked events lie on the default bus, not in somebody's Kafka.
 */
#include "kafka_secret.h"

#define GROUP "sources.knative.dev"
#define LABEL_KEY_TYPE "kafkasources.sources.knative.dev/key-type"

static const cJSON *spec_of(const struct resource *r)
{
    return json_object(r->object, "spec");
}

/* ---- the cluster ---- */

/* spec.net under way. All of it is walked, whatever is missing: `who`, which tells sources with other credentials
 * apart, names every key, so that the bus stays the same one when a Secret is gone for a while. */
struct net {
    struct planner *planner;
    const struct resource *resource;
    struct cluster_params params;
    const char *who;
    struct why *why;
    bool good;
};

static bool enabled(const cJSON *of)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(of, "enable"));
}

/* One secretKeyRef as a parameter; false when none is there. */
static bool credential(struct net *n, const cJSON *of, const char *field, const char *name)
{
    const cJSON *ref = json_object(json_object(of, field), "secretKeyRef");
    const char *secret = json_text(ref, "name"), *key = json_text(ref, "key");
    struct why why;
    if (!secret || !key)
        return false;
    n->who = plan_text(n->planner, "%s/%s=%s:%s", n->who, field, secret, key);
    const char *value = secret_value(n->planner, n->resource->namespace_name, secret, key, &why);
    if (value && *value)
        cluster_param(n->planner, &n->params, name, value);
    else if (!value && !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(ref, "optional")) && n->good) {
        *n->why = why_of(n->planner, why.reason, "spec.net: %s: %s", field, why.message);
        n->good = false;
    }
    return true;
}

static void sasl(struct net *n, const cJSON *of)
{
    if (json_object(json_object(of, "tokenProvider"), "secretKeyRef") && n->good) {
        *n->why = why_of(n->planner, "TokenProviderNotBuiltIn",
                         "spec.net.sasl: token providers are not in this build; use a user and a password");
        n->good = false;
    }
    if (!credential(n, of, "type", "sasl.mechanism"))
        cluster_param(n->planner, &n->params, "sasl.mechanism", "PLAIN");
    credential(n, of, "user", "sasl.username");
    credential(n, of, "password", "sasl.password");
}

static bool source_bus(struct planner *p, const struct resource *r, size_t *bus, struct why *why)
{
    static const char *const protocols[2][2] = {{"PLAINTEXT", "SSL"}, {"SASL_PLAINTEXT", "SASL_SSL"}};
    const cJSON *net = json_object(spec_of(r), "net"), *tls = json_object(net, "tls"), *auth = json_object(net, "sasl");
    bool known = enabled(auth), encrypted = enabled(tls);
    struct net n = {.planner = p, .resource = r, .who = "", .why = why, .good = true};
    if (known || encrypted) {
        n.who = plan_text(p, "/%s", r->namespace_name);
        cluster_param(p, &n.params, "security.protocol", protocols[known][encrypted]);
    }
    if (known)
        sasl(&n, auth);
    if (encrypted) {
        credential(&n, tls, "caCert", "ssl.ca");
        credential(&n, tls, "cert", "ssl.certificate");
        credential(&n, tls, "key", "ssl.key");
    }
    return plan_kafka_servers_bus(p, cJSON_GetObjectItemCaseSensitive(spec_of(r), "bootstrapServers"), n.who, &n.params,
                                  n.good, bus, why);
}

/* ---- its channel ---- */

/* NULL: the label has no value that is known. */
static const char *key_type(const struct resource *r)
{
    static const char *const types[] = {"string", "int", "float", "byte-array"};
    const char *type = json_text(json_object(json_object(r->object, "metadata"), "labels"), LABEL_KEY_TYPE);
    if (!type)
        return types[0];
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i], type) == 0)
            return types[i];
    return NULL;
}

static struct channel_plan *add_channel(struct planner *p, const struct resource *r, struct why *why)
{
    const cJSON *each;
    const char *topics = "", *type = key_type(r);
    size_t bus = 0;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(spec_of(r), "topics"))
        topics = plan_text(p, "%s%s%s", topics, *topics ? "," : "", each->valuestring);
    const struct channel_form form = {
        .room = "kafkasources", .topic = topics, .topic_external = true, .takes_nothing = true};
    bool good = source_bus(p, r, &bus, why);
    struct channel_plan *c = plan_channel_add(p, r, good ? NULL : why, bus, &form);
    if (!c || !c->planned)
        return c;
    plan_channel_param(p, c, "record.source",
                       plan_text(p, "/apis/v1/namespaces/%s/kafkasources/%s", r->namespace_name, r->name));
    plan_channel_param(p, c, "record.key", type ? type : "byte-array");
    cluster_source_overrides(p, r, c);
    return c;
}

void plan_kafka_source_channels(struct planner *p)
{
    size_t cursor = 0;
    struct why why;
    for (const struct resource *r; (r = plan_next(p, GROUP, "KafkaSource", &cursor));)
        add_channel(p, r, &why);
}

/* ---- its subscription ---- */

static bool wants_none(const struct resource *r)
{
    const cJSON *consumers = cJSON_GetObjectItemCaseSensitive(spec_of(r), "consumers");
    return cJSON_IsNumber(consumers) && consumers->valueint == 0;
}

static const struct plan_subscription *subscribe(struct planner *p, const struct resource *r,
                                                 const struct channel_plan *c, bool good,
                                                 const struct plan_target *sink, const struct plan_target *dead)
{
    const char *start = json_text(spec_of(r), "initialOffset");
    struct plan_subscription *s = cluster_source_subscribe(p, r, c, good, sink, dead);
    if (!s)
        return NULL;
    if (start && strcmp(start, "earliest") == 0)
        s->start.kind = BUS_START_EARLIEST;
    plan_subscription_annotations(p, s, r, r);
    s->paused = s->paused || wants_none(r);
    return s;
}

/* ---- its status ---- */

static void put_attributes(struct planner *p, cJSON *status, const struct resource *r)
{
    const cJSON *each;
    cJSON *list = put_array(p, status, "ceAttributes");
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(spec_of(r), "topics")) {
        cJSON *entry = put_element(p, list);
        put_text(p, entry, "type", "dev.knative.kafka.event");
        put_text(
            p, entry, "source",
            plan_text(p, "/apis/v1/namespaces/%s/kafkasources/%s#%s", r->namespace_name, r->name, each->valuestring));
    }
}

/* Deployed: leat is. What was asked for and is done in another way is said with it. */
static void put_deployed(struct planner *p, cJSON *status, const struct resource *r)
{
    static const struct why one = {
        "OneConsumerAProcess", "spec.consumers is not counted: each process of leat is one member of the group, and "
                               "delivers with as many threads as it has"};
    const cJSON *consumers = cJSON_GetObjectItemCaseSensitive(spec_of(r), "consumers");
    put_condition(p, status, "Deployed", true, cJSON_IsNumber(consumers) && consumers->valueint > 1 ? &one : NULL);
    if (status && !cJSON_AddNumberToObject(status, "consumers", wants_none(r) ? 0 : 1))
        p->nomem = true;
}

static void one(struct planner *p, const struct resource *r)
{
    static const struct why none = {"NoConsumers",
                                    "spec.consumers is 0: deliveries are held back, and Kafka keeps the records"},
                            bad_key = {"KeyTypeUnknown", "the label " LABEL_KEY_TYPE
                                                         " must be string, int, float or byte-array; keys are taken as "
                                                         "byte-array"};
    struct channel_plan *c = map_get(&p->channels, slice_str(plan_key(p, r)));
    struct plan_target sink = {.kind = PLAN_TARGET_NONE}, dead = {.kind = PLAN_TARGET_NONE};
    struct why why = {0};
    if (!c) {
        p->nomem = true;
        return;
    }
    cJSON *status = cJSON_CreateObject();
    bool resolved = cluster_source_resolve(p, r, &sink, &dead, &why), good = resolved && c->ready;
    struct why order_why = {0};
    bool possible = plan_order_possible(p, r, r, &order_why);
    if (!possible) /* its topics are not leat's to be made of one partition */
        order_why = why_of(p, order_why.reason,
                           "a KafkaSource cannot keep the order strict; " ANNOTATION_ORDER
                           ": key keeps that of each record key");
    const struct plan_subscription *s = subscribe(p, r, c, good && possible, &sink, &dead);
    put_condition(p, status, "SinkProvided", resolved, resolved ? NULL : &why);
    put_deployed(p, status, r);
    put_condition(p, status, "KeyTypeCorrect", key_type(r) != NULL, key_type(r) ? NULL : &bad_key);
    put_condition(p, status, "ConnectionEstablished", c->ready && possible,
                  !c->ready  ? &c->why
                  : possible ? NULL
                             : &order_why);
    if (s)
        put_condition(p, status, "InitialOffsetsCommitted", true, NULL);
    else
        put_unknown(p, status, "InitialOffsetsCommitted", "NotResolved",
                    "it joins its group when everything it names is there");
    put_identity(p, status);
    put_text(p, status, "sinkUri", sink.url);
    put_attributes(p, status, r);
    put_subscription_place(p, status, s);
    if (wants_none(r))
        put_condition(p, status, CONDITION_DELIVERING, false, &none);
    put_remarks(p, status, r, c);
    put_status(p, r, status);
}

void plan_kafka_sources(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "KafkaSource", &cursor));)
        one(p, r);
}
