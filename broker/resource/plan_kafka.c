/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters of Kafka as Knative's Kafka components have them described, and the topics that are made there: ConfigMaps
 * and Secrets become the parameters of a bus (channels/kafka/kafka.h, kafka_client.h), specs those of its channels.
 */
#include "planner.h"

#include <stdlib.h>

#include "kafka_secret.h"
#include "text.h"

#define SYSTEM "knative-eventing" /* the namespace of Knative's own configuration */

bool plan_kafka_bus(struct planner *p, const char *key, const struct cluster_params *params, bool good, size_t *bus,
                    struct why *why)
{
    return plan_cluster_bus(p, "kafka", key, params, good, bus, why);
}

/* ---- ConfigMaps ---- */

static const cJSON *config_data(struct planner *p, const char *ns, const char *name)
{
    const struct resource *r = plan_get(p, "", "ConfigMap", ns, name);
    return r ? json_object(r->object, "data") : NULL;
}

/* The cluster that this ConfigMap describes, with the Secret that it names: *bus, of a key that depends on the
 * ConfigMap's name alone. false with *why; *bus is set all the same, without parameters, for what ran there before. */
static bool config_map(struct planner *p, const char *ns, const char *name, size_t *bus, struct why *why)
{
    const cJSON *data = config_data(p, ns, name);
    const char *servers = json_text(data, "bootstrap.servers"), *secret = json_text(data, "auth.secret.ref.name"),
               *secret_ns = json_text(data, "auth.secret.ref.namespace");
    struct cluster_params params = {0};
    bool good = servers && *servers;
    if (!good && !plan_get(p, "", "ConfigMap", ns, name))
        *why = why_of(p, "ConfigMapNotFound", "ConfigMap %s/%s is not declared", ns, name);
    else if (!good)
        *why = why_of(p, "ConfigMapIncomplete",
                      "ConfigMap %s/%s has no bootstrap.servers; write the cluster's addresses there, such as "
                      "kafka.example:9092",
                      ns, name);
    if (good) {
        cluster_param(p, &params, "bootstrap.servers", servers);
        if (secret && *secret)
            good = kafka_secret(p, secret_ns && *secret_ns ? secret_ns : ns, secret, &params, why);
    }
    return plan_kafka_bus(p, plan_text(p, "kafka/ConfigMap/%s/%s", ns, name), &params, good, bus, why);
}

/* ---- topics ---- */

void plan_kafka_annotations(struct planner *p, struct channel_plan *c, const struct resource *r)
{
    const char *age = annotation(r->object, ANNOTATION_RETENTION_AGE),
               *bytes = annotation(r->object, ANNOTATION_RETENTION_BYTES),
               *partitions = annotation(r->object, ANNOTATION_PARTITIONS);
    uint64_t n;
    if (partitions) {
        plan_channel_param_default(p, c, "partitions", partitions);
        plan_channel_param_default(p, c, "topic.partitions", partitions);
    }
    if (age)
        plan_channel_param_default(p, c, "topic.retention", age);
    if (bytes && bytes_parse(slice_str(bytes), &n, NULL) == OK)
        plan_channel_param_default(p, c, "topic.config.retention.bytes", plan_text(p, "%llu", (unsigned long long)n));
}

/* ---- KafkaChannel ---- */

bool plan_kafka_channel_bus(struct planner *p, size_t *bus, struct why *why)
{
    static const char *const names[] = {"kafka-channel-config", "config-kafka"}; /* today's; an older one's */
    for (size_t i = 0; i < 2; i++)
        if (plan_get(p, "", "ConfigMap", SYSTEM, names[i]))
            return config_map(p, SYSTEM, names[i], bus, why);
    if (plan_default_bus(p, "kafka", bus))
        return true;
    config_map(p, SYSTEM, names[0], bus, why); /* for what ran there before */
    *why = why_of(p, "ConfigMapNotFound",
                  "no cluster is known: declare the ConfigMap %s in the namespace " SYSTEM
                  " with bootstrap.servers, or start leat serve with --bus kafka,bootstrap.servers=HOST:PORT",
                  names[0]);
    return false;
}

