/* SPDX-License-Identifier: Apache-2.0
 *
 * What the filter and its index share.
 */
#ifndef LEAT_EVENTS_FILTER_PRIVATE_H
#define LEAT_EVENTS_FILTER_PRIVATE_H

#include "filter.h"

/* One exact (name, value) pair without which no event matches: of several, the type before the source before the
 * subject before others. Looks into ALL, and into CESQL of the shape type = 'x' AND ... False: none is demanded. The
 * slices live as long as the filter; `name` is an attribute's own name, never one of Knative's other names for it. */
bool filter_required_exact(const struct filter *f, struct slice *name, struct slice *value);

#endif
