/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two files of the form of 2018 share (plan_2018.c, plan_feeds.c).
 */
#ifndef LEAT_BROKER_RESOURCE_PLAN_2018_H
#define LEAT_BROKER_RESOURCE_PLAN_2018_H

#include "planner.h"

#define FEEDS "feeds.knative.dev"

#endif