static void number_param(struct planner *p, struct channel_plan *c, const cJSON *spec, const char *field,
                         const char *name, int otherwise)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(spec, field);
    plan_channel_param_default(p, c, name, plan_text(p, "%d", cJSON_IsNumber(n) ? n->valueint : otherwise));
}

void plan_kafka_channel_topic(struct planner *p, struct channel_plan *c, const cJSON *spec)
{
    const char *retention = json_text(spec, "retentionDuration");
    number_param(p, c, spec, "numPartitions", "topic.partitions", 1);
    number_param(p, c, spec, "replicationFactor", "topic.replication", 1);
    plan_channel_param_default(p, c, "topic.retention", retention && *retention ? retention : "PT168H");
}

/* ---- Broker ---- */

struct config_ref {
    const char *ns, *name;
};

static struct config_ref broker_config(const struct resource *r)
{
    const cJSON *config = json_object(json_object(r->object, "spec"), "config");
    const char *ns = json_text(config, "namespace"), *name = json_text(config, "name");
    if (!config || !name)
        return (struct config_ref){SYSTEM, "kafka-broker-config"};
    return (struct config_ref){ns && *ns ? ns : r->namespace_name, name};
}

/* A whole number under this key; what is given and is none, *why and false. */
static bool whole(struct planner *p, const struct config_ref *at, const cJSON *data, const char *key, uint64_t most,
                  struct why *why)
{
    const char *text = json_text(data, key);
    uint64_t n = 0;
    if (!text || (decimal_parse(slice_trim(slice_str(text)), most, &n) == OK && n > 0))
        return true;
    *why = why_of(p, "InvalidParameters", "ConfigMap %s/%s: %s must be a whole number from 1 to %u (it is \"%.60s\")",
                  at->ns, at->name, key, (unsigned)most, text);
    return false;
}

bool plan_kafka_broker_bus(struct planner *p, const struct resource *r, size_t *bus, struct why *why)
{
    const struct config_ref at = broker_config(r);
    const cJSON *config = json_object(json_object(r->object, "spec"), "config"), *data;
    const char *kind = json_text(config, "kind");
    if (kind && strcmp(kind, "ConfigMap") != 0) {
        *bus = 0;
        *why = why_of(p, "ConfigKindNotSupported",
                      "spec.config names a %s; a Broker of the class Kafka is described by a ConfigMap", kind);
        return false;
    }
    if (!config && !plan_get(p, "", "ConfigMap", at.ns, at.name) && plan_default_bus(p, "kafka", bus))
        return true;
    data = config_data(p, at.ns, at.name);
    return config_map(p, at.ns, at.name, bus, why) &&
           whole(p, &at, data, "default.topic.partitions", KAFKA_PARTITIONS_TOP, why) &&
           whole(p, &at, data, "default.topic.replication.factor", INT16_MAX, why);
}

void plan_kafka_broker_topic(struct planner *p, struct channel_plan *c)
{
    static const char prefix[] = "default.topic.config.";
    const struct config_ref at = broker_config(c->resource);
    const cJSON *data = config_data(p, at.ns, at.name), *each;
    const char *partitions = json_text(data, "default.topic.partitions"),
               *replication = json_text(data, "default.topic.replication.factor");
    if (partitions)
        plan_channel_param_default(p, c, "topic.partitions", plan_text(p, "%d", atoi(partitions)));
    if (replication)
        plan_channel_param_default(p, c, "topic.replication", plan_text(p, "%d", atoi(replication)));
    cJSON_ArrayForEach(each, data)
        if (strncmp(each->string, prefix, sizeof prefix - 1) == 0 && cJSON_IsString(each))
            plan_channel_param_default(p, c, plan_text(p, "topic.config.%s", each->string + sizeof prefix - 1),
                                       each->valuestring);
}
