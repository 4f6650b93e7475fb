/* SPDX-License-Identifier: Apache-2.0
 *
 * Which backends there are, by name. Read-only: any thread.
 */
#include "backends.h"

#include <string.h>

static const struct {
    const char *name;
    const struct bus_ops *ops;
} table[] = {
    {"memory", &bus_memory}, {"stub", &bus_memory}, /* its name in Knative's first Bus manifests */
    {"log", &bus_log},       {"kafka", &bus_kafka},      {"rabbitmq", &bus_rabbitmq},
    {"pubsub", &bus_pubsub}, {"gcppubsub", &bus_pubsub}, /* its name in Knative's first Bus manifests */
    {"faulty", &bus_faulty},
};

const struct bus_ops *bus_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(name, table[i].name) == 0)
            return table[i].ops;
    }
    return NULL;
}

const char *const *bus_names(void)
{
    static const char *const names[] = {"memory", "log", "kafka", "rabbitmq", "pubsub", "faulty", NULL};
    return names;
}
