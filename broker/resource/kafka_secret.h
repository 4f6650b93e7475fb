/* SPDX-License-Identifier: Apache-2.0
 *
 * How a cluster is reached, as Knative's Secrets and network specs have it, as parameters of kafka_client.h. Their
 * values are in no text that is made here.
 */
#ifndef LEAT_BROKER_RESOURCE_KAFKA_SECRET_H
#define LEAT_BROKER_RESOURCE_KAFKA_SECRET_H

#include "cluster.h"

/* A Secret of the Kafka Broker's form: protocol, sasl.mechanism, user, password, ca.crt, user.crt, user.key, user.skip;
 * or of the older one of the KafkaChannel, which has no protocol: tls.enabled, saslType, username. For OAUTHBEARER
 * also leat's own: token; or token.url, client.id, client.secret, scope. false with *why. */
bool kafka_secret(struct planner *p, const char *ns, const char *name, struct cluster_params *params, struct why *why);

/* The bus of this key; without parameters, and held, when `good` is false or the bus refuses them. */
bool plan_kafka_bus(struct planner *p, const char *key, const struct cluster_params *params, bool good, size_t *bus,
                    struct why *why);
/* The bus on the cluster of these addresses (a list of texts), with these credentials; `who` tells others with the
 * same addresses apart, and has no secret in it. Channels on it have topics that are somebody else's, or stay when
 * they move. */
bool plan_kafka_servers_bus(struct planner *p, const cJSON *servers, const char *who,
                            struct cluster_params *credentials, bool good, size_t *bus, struct why *why);

#endif
