/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the form of 2018 share (plan_2018*.c, plan_kafka_2018.c, plan_rabbitmq_2018.c, plan_pubsub.c,
 * plan_feeds.c).
 */
#ifndef LEAT_BROKER_RESOURCE_PLAN_2018_H
#define LEAT_BROKER_RESOURCE_PLAN_2018_H

#include "planner.h"

#define FEEDS "feeds.knative.dev"

/* ---- plan_2018_env.c ---- */

/* The value of the first of these variables (NULL-terminated) that the environment of its dispatcher or provisioner
 * has. NULL: none is there, and why->reason is NULL; or one is and cannot be read, and *why says so. */
const char *bus_2018_variable(struct planner *p, const struct resource *r, const char *const *names, struct why *why);

/* The value of a key of a Secret that it mounts; NULL with *why. */
const char *bus_2018_secret(struct planner *p, const struct resource *r, const char *name, const char *key,
                            struct why *why);

/* ---- plan_2018.c ---- */

/* The name of the Bus or ClusterBus of a Channel or Flow. */
const char *plan_2018_bus_name(struct planner *p, const struct resource *r);

/* ---- plan_kafka_2018.c ---- */

/* The addresses of the cluster that a Bus or ClusterBus kafka names; NULL with *why. */
const char *plan_kafka_2018_servers(struct planner *p, const struct resource *r, struct why *why);
/* The bus of this key on that cluster; false with *why, and *bus is set all the same, for what ran there before. */
bool plan_kafka_2018_bus(struct planner *p, const char *key, const struct resource *r, size_t *bus, struct why *why);
/* Whether an argument of such a bus may have this value: NumPartitions of a Channel, initialOffset of a Subscription.
 */
bool plan_kafka_2018_argument(struct planner *p, const char *name, const char *value, struct why *why);

/* ---- plan_rabbitmq_2018.c ---- */

/* Whether a Bus or ClusterBus rabbitmq says where RabbitMQ is; false with *why. */
bool plan_rabbitmq_2018_reachable(struct planner *p, const struct resource *r, struct why *why);
/* The bus of this key there; false with *why, and *bus is set all the same, for what ran there before. */
bool plan_rabbitmq_2018_bus(struct planner *p, const char *key, const struct resource *r, size_t *bus, struct why *why);
/* Whether an argument of such a bus may have this value: QueueType of a Channel, Parallelism of a Subscription. */
bool plan_rabbitmq_2018_argument(struct planner *p, const char *name, const char *value, struct why *why);

/* ---- plan_feedlet.c ---- */

/* Whether an EventSource or ClusterEventSource names a feedlet that may be run here; false, with *why where it may not.
 */
bool plan_feedlet_command(struct planner *p, const struct resource *r, struct why *why);
/* What the feedlet of this Feed or Flow is run with. `all`: its parameters, resolved. */
void plan_feedlet_params(struct planner *p, struct plan_source *s, const struct resource *r,
                         const struct resource *event_source, const cJSON *trigger, const cJSON *all,
                         const char *event_type);

/* ---- plan_pubsub.c ---- */

/* Whether a Bus or ClusterBus gcppubsub says which project it is on; false with *why. */
bool plan_pubsub_2018_reachable(struct planner *p, const struct resource *r, struct why *why);
/* The bus of this key there; false with *why, and *bus is set all the same, for what ran there before. */
bool plan_pubsub_2018_bus(struct planner *p, const char *key, const struct resource *r, size_t *bus, struct why *why);

#endif
