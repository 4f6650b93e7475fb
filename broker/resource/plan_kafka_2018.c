/* SPDX-License-Identifier: Apache-2.0
 *
 * The Bus and ClusterBus kafka of 2018: its cluster is in the environment of its containers, as a value or by a key of
 * a ConfigMap or Secret. (KAFKA_BROKERS came first, KAFKA_BOOTSTRAP_SERVERS in August 2018.)
 */
#include "kafka_secret.h"
#include "plan_2018.h"
#include "text.h"

const char *plan_kafka_2018_servers(struct planner *p, const struct resource *r, struct why *why)
{
    static const char *const names[] = {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS", NULL};
    const char *value = bus_2018_variable(p, r, names, why);
    if (value)
        return value;
    if (!why->reason)
        *why = why_of(p, "ServersMissing",
                      "%s %s: the environment of its dispatcher has no KAFKA_BOOTSTRAP_SERVERS; write the cluster's "
                      "addresses there",
                      r->kind->kind, r->name);
    return NULL;
}

bool plan_kafka_2018_bus(struct planner *p, const char *key, const struct resource *r, size_t *bus, struct why *why)
{
    struct cluster_params params = {0};
    const char *servers = plan_kafka_2018_servers(p, r, why);
    if (servers)
        cluster_param(p, &params, "bootstrap.servers", servers);
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
