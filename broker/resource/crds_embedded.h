/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of all schemas, part of the program.
 */
#ifndef LEAT_BROKER_RESOURCE_CRDS_EMBEDDED_H
#define LEAT_BROKER_RESOURCE_CRDS_EMBEDDED_H

#include "slice.h"

/* Unpacks it: *out is what the result, owned by the caller (free()), holds. NULL, and *out untouched: no memory. */
char *crds_embedded(struct slice *out);

#endif
