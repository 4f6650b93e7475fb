/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters as manifests spell them, into compiled ones.
 */
#ifndef LEAT_BROKER_RESOURCE_FILTERS_H
#define LEAT_BROKER_RESOURCE_FILTERS_H

#include "check.h"
#include "filter.h"

/* spec.filters of a Trigger: all of them must match. */
enum err filter_read(struct check *c, const cJSON *filters, struct filter **out) must_check;
/* spec.filter.attributes of a Trigger. */
enum err filter_read_attributes(struct check *c, const cJSON *attributes, struct filter **out) must_check;

#endif
