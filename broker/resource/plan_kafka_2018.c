/* SPDX-License-Identifier: Apache-2.0
 *
 * The Bus and ClusterBus kafka of 2018: its cluster is in the environment of its containers, as a value or by a key of
 * a ConfigMap or Secret. (KAFKA_BROKERS came first, KAFKA_BOOTSTRAP_SERVERS in August 2018.)
 */
#include "kafka_secret.h"
#include "plan_2018.h"
#include "text.h"

#include <stdlib.h>

/* ClusterBuses lie in no namespace: what they name lies in Knative's own, else in the first that has it. */
static const struct resource *find(struct planner *p, const char *kind, const char *ns, const char *name)
{
    size_t cursor = 0;
    const struct resource *r = plan_get(p, "", kind, *ns ? ns : "knative-eventing", name);
    if (r || *ns)
        return r;
    while ((r = plan_next(p, "", kind, &cursor)))
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

static const char *value_from(struct planner *p, const char *ns, const cJSON *from, struct why *why)
{
    const cJSON *config = json_object(from, "configMapKeyRef"), *secret = json_object(from, "secretKeyRef");
    const char *kind = config ? "ConfigMap" : "Secret", *name = json_text(config ? config : secret, "name"),
               *key = json_text(config ? config : secret, "key");
    const struct resource *r = name && key ? find(p, kind, ns, name) : NULL;
    if (r && secret)
        return secret_value(p, r->namespace_name, name, key, why);
    const char *text = r ? json_text(json_object(r->object, "data"), key) : NULL;
    if (!name || !key)
        *why = why_of(p, "ServersMissing", "valueFrom names no key of a ConfigMap or Secret");
    else if (!r)
        *why = why_of(p, kind[0] == 'C' ? "ConfigMapNotFound" : "SecretNotFound", "%s %s is not declared", kind, name);
    else if (!text)
        *why = why_of(p, "ServersMissing", "%s %s has no key %s", kind, name, key);
    return text;
}

/* The variable's value in this container's environment; NULL with *why when it is there and cannot be read. */
static const char *variable(struct planner *p, const struct resource *r, const char *container, const char *name,
                            struct why *why)
{
    const cJSON *each,
        *env = cJSON_GetObjectItemCaseSensitive(json_object(json_object(r->object, "spec"), container), "env");
    cJSON_ArrayForEach(each, env) {
        const char *n = json_text(each, "name"), *value = json_text(each, "value");
        if (n && strcmp(n, name) == 0)
            return value ? value : value_from(p, r->namespace_name, json_object(each, "valueFrom"), why);
    }
    return NULL;
}

const char *plan_kafka_2018_servers(struct planner *p, const struct resource *r, struct why *why)
{
    static const char *const containers[] = {"dispatcher", "provisioner"}, *const names[] = {"KAFKA_BOOTSTRAP_SERVERS",
                                                                                             "KAFKA_BROKERS"};
    *why = (struct why){0};
    for (size_t i = 0; i < 4 && !why->reason; i++) {
        const char *value = variable(p, r, containers[i / 2], names[i % 2], why);
        if (value && *value)
            return value;
    }
    if (!why->reason)
        *why = why_of(p, "ServersMissing",
                      "the environment of its dispatcher has no KAFKA_BOOTSTRAP_SERVERS; write the cluster's addresses "
                      "there");
    *why = why_of(p, why->reason, "%s %s: %s", r->kind->kind, r->name, why->message);
    return NULL;
}

bool plan_kafka_2018_bus(struct planner *p, const char *key, const struct resource *r, size_t *bus, struct why *why)
{
    struct kafka_params params = {0};
    const char *servers = plan_kafka_2018_servers(p, r, why);
    if (servers)
        kafka_param(p, &params, "bootstrap.servers", servers);
    return plan_kafka_bus(p, key, &params, servers != NULL, bus, why);
}

bool plan_kafka_2018_argument(struct planner *p, const char *name, const char *value, struct why *why)
{
    uint64_t n = 0;
    bool number = strcmp(name, "NumPartitions") == 0;
    if (number ? decimal_parse(slice_str(value), KAFKA_PARTITIONS_TOP, &n) == OK && n > 0
               : strcmp(value, "Oldest") == 0 || strcmp(value, "Newest") == 0)
        return true;
    *why = number ? why_of(p, "ArgumentInvalid", "NumPartitions must be a whole number from 1 to %d (it is \"%.60s\")",
                           KAFKA_PARTITIONS_TOP, value)
                  : why_of(p, "ArgumentInvalid", "initialOffset must be Oldest or Newest (it is \"%.60s\")", value);
    return false;
}
