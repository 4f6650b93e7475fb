/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of RabbitMQ's kinds that schemas cannot say.
 */
#include "annotations.h"
#include "rules.h"
#include "text.h"

/* Either a RabbitmqCluster or a Secret; its namespace is written down, as Knative's admission does. */
static void check_cluster(struct check *c, cJSON *spec)
{
    size_t before, inner;
    cJSON *reference = rule_enter(c, spec, "rabbitmqClusterReference", &before), *name = rule_member(reference, "name"),
          *secret = rule_enter(c, reference, "connectionSecret", &inner);
    if (name && secret)
        check_error_key(c, secret, "name and connectionSecret exclude each other; leave one out");
    path_up(c, inner);
    if (cJSON_IsObject(reference) && !name && !secret)
        check_error_key(c, reference,
                        "needs connectionSecret, a Secret with username, password and uri; or name, that "
                        "of a RabbitmqCluster");
    rule_default(c, reference, "namespace", c->own_namespace);
    path_up(c, before);
}

void rule_rabbitmq_broker_config(struct check *c, cJSON *object)
{
    size_t before;
    check_cluster(c, rule_enter(c, object, "spec", &before));
    path_up(c, before);
}

static void check_resources(struct check *c, cJSON *spec)
{
    size_t before, inner;
    cJSON *resources = rule_enter(c, spec, "rabbitmqResourcesConfig", &before);
    rule_enter(c, resources, "exchangeName", &inner);
    if (cJSON_IsObject(resources) && !cJSON_IsTrue(rule_member(resources, "predeclared")) &&
        !rule_member(resources, "exchangeName"))
        check_error_key(c, resources,
                        "is missing: the exchange that the queue is bound to; or, when the queue is there "
                        "already, predeclared: true");
    path_up(c, inner);
    path_up(c, before);
}

void rule_rabbitmq_source(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    check_cluster(c, spec);
    check_resources(c, spec);
    check_destination_at(c, spec, "sink");
    check_delivery(c, spec);
    check_overrides(c, spec);
    check_extensions(c, spec);
    path_up(c, before);
}

void check_parallelism(struct check *c, cJSON *object)
{
    size_t before, inner, deepest;
    uint64_t n = 0;
    cJSON *annotations = rule_member(rule_enter(c, object, "metadata", &before), "annotations");
    inner = path_down(c, "annotations");
    const cJSON *node = rule_enter(c, annotations, ANNOTATION_PARALLELISM, &deepest);
    if (cJSON_IsString(node) &&
        (decimal_parse(slice_str(node->valuestring), RABBITMQ_PARALLELISM_MAX, &n) != OK || n == 0))
        check_error(c, node, "must be a whole number from 1 to %d (it is \"%.60s\")", RABBITMQ_PARALLELISM_MAX,
                    node->valuestring);
    path_up(c, deepest);
    path_up(c, inner);
    path_up(c, before);
}
