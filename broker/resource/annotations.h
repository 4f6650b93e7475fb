/* SPDX-License-Identifier: Apache-2.0
 *
 * The annotations leat.dev/...: what Knative's schemas have no field for.
 */
#ifndef LEAT_BROKER_RESOURCE_ANNOTATIONS_H
#define LEAT_BROKER_RESOURCE_ANNOTATIONS_H

#include "err.h"

#define ANNOTATION_PREFIX "leat.dev/"
#define ANNOTATION_CAPACITY "leat.dev/capacity"       /* Channels: the bound of a channel in memory, "64MiB" */
#define ANNOTATION_OVERFLOW "leat.dev/overflow"       /* Subscriptions, or their Channel: refuse, drop-oldest */
#define ANNOTATION_IN_FLIGHT "leat.dev/max-in-flight" /* Subscriptions: deliveries under way at once, per core */
#define ANNOTATION_START_FROM "leat.dev/start-from"   /* Subscriptions: latest, earliest */
#define ANNOTATION_RETRY "leat.dev/retry" /* Subscriptions and Flows of 2018, which have no delivery: retries */
#define ANNOTATION_ALLOW_UNSIGNED                                                                                      \
    "leat.dev/allow-unsigned" /* Feeds, Flows, GitHubSources: webhooks without a signature are taken */

/* Whether this annotation may have this value; names that are not ours always may. ERR_INVALID with *d, also for a name
 * of ours that there is not. */
enum err annotation_check(const char *name, const char *value, struct diag *d) must_check;

#endif
