/* SPDX-License-Identifier: Apache-2.0
 *
 * How RabbitMQ is reached, as Knative's references have it, as parameters of rabbitmq_client.h. Their values are in no
 * text that is made here.
 */
#ifndef LEAT_BROKER_RESOURCE_RABBITMQ_SECRET_H
#define LEAT_BROKER_RESOURCE_RABBITMQ_SECRET_H

#include "cluster.h"

/* A rabbitmqClusterReference of an object in this namespace (NULL: none), and the virtual host that goes with it (NULL:
 * none given). *who names what the reference leads to, so that objects that lead there share a bus: it is set in any
 * case, and has no secret in it. false with *why. */
bool rabbitmq_cluster(struct planner *p, const char *ns, const cJSON *reference, const char *vhost,
                      struct cluster_params *params, const char **who, struct why *why);

#endif
