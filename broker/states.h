/* SPDX-License-Identifier: Apache-2.0
 *
 * What sources keep in files of the data directory, DATA/kubernetes/UID, goes when its object has gone.
 */
#ifndef LEAT_BROKER_STATES_H
#define LEAT_BROKER_STATES_H

#include "resource.h"

#define STATES_KEPT_S                                                                                                  \
    (7 * 24 * 3600) /* seconds since it was written last: an object of a file may come back so long                    \
                     */

/* Before sources open theirs. What cannot be removed stays, and is logged. */
void states_sweep(const char *data_dir, const struct resource_table *t);

#endif
