/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of all schemas, part of the program.
 */
#ifndef LEAT_BROKER_RESOURCE_CRDS_EMBEDDED_H
#define LEAT_BROKER_RESOURCE_CRDS_EMBEDDED_H

#include "slice.h"

struct slice crds_embedded(void);

#endif
