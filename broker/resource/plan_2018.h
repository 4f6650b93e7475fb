/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two files of the form of 2018 share (plan_2018.c, plan_feeds.c).
 */
#ifndef LEAT_BROKER_RESOURCE_PLAN_2018_H
#define LEAT_BROKER_RESOURCE_PLAN_2018_H

#include "planner.h"

#define FLOWS "flows.knative.dev"
#define FEEDS "feeds.knative.dev"

/* The arguments against what the bus declares: an argument, else the default, else *why and false. What means nothing
 * here is left out, and *why remarks it. */
bool parameters_resolve(struct planner *p, const cJSON *parameters, const cJSON *arguments, bool of_channel,
                        void (*put)(void *arg, const char *name, const char *value), void *arg, struct why *why);

#endif
