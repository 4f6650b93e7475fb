/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters as a Trigger spells them, out of a tree. The public door for a text is filter_parse (resource.h).
 */
#ifndef LEAT_BROKER_RESOURCE_FILTERS_H
#define LEAT_BROKER_RESOURCE_FILTERS_H

#include "check.h"
#include "filter.h"

/* A list of filters, all of which must match: [{"exact": {"type": "x"}}, {"cesql": "..."}]. The check stands at the
 * list. NULL or an empty list: *out is NULL, everything matches. ERR_INVALID: what is wrong was told to the check;
 * ERR_NOMEM. */
enum err filter_read(struct check *c, const cJSON *list, struct filter **out) must_check;
/* Knative's older form, a map of attributes: each is the value exactly, "" stands for any value that is not empty. The
 * check stands at the map. NULL or an empty map: everything. */
enum err filter_read_attributes(struct check *c, const cJSON *map, struct filter **out) must_check;

#endif
