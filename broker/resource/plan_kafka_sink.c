/* SPDX-License-Identifier: Apache-2.0
 *
 * KafkaSink of eventing.knative.dev: a channel without subscriptions, whose topic is somebody else's unless the object
 * says how it is to be made.
 */
#include "kafka_secret.h"

#define GROUP "eventing.knative.dev"

bool plan_kafka_servers_bus(struct planner *p, const cJSON *servers, const char *who,
                            struct cluster_params *credentials, bool good, size_t *bus, struct why *why)
{
    const char *list = "";
    const cJSON *each;
    struct cluster_params params = {0};
    cJSON_ArrayForEach(each, servers)
        list = plan_text(p, "%s%s%s", list, *list ? "," : "", each->valuestring);
    cluster_param(p, &params, "bootstrap.servers", list);
    for (size_t i = 0; i < credentials->count; i++)
        cluster_param(p, &params, credentials->list[i].name, credentials->list[i].value);
    return plan_kafka_bus(p, plan_text(p, "kafka/%s%s", list, who), &params, good, bus, why);
}

static struct channel_plan *add(struct planner *p, const struct resource *r)
{
    const cJSON *spec = json_object(r->object, "spec"),
                *partitions = cJSON_GetObjectItemCaseSensitive(spec, "numPartitions"),
                *replication = cJSON_GetObjectItemCaseSensitive(spec, "replicationFactor");
    const char *secret = json_text(json_object(json_object(json_object(spec, "auth"), "secret"), "ref"), "name"),
               *mode = json_text(spec, "contentMode"), *who = "";
    const struct channel_form form = {
        .room = "kafkasinks", .topic = json_text(spec, "topic"), .topic_external = !partitions};
    struct cluster_params credentials = {0};
    struct why why = {0};
    size_t bus = 0;
    bool good = true;
    if (secret) {
        who = plan_text(p, "/Secret/%s/%s", r->namespace_name, secret);
        good = kafka_secret(p, r->namespace_name, secret, &credentials, &why);
    }
    good = plan_kafka_servers_bus(p, cJSON_GetObjectItemCaseSensitive(spec, "bootstrapServers"), who, &credentials,
                                  good, &bus, &why);
    struct channel_plan *c = plan_channel_add(p, r, good ? NULL : &why, bus, &form);
    if (!c || !c->planned)
        return c;
    plan_channel_param(p, c, "record.plain", "true");
    plan_channel_param(p, c, "mode", mode ? mode : "binary");
    if (partitions)
        plan_channel_param(p, c, "topic.partitions", plan_text(p, "%d", partitions->valueint));
    if (partitions && replication)
        plan_channel_param(p, c, "topic.replication", plan_text(p, "%d", replication->valueint));
    return c;
}

void plan_kafka_sinks(struct planner *p)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = plan_next(p, GROUP, "KafkaSink", &cursor));) {
        cJSON *status = cJSON_CreateObject();
        const struct channel_plan *c = add(p, r);
        if (!c) {
            cJSON_Delete(status);
            return; /* no memory */
        }
        put_address(p, status, c);
        put_kafka_conditions(p, status, c);
        put_condition(p, status, "DataPlaneAvailable", true, NULL);
        put_policies(p, status);
        put_channel_place(p, status, c);
        put_status(p, r, status);
    }
}
