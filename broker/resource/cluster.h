/* SPDX-License-Identifier: Apache-2.0
 *
 * Systems of others that a bus lies on (Kafka, RabbitMQ), as manifests describe them: what their planning shares.
 *
 * A bus is known by where its description lies (kafka/ConfigMap/NS/NAME), not by what it says: another address or
 * another password is the same bus with other parameters, and what is on it stays. No secret is in a key or in a text.
 */
#ifndef LEAT_BROKER_RESOURCE_CLUSTER_H
#define LEAT_BROKER_RESOURCE_CLUSTER_H

#include "planner.h"

#define CLUSTER_PARAMS_MAX 16

struct cluster_params {
    struct bus_param list[CLUSTER_PARAMS_MAX]; /* values in the arena */
    size_t count;
};

/* `name` is a constant; `value` is copied. */
void cluster_param(struct planner *p, struct cluster_params *params, const char *name, const char *value);
/* NULL: it is not there. */
const char *cluster_param_value(const struct bus_param *params, size_t count, const char *name);

/* The bus of this key; without parameters, and held, when `good` is false or the backend `type` refuses them. */
bool plan_cluster_bus(struct planner *p, const char *type, const char *key, const struct cluster_params *params,
                      bool good, size_t *bus, struct why *why);

/* A Secret being read. What is wrong with it is said once, the first; then every key is absent. */
struct secret {
    struct planner *planner;
    const char *ns, *name;
    const cJSON *data; /* values in base64 */
    struct why *why;
    bool good;
};

/* false with *why when it is not declared. */
bool secret_open(struct secret *s, struct planner *p, const char *ns, const char *name, struct why *why);
/* The value of a key, without the line's end that an editor left; NULL when it is not there or empty. */
const char *secret_get(struct secret *s, const char *key);
/* The value of the key as this parameter, where it is there. */
void secret_put(struct secret *s, struct cluster_params *params, const char *name, const char *key);
/* The Secret is not good: it has no such key, which is `what`. */
void secret_lacks(struct secret *s, const char *key, const char *what);

/* ---- sources: each is a channel that is somebody's, and a subscription to it that sends to the sink ---- */

/* Its ceOverrides, for the channel that decodes the records. */
void cluster_source_overrides(struct planner *p, const struct resource *r, struct channel_plan *c);
/* Its sink and its dead letter sink. */
bool cluster_source_resolve(struct planner *p, const struct resource *r, struct plan_target *sink,
                            struct plan_target *dead, struct why *why);
/* Its subscription, whose parked events lie on the default bus. Without a delivery of its own it tries as Knative's
 * KafkaSource does; Knative's RabbitmqSource would try once, and throw away what fails. NULL: it is
 * not in the plan (plan_subscription_keep). */
struct plan_subscription *cluster_source_subscribe(struct planner *p, const struct resource *r,
                                                   const struct channel_plan *c, bool good,
                                                   const struct plan_target *sink, const struct plan_target *dead);

#endif
