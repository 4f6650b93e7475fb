/* SPDX-License-Identifier: Apache-2.0
 *
 * The Bus and ClusterBus rabbitmq of 2018. Knative shipped none, so this is what one in that form's manner is: its
 * address is in the environment of its containers (RABBITMQ_URL; and where the URL has none, RABBITMQ_USERNAME,
 * RABBITMQ_PASSWORD, RABBITMQ_VHOST, RABBITMQ_CA), a Channel may set QueueType, a Subscription Parallelism.
 */
#include "cluster.h"
#include "plan_2018.h"
#include "text.h"

/* The environment as parameters; false with *why. */
static bool read_environment(struct planner *p, const struct resource *r, struct cluster_params *params,
                             struct why *why)
{
    static const struct {
        const char *names[3], *param;
    } variables[] = {{{"RABBITMQ_URL", "RABBIT_URL", NULL}, "url"}, /* the latter: of Knative's source */
                     {{"RABBITMQ_USERNAME", NULL, NULL}, "username"},
                     {{"RABBITMQ_PASSWORD", NULL, NULL}, "password"},
                     {{"RABBITMQ_VHOST", NULL, NULL}, "vhost"},
                     {{"RABBITMQ_CA", NULL, NULL}, "ssl.ca"}};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *value = bus_2018_variable(p, r, variables[i].names, why);
        if (value)
            cluster_param(p, params, variables[i].param, value);
        else if (why->reason)
            return false;
    }
    if (cluster_param_value(params->list, params->count, "url"))
        return true;
    *why =
        why_of(p, "AddressMissing",
               "%s %s: the environment of its dispatcher has no RABBITMQ_URL; write RabbitMQ's address there, such as "
               "amqp://rabbit.example",
               r->kind->kind, r->name);
    return false;
}

bool plan_rabbitmq_2018_reachable(struct planner *p, const struct resource *r, struct why *why)
{
    struct cluster_params params = {0};
    return read_environment(p, r, &params, why);
}

bool plan_rabbitmq_2018_bus(struct planner *p, const char *key, const struct resource *r, size_t *bus, struct why *why)
{
    struct cluster_params params = {0};
    bool good = read_environment(p, r, &params, why);
    return plan_cluster_bus(p, "rabbitmq", key, &params, good, bus, why);
}

bool plan_rabbitmq_2018_argument(struct planner *p, const char *name, const char *value, struct why *why)
{
    uint64_t n = 0;
    bool number = strcmp(name, "Parallelism") == 0;
    if (number ? decimal_parse(slice_str(value), RABBITMQ_PARALLELISM_MAX, &n) == OK && n > 0
               : strcmp(value, "quorum") == 0 || strcmp(value, "classic") == 0)
        return true;
    *why = number ? why_of(p, "ArgumentInvalid", "Parallelism must be a whole number from 1 to %d (it is \"%.60s\")",
                           RABBITMQ_PARALLELISM_MAX, value)
                  : why_of(p, "ArgumentInvalid", "QueueType must be quorum or classic (it is \"%.60s\")", value);
    return false;
}
